"""The adapters that come with the app: there after the first start, and as the user leaves them from then on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from adapters.install import fetch
from adapters.install import installer as install
from adapters.store.adapter_store import bundled_names
from edge_app.answer import Answer
from edge_app.assistant import Assistant, Turn
from edge_app.engine import bundled_adapters as bundled
from edge_app.engine.adapter_installer import AppModels, adapter_store, installer
from edge_app.engine.bundled_adapters import settle, unsettled
from edge_app.events import Answered, Failed, Ready, Routed
from edge_app.events import Progress as Told
from edge_app.settings import Settings
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.compiled_engine import CompiledEngine
from models.core.errors import UserError
from models.core.types import Progress, no_progress
from tests.edge_app.cloud.misbehaving import Misbehaving, Script, answers, status
from tests.edge_app.fakes import FakeRouter, ask

SETTINGS = Settings(bundled_adapters=True)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Two of them are enough."""
    names = bundled_names()[:2]
    monkeypatch.setattr(fetch, "bundled_names", lambda: names)
    monkeypatch.setattr(bundled, "bundled_names", lambda: names)
    return names


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the endpoint."""
    monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")


def listing(*names: str) -> Script:
    return status(200, {"object": "list", "data": [{"id": name} for name in names]})


def remove(name: str) -> None:
    installer(AppModels(SETTINGS, no_progress), lambda _: False, no_progress).remove(name)


def touch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app brings another file of that name."""
    stamp = bundled._stamp
    monkeypatch.setattr(bundled, "_stamp", lambda each: [1, 2] if each == name else stamp(each))


def test_a_first_turn_finds_them_in_place(engine: CompiledEngine, two: tuple[str, ...]) -> None:
    assistant = Assistant(SETTINGS, None, lambda *_: engine)
    events = list(assistant.route(Turn("Hello")))
    assert isinstance(events[-1], Routed)
    assert adapter_store().names() == two
    assert unsettled() == ()


def test_a_chat_that_gets_ready_finds_them_in_place(engine: CompiledEngine, two: tuple[str, ...]) -> None:
    assistant = Assistant(SETTINGS, None, lambda *_: engine)
    assert any(isinstance(event, Ready) for event in assistant.prepare())
    assert adapter_store().names() == two


def ask_in_quality(engine: CompiledEngine, server: Misbehaving, router: FakeRouter, **turn: object) -> Answer:
    chosen = Settings(bundled_adapters=True, cloud_url=server.url, cloud_model="big-model", cloud_retries=0)
    assistant = Assistant(chosen, None, lambda *_: engine, router=router)
    return ask(assistant, mode="quality", **{"allow_cloud": True, **turn})


@pytest.mark.usefixtures("key")
def test_a_first_question_in_quality_installs_the_one_that_goes_along(
    engine: CompiledEngine, two: tuple[str, ...]
) -> None:
    router = FakeRouter(two[0])
    with Misbehaving(listing("big-model", two[0]), answers("A tabby.")) as server:
        answer = ask_in_quality(engine, server, router)
    assert (answer.text, answer.place, answer.model) == ("A tabby.", "cloud", two[0])
    assert [tuple(installed) for _, installed in router.asked] == [two]
    assert (adapter_store().names(), unsettled()) == (two, ())


@pytest.mark.usefixtures("key", "two")
def test_a_first_question_in_quality_installs_none_where_none_can_go_along(engine: CompiledEngine) -> None:
    router = FakeRouter("plants")
    with Misbehaving(listing("big-model", "plants"), answers("A tabby.")) as server:
        answer = ask_in_quality(engine, server, router)
    assert (answer.place, answer.model, router.asked) == ("cloud", "big-model", [])
    assert adapter_store().names() == ()


@pytest.mark.usefixtures("key")
def test_a_first_question_in_quality_that_stays_here_finds_them_in_place(
    engine: CompiledEngine, two: tuple[str, ...]
) -> None:
    router = FakeRouter(None)
    with Misbehaving() as server:
        answer = ask_in_quality(engine, server, router, allow_cloud=False)
    assert answer.place == "local"
    assert [tuple(installed) for _, installed in router.asked] == [two]


