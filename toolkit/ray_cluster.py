"""Connects to a Ray cluster, or starts a temporary one on this machine (`--executor ray`)."""

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolkit.errors import UserError

# Ray reads these at its first import. They are set only for a cluster that is started here.
_LOCAL_CLUSTER = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # no port beyond the loopback address
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_PROBE_SECONDS = 10.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def cluster(address: str | None = None) -> Iterator[Any]:
    """Connects to a cluster, or starts one on this machine, until the block ends; yields the module `ray`.

    Within another such block, or if the caller has initialised Ray, that cluster is used and left running.
    A cluster that is started here listens only on the loopback address, requires a random token, and has no dashboard,
    provided that Ray has not been imported before.

    Args:
        address: HOST:PORT of a running cluster, or `auto` for the running cluster of this machine.

    Raises:
        UserError: if Ray is not installed, or there is no such cluster.
    """
    ray = import_ray(local=address is None)
    if ray.is_initialized():
        yield ray
        return
    if address is None:
        start()
    else:
        connect(address)
    try:
        yield ray
    finally:
        ray.shutdown()


def import_ray(*, local: bool) -> Any:
    """Imports Ray; for a local cluster, sets its environment variables before the first import.

    Raises:
        UserError: if Ray is not installed.
    """
    if local and "ray" not in sys.modules:
        for name, value in {**_LOCAL_CLUSTER, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f'--executor ray needs Ray, which is not installed ({error}); run: pip install "versa-toolkit[ray]"'
        ) from None
    return ray


def start(**limits: int) -> None:
    """Starts a cluster on this machine, whose workers use the module search path of this process."""
    import ray

    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    try:
        ray.init(address="local", include_dashboard=False, **_QUIET, **limits)
    finally:
        del os.environ["PYTHONPATH"]
        if known is not None:
            os.environ["PYTHONPATH"] = known


def connect(address: str) -> None:
    """Connects to a running cluster.

    Raises:
        UserError: if none answers at the address.
    """
    import ray

    try:
        _probe(address)
        ray.init(address=address, **_QUIET)
    except (OSError, ValueError, OverflowError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers ({reason}); start one with `ray start "
            "--head`, or omit --address to use only this machine"
        ) from None


def _probe(address: str) -> None:
    """Raises an OSError at once if nothing listens, instead of minutes of attempts by Ray."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
