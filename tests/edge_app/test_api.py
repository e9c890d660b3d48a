"""The library: `from edge_app import ...` changes nothing in the process, and answers come back as values."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edge_app
from edge_app.assistant import Assistant
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from edge_app.system.offline import switch
from models.core.errors import NeedsNetwork, UserError
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine

ROOT = Path(__file__).parents[2]

PROCESS_STATE = """
import builtins, gc, json, locale, logging, os, signal, socket, sys, threading

def state():
    return {
        "environment": dict(os.environ),
        "signals": [repr(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "logging": [logging.root.level, [repr(h) for h in logging.root.handlers], logging.root.manager.disable],
        "gc": [gc.isenabled(), *gc.get_threshold()],
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "builtins": sorted(vars(builtins)),
        "path": [*sys.path, *(repr(finder) for finder in sys.meta_path)],
        "locale": locale.setlocale(locale.LC_ALL),
        "timeout": socket.getdefaulttimeout(),
        "threads": threading.active_count(),
        "directory": os.getcwd(),
    }

before, loaded = state(), set(sys.modules)
exec(sys.argv[1])
after = state()
assert before == after, {k: (before[k], after[k]) for k in before if before[k] != after[k]}
assert None not in sys.modules.values()
print(json.dumps(sorted(set(sys.modules) - loaded)))
"""


def loaded_without_a_trace(statement: str) -> set[str]:
    """The modules that a statement loads in a fresh process, whose state it must not change otherwise."""
    command = [sys.executable, "-c", PROCESS_STATE, statement]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_importing_the_package_loads_no_other_module_and_changes_nothing_in_the_process() -> None:
    loaded = loaded_without_a_trace("import edge_app")
    assert {name for name in loaded if name.split(".")[0] not in sys.stdlib_module_names} == {"edge_app"}


def test_using_the_api_s_names_changes_nothing_in_the_process_and_loads_no_compiler() -> None:
    loaded = loaded_without_a_trace("from edge_app import Answer, Assistant, Turn, UserError, ask, load")
    assert "edge_app.assistant" in loaded
    assert loaded & {"tvm", "tvm_ffi", "torch", "onnxruntime", "openai", "textual", "typer"} == set()


def test_every_public_name_is_the_one_that_a_type_checker_sees() -> None:
    source = ast.parse(Path(str(edge_app.__file__)).read_text(encoding="utf-8"))
    checked = next(node for node in source.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted([*seen, "__version__"]) == sorted(edge_app.__all__)
    for name, module in seen.items():
        assert getattr(edge_app, name) is getattr(sys.modules[str(module)], name)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        edge_app.nonsense  # noqa: B018


def test_every_package_says_that_it_is_typed_and_ships_the_mark() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    for package in ("edge_app", "adapters", "router", "models"):
        assert "py.typed" in shipped["package-data"][package]
        assert (ROOT / package / "py.typed").is_file()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """What `load` loads here."""
    engine = FakeEngine()
    monkeypatch.setattr(Assistant.__init__, "__defaults__", (engine.load,))
    return engine


def test_load_gives_an_assistant_that_is_ready_and_closes_its_engine_at_the_end(engine: FakeEngine) -> None:
    with edge_app.load() as assistant:
        assert engine.threads == {"inference"}  # it has been loaded
        answer = assistant.ask("What is this?", png())
        assert (answer.text, answer.adapter, answer.place, answer.session) == ("A cat.", None, "local", None)
        assert answer.confidence is not None and answer.timings.total > 0 and answer.reason
    assert engine.closed


def test_ask_takes_a_path_as_text_and_closes_what_it_loaded(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png())
    assert edge_app.ask("What is this?", str(tmp_path / "cat.png"), mode="fast").mode == "fast"
    assert len(engine.encoded) == 1
    assert engine.closed


def test_progress_of_the_load_is_handed_on(engine: FakeEngine) -> None:
    engine.loading = lambda report: report("pull", "Downloading", 1, 2)
    seen: list[str] = []
    edge_app.load(on_progress=lambda progress: seen.append(progress.message)).close()
    assert seen[0] == "Downloading"


def test_settings_given_to_load_win_over_the_environment_and_the_file(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.config_directory().mkdir(parents=True)
    paths.config_file().write_text("max_tokens = 7\ntop_k = 8\ntemperature = 0.5\n")
    monkeypatch.setenv("EDGE_APP_TOP_K", "9")
    with edge_app.load(temperature=0.25) as assistant:
        assistant.ask("?")
    sampling = engine.calls[0].sampling
    assert (sampling.max_tokens, sampling.top_k, sampling.temperature) == (7, 9, 0.25)


@pytest.mark.usefixtures("engine")
def test_the_settings_adapter_and_mode_are_those_of_ask() -> None:
    with edge_app.load(mode="eco") as assistant:
        assert assistant.ask("?").mode == "eco"
        assert assistant.ask("?", mode="fast").mode == "fast"
    with edge_app.load(adapter="nowhere") as assistant, pytest.raises(UserError, match="nowhere"):
        assistant.ask("?")


def test_a_name_that_is_not_a_setting_is_a_type_error_that_names_those_that_are() -> None:
    with pytest.raises(TypeError, match=r"'modle', which is not a setting \(known: .*model"):
        edge_app.load(modle="x")


def test_a_failure_is_raised_as_the_error_it_was_and_the_engine_is_closed(engine: FakeEngine) -> None:
    def fail(_: object) -> None:
        raise NeedsNetwork("The model is not here and the network is off.")

    engine.loading = fail
    with pytest.raises(NeedsNetwork, match="network is off") as raised:
        edge_app.load()
    assert raised.value.exit_code == 3
    engine.loading = lambda _: None
    with edge_app.load() as assistant, pytest.raises(UserError, match=r"missing\.png"):
        assistant.ask("?", "missing.png")


@pytest.mark.usefixtures("engine")
def test_offline_is_a_property_of_the_process() -> None:
    assert not switch.is_on
    edge_app.load(offline=True).close()
    assert switch.is_on


@pytest.mark.usefixtures("engine")
def test_sessions_are_the_caller_s_and_continue(store: SessionStore) -> None:
    with edge_app.load(store) as assistant:
        first = assistant.ask("What is this?", png())
        second = assistant.ask("And what colour is it?", session=first.session)
    assert second.session == first.session is not None
    assert [turn.question for turn in store.get(first.session).turns] == [
        "What is this?",
        "And what colour is it?",
    ]