@pytest.mark.usefixtures("key", "two")
def test_a_disk_that_refuses_does_not_stop_the_clouds_answer(
    engine: CompiledEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install.Installer, "install", refuse)
    with Misbehaving(listing("big-model", bundled_names()[0]), answers("A tabby.")) as server:
        answer = ask_in_quality(engine, server, FakeRouter(bundled_names()[0]))
    assert (answer.text, answer.model) == ("A tabby.", "big-model")


@pytest.mark.usefixtures("two")
def test_who_wants_none_gets_none(engine: CompiledEngine) -> None:
    plain = Assistant(Settings(bundled_adapters=False), None, lambda *_: engine)
    assert any(isinstance(event, Ready) for event in plain.prepare())
    assert adapter_store().names() == ()


def test_what_the_user_removes_stays_away(
    engine: CompiledEngine, two: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(SETTINGS, engine, no_progress)
    remove(two[0])
    assert settle(SETTINGS, engine, no_progress) == ()
    touch(two[0], monkeypatch)
    assert settle(SETTINGS, engine, no_progress) == ()
    assert adapter_store().names() == two[1:]


def test_one_of_that_name_from_elsewhere_stays(engine: CompiledEngine, two: tuple[str, ...]) -> None:
    folder = paths.ensure(paths.adapters_directory()) / two[0]
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    assert settle(SETTINGS, engine, no_progress) == two[1:]
    assert (folder / "adapter_config.json").read_text() == "{}"
    assert unsettled() == ()


def test_what_lies_in_its_place_stays_whatever_it_is(engine: CompiledEngine, two: tuple[str, ...]) -> None:
    folder = paths.ensure(paths.adapters_directory())
    (folder / two[0].upper()).mkdir()
    (folder / two[1]).write_text("notes")
    assert settle(SETTINGS, engine, no_progress) == ()
    assert (folder / two[1]).read_text() == "notes"
    assert unsettled() == ()


def test_the_same_version_again_is_left_alone(
    engine: CompiledEngine, two: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(SETTINGS, engine, no_progress)
    before = (paths.adapters_directory() / two[0] / "installed.json").stat().st_mtime_ns
    touch(two[0], monkeypatch)
    assert settle(SETTINGS, engine, no_progress) == ()
    assert (paths.adapters_directory() / two[0] / "installed.json").stat().st_mtime_ns == before


def test_a_newer_one_that_cannot_be_put_in_place_is_tried_again(
    engine: CompiledEngine, two: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(SETTINGS, engine, no_progress)
    touch(two[0], monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(install.Installer, "install", refuse)
        with pytest.raises(UserError, match="full"):
            settle(SETTINGS, engine, no_progress)
    assert unsettled() == two[:1]


def refuse(*_: object) -> None:
    raise UserError("The disk is full.")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("two")
def test_a_disk_that_refuses_is_named(engine: CompiledEngine, home: Path) -> None:
    folder = paths.ensure(paths.adapters_directory())
    folder.chmod(0o500)
    try:
        assistant = Assistant(SETTINGS, None, lambda *_: engine)
        event = list(assistant.route(Turn("Hello")))[-1]
        assert isinstance(event, Failed)
        assert str(home) in event.message
    finally:
        folder.chmod(0o700)


def test_a_first_turn_that_is_stopped_while_the_model_comes_ends_at_once(store: SessionStore) -> None:
    def endless(_: object, report: Progress) -> CompiledEngine:
        for done in range(1_000_000):
            report("pull", "Downloading", done, None)
            time.sleep(0.001)
        raise AssertionError("nobody stopped it")

    assistant = Assistant(SETTINGS, store, endless)
    for event in assistant.answer(Turn("What is this?")):
        if isinstance(event, Told):
            assistant.cancel()
    assert isinstance(event, Answered)
    assert (event.answer.stop_reason, event.answer.text) == ("cancelled", "")
    assert store.get(store.latest()).turns[0].status == "stopped"
    assistant.close()
