"""`edge-app ask` as scripts see it: what goes to stdout, what to stderr, and the exit code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant
from edge_app.system import paths
from edge_app.system.offline import switch
from models.core.errors import NeedsNetwork
from models.core.types import Progress as Report
from models.core.types import Sampling
from tests.adapters.folders import put
from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine, FakeRouter


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


@pytest.mark.usefixtures("engine")
def test_options_before_the_command_count_as_if_they_stood_after_it(run: Run) -> None:
    before = run("--mode", "fast", "--adapter", "none", "--offline", "ask", "Why?", "--json")
    assert (before.code, json.loads(before.stdout)["mode"]) == (0, "fast")
    assert switch.is_on
    after = run("--mode", "fast", "ask", "Why?", "--mode", "quality", "--json")
    assert json.loads(after.stdout)["mode"] == "quality"


def test_offline_before_a_command_without_that_option_holds_as_well(run: Run) -> None:
    assert run("--offline", "sessions", "list").code == 0
    assert switch.is_on


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
        *("timing_ms", "tokens_per_second", "session", "kept", "broken", "precision"),
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
    assert "the 2 oldest questions were left out" in run("ask", "?").stderr


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
        (("--session", "f00", "doctor"), 2, "--session is no option of 'doctor'"),
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


def test_a_confidence_rule_of_another_version_is_ignored_with_one_sentence(
    run: Run, engine: FakeEngine
) -> None:
    paths.ensure(paths.data_directory())
    paths.confidence_file().write_text('{"format": 1, "features": ["mean"], "adapters": {}}')
    outcome = run("ask", "What is this?")
    assert (outcome.code, outcome.stdout) == (0, "A cat.\n")
    assert outcome.stderr.count("was fitted by another version of edge-app and is ignored") == 1
    assert len(engine.calls) == 1
