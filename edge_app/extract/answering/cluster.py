"""The connection to a Ray cluster: one that runs, or one of this machine's processors that ends with the command.

Nothing of Ray leaves the machines of the cluster: its usage statistics and its dashboard are off.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_app.system.offline import is_loopback, own_addresses
from models.compiler.threads import available_cpus
from models.core.errors import NeedsNetwork, UserError

NEEDS_RAY = "--on ray needs Ray: run pip install -e '.[ray]'."
CLIENT_PORT = 10001
"""The port of a cluster's head at which programs on other machines connect, unless the address names another."""

CONNECT_SECONDS = 5.0
"""How long a cluster has to accept a connection."""

_SCHEME = "ray://"
_ADDRESS = re.compile(r"ray(?:://(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?/?)?", re.ASCII)
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS": "0",
}


@dataclass(frozen=True)
class ClusterAddress:
    """Where a cluster is. client: host:port of its head; None for the cluster that this machine is a part of, or a new
    one."""

    client: str | None = None

    @classmethod
    def parse(cls, text: str) -> ClusterAddress:
        """The address in "ray", "ray://host" or "ray://host:port". Raises ValueError for another text."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or int(match["port"] or CLIENT_PORT) > 65535:
            raise ValueError(f"{text} is no cluster; give ray, or ray://HOST of one that runs.")
        return cls(f"{match['host']}:{match['port'] or CLIENT_PORT}" if match["host"] else None)


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected.

    cpus: processors of each machine or node that Ray has started. remote: this process is none of its nodes.
    """

    cpus: tuple[float, ...]
    remote: bool

    @property
    def size(self) -> str:
        """As in "3 nodes"."""
        return f"{len(self.cpus)} node{'' if len(self.cpus) == 1 else 's'}"

    def engines(self, threads: int) -> int:
        """How many engines of so many threads it has room for, at least one."""
        return max(1, sum(int(each // threads) for each in self.cpus))


def require_ray() -> None:
    """Raises UserError when Ray is not installed."""
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        raise UserError(NEEDS_RAY)


@contextmanager
def connected(address: ClusterAddress, *, offline: bool) -> Iterator[Cluster]:
    """Connects to a cluster, and disconnects at the end. Raises UserError.

    offline: raises NeedsNetwork for a cluster with a node on another machine, before anything is sent to it.
    """
    require_ray()
    place = _place(address, offline=offline)
    os.environ.update(_ENVIRONMENT)
    if place and _has_token() and _asks_for_token(place):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    own = {"num_cpus": available_cpus(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        with _without_stderr():
            ray.init(place, **quiet) if place else ray.init("local", **own, **quiet)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = (str(error).strip().splitlines() or ["it does not answer"])[0]
        raise UserError(f"Ray cannot be used: {first.rstrip('.')}.") from error
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        for node in nodes:
            _check_here(node["NodeManagerAddress"], offline=offline)
        cpus = tuple(float(node["Resources"].get("CPU", 0)) for node in nodes)
        yield Cluster(cpus, remote=place is not None and place.startswith(_SCHEME))
    finally:
        ray.shutdown()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr: Ray says there that RAY_BACKEND_LOG_LEVEL is set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _place(address: ClusterAddress, *, offline: bool) -> str | None:
    """The address as ray.init takes it; None when no cluster runs here, so that one has to be started.

    Raises UserError for a cluster that the user named and that does not answer, since Ray would try for minutes.
    """
    named = f"{_SCHEME}{address.client}" if address.client else os.environ.get("RAY_ADDRESS", "")
    if named in ("", "auto"):
        started = _started_here()
        return started if started and _listens(started, offline=offline) else None
    if named == "local":
        return None
    if not _listens(named.removeprefix(_SCHEME), offline=offline):
        raise UserError(
            f"No Ray cluster answers at {named}: start it with ray start --head, or name another."
        )
    return named


def _started_here() -> str | None:
    """The address of the cluster that `ray start` has made of this machine, or joined it to."""
    file = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _asks_for_token(place: str) -> bool:
    """Whether a cluster refuses who shows no token. One that asks for none cannot work with a process that does."""
    if place.startswith(_SCHEME):
        return True  # its server passes over a token that it does not need
    import grpc

    with grpc.insecure_channel(place) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")(b"", timeout=CONNECT_SECONDS)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


def _has_token() -> bool:
    """Whether Ray has a token to show to a cluster, which `ray start` asks for where there is one."""
    variables = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    if any(os.environ.get(name) for name in variables):
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except RuntimeError:  # no home folder
        return False


def _listens(address: str, *, offline: bool) -> bool:
    """Whether something listens at host:port. Raises NeedsNetwork when it is offline and on another machine."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    _check_here(host, offline=offline)
    try:
        with socket.create_connection(
            ("127.0.0.1" if host in own_addresses() else host, int(port)), CONNECT_SECONDS
        ):
            return True
    except (OSError, ValueError):
        return False


def _check_here(host: str, *, offline: bool) -> None:
    if offline and not is_loopback(host) and host not in own_addresses():
        raise NeedsNetwork(
            f"The app is offline, and {host} of the Ray cluster is on the network; do it again without offline mode."
        )
