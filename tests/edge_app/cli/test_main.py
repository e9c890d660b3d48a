"""The command line as scripts see it: what goes to stdout, what to stderr, and the exit code.

Most tests call the real `main` in this process with a fake engine; pipes, signals, terminals need real ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from typer.main import get_command

import edge_app
from edge_app import assistant
from edge_app.assistant import Assistant
from edge_app.cli.ask import Screen, show_turn
from edge_app.cli.eval.evaluate import EVALUATIONS
from edge_app.cli.main import app, main
from edge_app.events import Event
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import NeedsNetwork
from models.core.types import Progress as Report
from models.core.types import Sampling
from tests.adapters.folders import put
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine, FakeRouter
from tests.models.tiny_directory import write_directory


@dataclass(frozen=True)
class Outcome:
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Outcome]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setattr(assistant, "Assistant", partial(assistant.Assistant, load=engine.load))
    return engine


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edge-app", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "photo.png"
    file.write_bytes(png())
    return str(file)


# -- ask --------------------------------------------------------------------------------------------------


def test_ask_prints_the_answer_and_nothing_else(run: Run, engine: FakeEngine, photo: str) -> None:
    assert run("ask", "What is this?", "--image", photo) == Outcome(0, "A cat.\n", "")
    assert [m.text for m in engine.calls[0].messages] == ["What is this?"]
    assert run("ask", "What is this?", "--no-stream") == Outcome(0, "A cat.\n", "")


def test_ask_takes_adapters_and_sums_and_says_which_one_auto_chose(
    run: Run, engine: FakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, name in enumerate(("medical", "receipts")):
        put(home / "data" / "adapters", name, seed)
    monkeypatch.setattr(assistant, "Assistant", partial(assistant.Assistant, router=FakeRouter("receipts")))
    asked = run("ask", "Total?", "--adapter", "receipts:0.5,medical:0.5", "--json")
    assert json.loads(asked.stdout)["adapter"] == "receipts:0.5,medical:0.5"
    assert (asked.code, asked.stderr) == (0, "")
    chosen = run("ask", "Total?")
    assert (chosen.stdout, chosen.stderr) == ("A cat.\n", "(adapter receipts)\n")
    assert [call.adapter.name for call in engine.calls if call.adapter] == [
        "receipts:0.5,medical:0.5",
        "receipts",
    ]
    wrong = run("ask", "Total?", "--adapter", "recipts")
    assert wrong == Outcome(1, "", "edge-app: There is no adapter named 'recipts'; did you mean receipts?\n")


def test_a_decline_exits_with_0_and_says_what_could_help(run: Run, engine: FakeEngine) -> None:
    engine.words = ("I ", "do ", "not ", "know.")
    said = "on this device · does not know: `edge-app cloud setup` sets up a cloud to ask"
    asked = run("ask", "Who took this?")
    assert (asked.code, asked.stdout) == (0, "I do not know.\n")
    assert asked.stderr.startswith(said)
    printed = run("ask", "Who took this?", "--json")
    fields = json.loads(printed.stdout)
    assert (fields["declined"], fields["confidence"], fields["calibrated"]) == (True, None, False)
    assert (printed.code, printed.stderr) == (0, "")


def test_ask_json_prints_one_object(run: Run, engine: FakeEngine, photo: str) -> None:
    outcome = run("ask", "What is this?", "--image", photo, "--json", "--mode", "fast", "--adapter", "none")
    printed = json.loads(outcome.stdout)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert list(printed) == [
        *(
            "answer",
            "adapter",
            "place",
            "mode",
            "confidence",
            "declined",
            "calibrated",
            "reason",
            "reason_kind",
            "model",
        ),
        *("stop_reason", "tokens"),
        *("timing_ms", "tokens_per_second", "session", "kept", "broken"),
    ]
    assert (printed["answer"], printed["mode"], printed["place"]) == ("A cat.", "fast", "local")
    assert engine.encoded


@pytest.mark.parametrize(
    ("arguments", "stdin", "question"),
    [
        (("ask",), b"From stdin?\n", "From stdin?"),
        (("ask", "-"), b"From stdin?\n", "From stdin?"),
        (("ask", "Summarise:", "-"), b"a text\n", "Summarise:\n\na text"),
        (("ask", "-", "in", "one", "word"), b"a text\n", "a text\n\nin one word"),
        (("ask", "two", "words"), b"not read", "two words"),
        (("ask",), "What is a café?".encode(), "What is a café?"),
    ],
)
def test_the_question_comes_from_arguments_or_stdin(
    run: Run, engine: FakeEngine, arguments: tuple[str, ...], stdin: bytes, question: str
) -> None:
    assert run(*arguments, stdin=stdin).code == 0
    assert engine.calls[0].messages[-1].text == question


def test_options_reach_the_engine_over_environment_and_file(
    run: Run, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("max_tokens = 7\ntop_k = 3\ntemperature = 0.1")
    monkeypatch.setenv("EDGE_APP_MAX_TOKENS", "8")
    run("ask", "?", "--temperature", "0.5", "--seed", "11", "--system", "Be brief.")
    sampling = engine.calls[0].sampling
    assert (sampling.max_tokens, sampling.top_k, sampling.temperature, sampling.seed) == (8, 3, 0.5, 11)
    assert engine.calls[0].messages[0].text == "Be brief."


def test_every_sampling_option_reaches_the_engine(run: Run, engine: FakeEngine) -> None:
    options = ("--top-k", "5", "--top-p", "0.9", "--min-p", "0.1", "--repetition-penalty", "1.2")
    assert run("ask", "?", *options, "--stop", "\n", "--stop", "END").code == 0
    expected = Sampling(top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.2, stop=("\n", "END"))
    assert engine.calls[0].sampling == expected
    assert run("ask", "?", "--stop", "").code == 2


def test_sessions_are_continued_by_id_or_by_being_the_last(run: Run, engine: FakeEngine, photo: str) -> None:
    first = json.loads(run("ask", "one", "--image", photo, "--json").stdout)["session"]
    assert json.loads(run("ask", "other", "--json").stdout)["session"] != first
    assert json.loads(run("ask", "two", "--session", first[:6], "--json").stdout)["session"] == first
    run("ask", "three", "--continue")
    assert [m.text for m in engine.calls[-1].messages if m.role == "user"] == ["one", "two", "three"]
    assert engine.calls[-1].messages[0].images


def test_quality_without_a_cloud_says_on_stderr_that_it_answers_here(run: Run, engine: FakeEngine) -> None:
    outcome = run("ask", "?", "--mode", "quality")
    assert (outcome.code, outcome.stdout) == (0, "A cat.\n")
    assert "no cloud is set up" in outcome.stderr
    assert engine.calls


def test_trimmed_and_cut_answers_say_so_on_stderr(run: Run, engine: FakeEngine) -> None:
    engine.dropped_turns = 2
    assert "first 2 turns were left out" in run("ask", "?").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("ask", "?", "--image", "missing.png"), 1, "missing.png"),
        (("ask", "?", "--adapter", "nobody"), 1, "'nobody'"),
        (("ask", "?", "--session", "f00"), 1, "'f00'"),
        (("ask", "?", "--continue"), 1, "no session"),
        (("ask", "?", "--max-tokens", "0"), 1, "--max-tokens"),
        (("ask", "?", "--temperature", "-1"), 1, "--temperature"),
        (("ask", "?", "--temperature", "hot"), 2, "--temperature"),
        (("ask", "?", "--mode", "turbo"), 2, "--mode"),
        (("ask", "?", "--what"), 2, "--what"),
        (("ask", "?", "--session", "a", "--continue"), 2, "not both"),
        (("frobnicate",), 2, "frobnicate"),
        (("--offline", "ask", "?"), 2, "after 'ask'"),
        (("sessions", "show", "f00"), 1, "'f00'"),
        (("sessions", "search", ""), 1, "search for"),
        (("models", "show", "gpt"), 1, "'gpt'"),
        (("eval", "missing.jsonl"), 1, "missing.jsonl"),
    ],
)
def test_mistakes_are_a_sentence_on_stderr_and_nothing_on_stdout(
    run: Run, engine: FakeEngine, arguments: tuple[str, ...], code: int, words: str
) -> None:
    outcome = run(*arguments)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not engine.calls


def test_stdin_that_is_not_text_is_a_mistake(run: Run, engine: FakeEngine) -> None:
    outcome = run("ask", stdin=b"\xff\xfe")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "UTF-8" in outcome.stderr
    assert not engine.calls


def test_a_bad_image_saves_nothing(run: Run, engine: FakeEngine, tmp_path: Path, photo: str) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(png()[:40])
    assert run("ask", "?", "--image", photo, "--image", str(bad)).code == 1
    assert run("sessions", "list", "--json").stdout == "[]\n"
    assert saved_image_names() == set()
    assert not engine.calls


def test_offline_without_the_model_is_code_3(run: Run, engine: FakeEngine) -> None:
    def offline(_: Report) -> None:
        raise NeedsNetwork("The model is not here and the app is offline.")

    engine.loading = offline
    outcome = run("ask", "?", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert outcome.stderr == "edge-app: The model is not here and the app is offline.\n"


def test_without_a_terminal_each_long_thing_is_one_plain_line(run: Run, engine: FakeEngine) -> None:
    def load(report: Report) -> None:
        for done in range(0, 100_000_001, 10_000_000):
            report("pull", "Downloading the model", done, 100_000_000)
        report("compile", "Compiling", 0, None)
        report("compile", "Compiling", 1, None)
        report("load", "Loading", 0, None)

    engine.loading = load
    assert run("ask", "?").stderr == "Downloading the model (100.0 MB)\nCompiling\n"


def test_a_defect_shows_its_traceback(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise ZeroDivisionError("a defect")

    engine.before_token = broken
    monkeypatch.setattr(sys, "argv", ["edge-app", "ask", "?"])
    with pytest.raises(ZeroDivisionError):
        main()


# -- sessions ---------------------------------------------------------------------------------------------


def test_sessions_list_show_search_export_delete(
    run: Run, engine: FakeEngine, photo: str, tmp_path: Path
) -> None:
    engine.words = ("A ", "tabby cat.")
    run("ask", "What animal is this?", "--image", photo)
    (listed,) = json.loads(run("sessions", "list", "--json").stdout)
    session = listed["id"]
    assert session in run("sessions", "list").stdout
    shown = run("sessions", "show", session[:5]).stdout
    assert "## What animal is this?" in shown
    assert "A tabby cat." in shown
    assert [m["session"] for m in json.loads(run("sessions", "search", "tabby", "--json").stdout)] == [
        session
    ]
    assert "[tabby]" in run("sessions", "search", "tabby").stdout
    assert run("sessions", "search", "zebra") == Outcome(0, "", "Nothing was found.\n")

    to = tmp_path / "out.json"
    assert run("sessions", "export", session, "--format", "json", "-o", str(to)).stdout == ""
    exported = json.loads(to.read_text())
    (turn,) = exported["turns"]
    assert (turn["question"], turn["answer"], turn["status"]) == (
        "What animal is this?",
        "A tabby cat.",
        "complete",
    )
    assert Path(turn["images"][0]["file"]).read_bytes() == png()
    assert turn["result"]["model"] == "edge-vlm-135m"

    refused = run("sessions", "delete", session)
    assert refused.code == 1
    assert "--yes" in refused.stderr
    assert run("sessions", "delete", session, "--yes").code == 0
    assert run("sessions", "list") == Outcome(0, "", "There are no sessions yet.\n")
    assert saved_image_names() == set()


# -- models, doctor, version ------------------------------------------------------------------------------


def test_models_list_and_show_without_anything_pulled(run: Run) -> None:
    listed = json.loads(run("models", "list", "--json").stdout)
    assert [m["name"] for m in listed if m["default"]] == ["edge-vlm-135m"]
    assert not any(m["pulled"] for m in listed)
    assert "not pulled" in run("models", "list").stdout
    shown = json.loads(run("models", "show", "edge-vlm-135m", "--json").stdout)
    assert {f["role"] for f in shown["files"]} == {"language_model", "vision_tower"}
    assert all(len(f["sha256"]) == 64 and f["path"] is None for f in shown["files"])
    assert "vision_tower" in run("models", "show", "edge-vlm-135m").stdout
    assert run("models", "remove", "edge-vlm-135m").stderr == "edge-vlm-135m was not here.\n"


def in_use(run: Run) -> list[str]:
    return [m["name"] for m in json.loads(run("models", "list", "--json").stdout) if m["in_use"]]


def test_a_chosen_model_is_remembered(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert in_use(run) == ["edge-vlm-135m"]
    outcome = run("models", "use", "smolvlm-500m")
    assert (outcome.code, outcome.stdout) == (0, "")
    assert "edge-app models pull smolvlm-500m" in outcome.stderr
    assert in_use(run) == ["smolvlm-500m"]
    monkeypatch.setenv("EDGE_APP_MODEL", "smolvlm-256m")
    assert in_use(run) == ["smolvlm-256m"]
    assert "EDGE_APP_MODEL" in run("models", "use", "edge-vlm-135m").stderr
    monkeypatch.delenv("EDGE_APP_MODEL")
    assert in_use(run) == ["edge-vlm-135m"]


def test_an_unknown_model_cannot_be_chosen(run: Run) -> None:
    outcome = run("models", "use", "gpt")
    assert outcome.code == 1
    assert "'gpt'" in outcome.stderr
    assert "smolvlm-500m" in outcome.stderr
    assert in_use(run) == ["edge-vlm-135m"]


def test_the_model_option_chooses_for_one_command(run: Run, engine: FakeEngine) -> None:
    outcome = run("ask", "Is it a cat?", "--model", "smolvlm-256m", "--json")
    assert json.loads(outcome.stdout)["model"] == "smolvlm-256m"
    assert len(engine.calls) == 1
    assert in_use(run) == ["edge-vlm-135m"]


def test_models_pull_offline_is_code_3(run: Run) -> None:
    outcome = run("models", "pull", "edge-vlm-135m", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert "offline" in outcome.stderr


def test_a_model_from_a_file_is_pulled_listed_and_removed(run: Run, tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "w.bin").write_bytes(content)
    paths.ensure(paths.models_directory())
    (paths.models_directory() / "catalog.toml").write_text(
        f"""
        [models.mine]
        description = "A test"
        family = "test"
        licence = "none"
        [models.mine.files.language_model]
        name = "w.bin"
        size = {len(content)}
        sha256 = "{digest}"
        source = "file:{tmp_path / "w.bin"}"
        """
    )
    outcome = run("models", "pull", "mine")
    assert outcome.code == 0, outcome.stderr
    assert (paths.models_directory() / "mine" / "w.bin").read_bytes() == content
    assert json.loads(run("models", "show", "mine", "--json").stdout)["pulled"]
    packed = paths.ensure(paths.cache_directory() / "packed") / f"{digest[:32]}-v1.pack"
    packed.write_bytes(bytes(2_000_000))
    assert run("models", "remove", "mine").stderr == "Removed mine (2.0 MB).\n"
    assert not packed.exists()
    assert not json.loads(run("models", "show", "mine", "--json").stdout)["pulled"]


def test_a_folder_becomes_a_model_and_stays_when_the_model_is_removed(run: Run, tmp_path: Path) -> None:
    folder = write_directory(tmp_path / "Tiny Llama")
    outcome = run("models", "pull", f"file:{folder}", "--offline", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "tiny-llama: " in outcome.stderr
    assert "of memory" in outcome.stderr
    shown = json.loads(outcome.stdout)
    assert (shown["name"], shown["family"], shown["pulled"]) == ("tiny-llama", "llama", True)
    assert shown["origin"] == f"file:{folder}"
    assert run("models", "use", "tiny-llama").code == 0
    assert in_use(run) == ["tiny-llama"]
    assert run("models", "pull", f"file:{folder}", "--name", "other").code == 0
    assert "Removed tiny-llama" in run("models", "remove", "tiny-llama").stderr
    assert run("models", "show", "tiny-llama").code == 1
    assert (folder / "model.safetensors").exists()


def test_a_large_model_without_a_terminal_needs_yes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_directory(tmp_path / "tiny")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1_000_000))
    refused = run("models", "pull", f"file:{folder}")
    assert (refused.code, refused.stdout) == (1, "")
    assert "--yes" in refused.stderr
    assert "1.0 MB of memory in all" in refused.stderr
    assert run("models", "show", "tiny").code == 1
    assert run("models", "pull", f"file:{folder}", "--yes").code == 0


def test_a_repository_is_not_asked_for_offline(run: Run) -> None:
    outcome = run("models", "pull", "hf:owner/repo", "--offline")
    assert (outcome.code, outcome.stdout) == (3, "")
    assert "offline" in outcome.stderr


def test_options_of_a_source_do_not_fit_a_name(run: Run) -> None:
    assert run("models", "pull", "smolvlm-256m", "--name", "small").code == 2
    assert run("models", "pull", "hf:owner").code == 1


def test_doctor_tells_what_there_is_and_changes_nothing(run: Run, home: Path) -> None:
    outcome = run("doctor", "--json")
    told = json.loads(outcome.stdout)
    assert (outcome.code, told["problems"]) == (0, [])
    assert told["processor"]["kernels"] in ("avx512vnni", "avxvnni", "avx2", "neon", "generic")
    assert told["processor"]["threads"] >= 1
    assert told["versions"]["edge-app"] == edge_app.__version__
    assert told["models"]["edge-vlm-135m"]["pulled"] is False
    assert {place["path"] for place in told["places"].values()} == {
        str(p) for p in paths.locations().values()
    }
    assert not home.exists()
    assert "kernels" in run("doctor").stdout


def test_doctor_tells_the_threads_that_are_used(run: Run) -> None:
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("threads = 1")
    assert json.loads(run("doctor", "--json").stdout)["processor"]["threads"] == 1


def test_doctor_reports_what_is_wrong_and_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_KERNELS", "abacus")
    paths.ensure(paths.config_directory())
    paths.config_file().write_text("colour = 1")
    outcome = run("doctor", "--json")
    problems = json.loads(outcome.stdout)["problems"]
    assert outcome.code == 1
    assert any("abacus" in problem for problem in problems)
    assert any("'colour'" in problem for problem in problems)


def test_version(run: Run) -> None:
    assert run("--version") == Outcome(0, f"edge-app {edge_app.__version__}\n", "")


def test_completion_is_shown_and_installed(tmp_path: Path) -> None:
    """By the installed command: a shell asks for completions by its name.

    The command runs as a child of bash, because it finds the user's shell among its parent processes.
    """
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    command = [bash, "-c", '"$0" "$@"; exit $?', str(Path(sys.executable).with_name("edge-app"))]
    environment = {**os.environ, "SHELL": "/bin/bash", "HOME": str(tmp_path)}

    def complete(*arguments: str, **more: str) -> str:
        ended = subprocess.run(
            [*command, *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    shown = complete("--show-completion")
    assert "_EDGE_APP_COMPLETE=complete_bash" in shown
    complete("--install-completion")
    installed = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any("_EDGE_APP_COMPLETE" in file.read_text() for file in installed)
    asked = {"COMP_WORDS": "edge-app do", "COMP_CWORD": "1", "_EDGE_APP_COMPLETE": "complete_bash"}
    offered = complete(**asked)
    assert offered.split() == ["doctor"]


def command_names(command: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of a command and of all commands below it."""
    yield names
    for name, below in getattr(command, "commands", {}).items():
        yield from command_names(below, *names, name)


