"""Versions of installed packages, for records of provenance."""

from importlib.metadata import PackageNotFoundError, version


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Versa, pyarrow and `distributions`; `unknown` for packages that are not installed.

    Versa is unknown if it runs from a checkout that was never installed.
    """
    installed = {}
    for name in ("versa-toolkit", "pyarrow", *distributions):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "unknown"
    return installed
