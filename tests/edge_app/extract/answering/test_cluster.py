"""Which Ray cluster an address means, and what is refused before anything is sent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge_app.extract.answering import cluster
from edge_app.extract.answering.cluster import Cluster, ClusterAddress, connected, require_ray
from models.core.errors import NeedsNetwork, UserError


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(cluster, "require_ray", lambda: None)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("ray", None),
        ("ray://box", "box:10001"),
        ("ray://box:7000/", "box:7000"),
        ("ray://10.0.0.7", "10.0.0.7:10001"),
        ("ray://[fe80::1]:9", "[fe80::1]:9"),
    ],
)
def test_an_address_names_a_head_or_none(text: str, client: str | None) -> None:
    assert ClusterAddress.parse(text).client == client


@pytest.mark.parametrize(
    "text", ["", "spark", "ray:", "ray://", "http://box", "ray://box:0x1", "ray://box:99999"]
)
def test_another_text_is_no_cluster(text: str) -> None:
    with pytest.raises(ValueError, match="no cluster"):
        ClusterAddress.parse(text)


def test_a_node_has_as_many_engines_as_its_processors_hold() -> None:
    assert Cluster((0.0, 3.0, 2.0), remote=False).engines(2) == 2
    assert Cluster((1.0,), remote=False).engines(4) == 1


def test_offline_no_cluster_of_another_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NeedsNetwork, match="box"), connected(ClusterAddress.parse("ray://box"), offline=True):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "198.51.100.7:6379")
    with pytest.raises(NeedsNetwork, match=r"198\.51\.100\.7"), connected(ClusterAddress(), offline=True):
        pass


def test_a_cluster_that_does_not_answer_is_said_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        address = ClusterAddress.parse(f"ray://127.0.0.1:{port}")
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"), connected(address, offline=False):
            pass


def test_without_ray_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install .*\[ray\]"):
        require_ray()


def test_the_token_of_ray_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not cluster._has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    assert cluster._has_token()
