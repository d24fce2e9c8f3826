"""Which versions made something, for the records that make it repeatable."""

from importlib.metadata import PackageNotFoundError, version


def versions(*distributions: str) -> dict[str, str]:
    """Installed versions of Versa itself and of `distributions`; `unknown` for what is not installed.

    Versa is not when it runs from a checkout that was never installed.
    """
    found = {}
    for name in ("versa-toolkit", "pyarrow", *distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