COMMANDS = [*command_names(get_command(app)), *(("eval", name) for name in EVALUATIONS)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(run: Run, command: tuple[str, ...]) -> None:
    outcome = run(*command, "--help")
    assert outcome.code == 0
    assert "Example" in outcome.stdout
    assert f"edge-app {' '.join(command)}".strip() in outcome.stdout


def test_the_chat_needs_a_terminal_and_says_so(run: Run) -> None:
    outcome = run()
    assert (outcome.code, outcome.stdout) == (2, "")
    assert "terminal" in outcome.stderr


# -- real processes ---------------------------------------------------------------------------------------

WITH_A_FAKE_ENGINE = """
import sys, time
from functools import partial
from edge_app import assistant
from edge_app.cli.main import main
from tests.edge_app.fakes import FakeEngine

def load(report):
    report("pull", "Downloading", 5, 10)

words, pause = int(sys.argv.pop(1)), float(sys.argv.pop(1))
engine = FakeEngine(words=("word ",) * words, before_token=lambda _: time.sleep(pause), loading=load)
assistant.Assistant = partial(assistant.Assistant, load=engine.load)
sys.argv = ["edge-app", *sys.argv[1:]]
main()
"""


def start(*arguments: str, words: int | None = None, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command with a fake engine. words: the length of its answer; None is one that never ends by itself."""
    length = ("1000000", "0.02") if words is None else (str(words), "0")
    command = [sys.executable, "-c", WITH_A_FAKE_ENGINE, *length, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def last_status() -> str:
    store = SessionStore.open()
    try:
        return store.get(store.latest()).turns[-1].status
    finally:
        store.close()


def test_ctrl_c_keeps_what_was_printed_and_exits_130() -> None:
    child = start("ask", "?")
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.read(10) == "word word "
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out.endswith("\n")
    assert "Traceback" not in err
    assert last_status() == "stopped"


def test_ctrl_c_with_json_still_prints_the_object() -> None:
    child = start("ask", "?", "--json")
    store = SessionStore.open()
    deadline = time.monotonic() + 60
    while not any("word" in t.answer for s in store.recent() for t in store.get(s.id).turns):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store.close()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert json.loads(out)["stop_reason"] == "cancelled"
    assert "word" in json.loads(out)["answer"]


@pytest.mark.parametrize("second", [KeyboardInterrupt, StopIteration])
def test_a_second_ctrl_c_ends_the_command_as_interrupted(second: type[BaseException]) -> None:
    """It comes while the stopped answer is awaited, either here or inside the turn, whose events then just end."""
    raised = iter([KeyboardInterrupt, second])
    cancelled: list[bool] = []

    class Interrupted:
        def __iter__(self) -> Self:
            return self

        def __next__(self) -> Event:
            raise next(raised)

    answering = cast(Assistant, SimpleNamespace(cancel=lambda: cancelled.append(True)))
    with pytest.raises(KeyboardInterrupt):
        show_turn(Interrupted(), Screen(stream=True), answering)
    assert cancelled == [True]


def test_a_reader_that_leaves_ends_it_quietly_and_the_answer_is_saved_as_stopped() -> None:
    child = start("ask", "?")
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.read(5) == "word "
    child.stdout.close()
    assert child.stderr.read() == "Downloading (0.0 MB)\n"
    assert child.wait(timeout=60) == 141
    assert last_status() == "stopped"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_progress_is_one_changing_line_on_stderr_only() -> None:
    ours, theirs = os.openpty()
    child = start("ask", "?", "--no-stream", words=200, stderr=theirs)
    os.close(theirs)
    out, _ = child.communicate(timeout=60)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert out == "word " * 200 + "\n"
    assert "\r\x1b[2KDownloading" in seen
    assert re.search(r"\r\x1b\[2Kon this device · unsure, \d+%, not calibrated\x1b\[2m · ", seen)
    assert seen.count("\n") == 1


def test_the_version_loads_nothing_heavy() -> None:
    """How long the start takes is measured by `make bench`; what makes it slow is listed here."""
    heavy = {
        "numpy",
        "PIL",
        "tvm_ffi",
        "tokenizers",
        "onnxruntime",
        "textual",
        "rich",
        "pydantic",
        "sqlite_utils",
    }
    heavy |= {"httpx", "httpx2", "openai", "keyring", "cryptography", "huggingface_hub", "jinja2"}
    script = f"""
import sys
from edge_app.cli.main import main
sys.argv = ["edge-app", "--version"]
try:
    main()
finally:
    print(sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == f"edge-app {edge_app.__version__}\n[]\n", done.stderr


def test_a_confidence_rule_of_another_version_is_ignored_with_one_sentence(
    run: Run, engine: FakeEngine
) -> None:
    paths.ensure(paths.data_directory())
    paths.confidence_file().write_text('{"format": 1, "features": ["mean"], "adapters": {}}')
    outcome = run("ask", "What is this?")
    assert (outcome.code, outcome.stdout) == (0, "A cat.\n")
    assert outcome.stderr.count("was fitted by another version of edge-app and is ignored") == 1
    assert len(engine.calls) == 1
