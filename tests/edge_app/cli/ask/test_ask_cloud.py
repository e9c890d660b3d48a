"""`edge-app ask` with an endpoint set up, as scripts and people at a terminal see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant
from edge_app.cloud.consent import ConsentStore
from edge_app.cloud.endpoint import Endpoint
from edge_app.storage.sessions import SessionStore
from models.core.errors import NeedsNetwork, UserError
from models.core.types import Progress as Report
from tests.edge_app.cli.conftest import Run
from tests.edge_app.cloud.misbehaving import STREAM, Misbehaving, answers, status, word
from tests.edge_app.conftest import png
from tests.edge_app.fakes import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine(logprob=-5.0)
    monkeypatch.setattr(assistant, "Assistant", partial(assistant.Assistant, load=engine.load))
    return engine


@pytest.fixture
def server(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Misbehaving]:
    assert not engine.calls
    with Misbehaving(answers("A ", "tabby.")) as server:
        monkeypatch.setenv("EDGE_APP_CLOUD_URL", server.url)
        monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
        monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
        monkeypatch.setenv("EDGE_APP_CLOUD_RETRIES", "0")
        yield server


def test_a_script_that_allows_it_gets_the_cloud_s_answer(run: Run, server: Misbehaving) -> None:
    outcome = run("ask", "What is this?", "--allow-cloud", "--json")
    printed = json.loads(outcome.stdout)
    assert outcome.code == 0
    assert (printed["answer"], printed["place"], printed["mode"]) == ("A tabby.", "cloud", "auto")
    assert (printed["kept"], printed["model"], printed["confidence"]) == ("A cat.", "big-model", None)
    assert printed["reason"].startswith("local server: local confidence 0.")
    assert printed["reason_kind"] == "confidence_below"
    assert printed["tokens"] == {"prompt": 11, "image": 0, "cached": 0, "completion": 3}
    assert len(server.requests) == 1


def test_a_pipe_gets_the_one_answer_that_counts(run: Run, server: Misbehaving) -> None:
    outcome = run("ask", "What is this?", "--allow-cloud")
    assert (outcome.code, outcome.stdout) == (0, "A tabby.\n")
    assert outcome.stderr.startswith("(local server: local confidence 0.")
    server.scripts[:] = [lambda wire: wire.send(STREAM, word("A ta"))]
    outcome = run("ask", "What is this?", "--allow-cloud")
    assert (outcome.code, outcome.stdout) == (0, "A cat.\n")
    assert "edge-app: The connection to the local server at" in outcome.stderr


@pytest.mark.parametrize(
    ("mode", "help"),
    [
        ("auto", "--allow-cloud asks the local server"),
        ("quality", "--allow-cloud asks the local server"),
        ("eco", "--mode auto asks the local server"),
        ("fast", "--mode auto asks the local server"),
    ],
)
def test_a_decline_says_how_the_cloud_is_asked(
    run: Run, server: Misbehaving, engine: FakeEngine, mode: str, help: str
) -> None:
    engine.words = ("I ", "do ", "not ", "know.")
    allowed = ["--allow-cloud"] if mode in ("eco", "fast") else []
    outcome = run("ask", "Who is it?", "--mode", mode, *allowed)
    assert (outcome.code, outcome.stdout) == (0, "I do not know.\n")
    assert f"on this device · does not know: {help}" in outcome.stderr
    assert server.requests == []


def test_a_script_that_does_not_allow_it_gets_the_local_answer_and_the_reason(
    run: Run, server: Misbehaving
) -> None:
    for mode in ("auto", "quality"):
        outcome = run("ask", "What is this?", "--mode", mode, "--json")
        printed = json.loads(outcome.stdout)
        assert (outcome.code, printed["answer"], printed["place"]) == (0, "A cat.", "local")
        assert "needs --allow-cloud" in printed["reason"]
        assert printed["reason_kind"] == "allow_cloud_missing"
        assert f"({printed['reason']})" in outcome.stderr
    assert server.requests == []


@pytest.mark.parametrize(
    ("mode", "place"), [("auto", "cloud"), ("fast", "cloud"), ("quality", "cloud"), ("eco", "local")]
)
def test_the_modes(run: Run, server: Misbehaving, mode: str, place: str) -> None:
    printed = json.loads(run("ask", "?", "--mode", mode, "--allow-cloud", "--json").stdout)
    assert (printed["mode"], printed["place"]) == (mode, place)
    assert bool(server.requests) == (place == "cloud")


def test_exit_code_4_when_the_cloud_failed_and_there_is_no_local_answer(
    run: Run, server: Misbehaving, engine: FakeEngine
) -> None:
    def fails(_: int) -> None:
        raise UserError("The model is damaged.")

    engine.before_token = fails
    server.scripts[:] = [status(500)]
    outcome = run("ask", "?", "--mode", "quality", "--allow-cloud", "--json")
    assert (outcome.code, outcome.stdout) == (4, "")
    assert (
        "status 500" in outcome.stderr and "no local answer either: the model is damaged." in outcome.stderr
    )
    engine.before_token = lambda _: None
    assert run("ask", "?", "--mode", "quality", "--allow-cloud").code == 0


def test_exit_code_3_when_it_is_offline_and_needs_the_network(
    run: Run, server: Misbehaving, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: Report) -> None:
        raise NeedsNetwork("The model is not here.")

    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    engine.loading = missing
    outcome = run("ask", "?", "--mode", "quality", "--allow-cloud", "--offline")
    assert (outcome.code, outcome.stdout, server.requests) == (3, "", [])


def test_offline_answers_here_and_says_so(
    run: Run, server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "is_local", property(lambda _: False))
    for mode in ("auto", "quality"):
        printed = json.loads(run("ask", "?", "--mode", mode, "--allow-cloud", "--offline", "--json").stdout)
        assert (printed["place"], server.requests) == ("local", [])
        assert "the app is offline" in printed["reason"]
        assert printed["reason_kind"] == "offline"


def test_a_chat_is_continued_across_places(run: Run, server: Misbehaving, engine: FakeEngine) -> None:
    first = json.loads(run("ask", "One?", "--allow-cloud", "--json").stdout)
    engine.logprob = -0.0001
    second = json.loads(run("ask", "Two?", "--continue", "--json").stdout)
    assert (first["place"], second["place"], second["session"]) == ("cloud", "local", first["session"])
    assert [message.text for message in engine.calls[-1].messages] == ["One?", "A tabby.", "Two?"]
    exported = run("sessions", "export", first["session"]).stdout
    assert "Local answer, kept: A cat." in exported and first["reason"] in exported
    assert len(server.requests) == 1


def test_eval_goes_where_the_mode_says_and_records_it(
    run: Run, server: Misbehaving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.evaluation.rows.weights_identity", lambda *_: "1")
    (tmp_path / "a.png").write_bytes(png())
    row = {"image": "a.png", "question": "What is it?", "answer": "A tabby.", "type": "main_object"}
    (tmp_path / "pets.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "out.jsonl"
    common = ["eval", str(tmp_path / "pets.jsonl"), "--predictions", str(out)]
    assert run(*common, "--mode", "quality", "--allow-cloud").code == 0
    (prediction,) = map(json.loads, out.read_text().splitlines())
    assert (prediction["place"], prediction["answer"], prediction["correct"]) == ("cloud", "A tabby.", True)
    assert prediction["options"]["cloud"] == f"big-model at {server.url}"
    out.unlink()
    assert run(*common, "--mode", "quality").code == 0
    (prediction,) = map(json.loads, out.read_text().splitlines())
    assert (prediction["place"], prediction["options"]["cloud"], len(server.requests)) == ("local", None, 1)


# -- people -------------------------------------------------------------------------------------------------

ON_A_TERMINAL = """
import sys
from functools import partial
from edge_app import assistant
from edge_app.cli.main import main
from tests.edge_app.fakes import FakeEngine

assistant.Assistant = partial(assistant.Assistant, load=FakeEngine(logprob=-5.0).load)
sys.argv = ["edge-app", *sys.argv[1:]]
main()
"""


def at_a_terminal(*arguments: str, types: bytes | None, piped: bool = True) -> tuple[str, str, int]:
    """stdout, what the terminal showed on stderr, and the exit code. types: at the question; None is a Ctrl-C.
    piped: stdout goes elsewhere."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *arguments],
        stdin=theirs,
        stdout=subprocess.PIPE if piped else theirs,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 240
    while b"Send it?" not in seen and child.poll() is None:
        assert time.monotonic() < deadline, seen
        seen += read(ours)
    if types is None:
        child.send_signal(signal.SIGINT)
    else:
        os.write(ours, types)
    out, _ = child.communicate(timeout=240)
    while more := read(ours):
        seen += more
    os.close(ours)
    return out or "", seen.decode(), child.returncode


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody is at the other end any more
        return b""


def decided(server: Misbehaving) -> bool | None:
    store = ConsentStore.open()
    try:
        return store.hosts().get(server.endpoint.host)
    finally:
        store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("types", "answer", "always"),
    [(b"o\n", "A tabby.\n", None), (b"\n", "A cat.\n", None), (b"what?\nNEVER\n", "A cat.\n", False)],
)
def test_the_user_at_the_terminal_is_asked_on_stderr(
    server: Misbehaving, tmp_path: Path, types: bytes, answer: str, always: bool | None
) -> None:
    (tmp_path / "photo.png").write_bytes(png())
    out, seen, code = at_a_terminal(
        "ask", "What is this?", "--image", str(tmp_path / "photo.png"), types=types
    )
    assert (out, code) == (answer, 0), seen
    for shown in ("What is this?", "photo.png, 8x6 pixels", server.endpoint.host, "big-model", "bytes"):
        assert shown in seen
    assert decided(server) is always
    assert len(server.requests) == (1 if answer == "A tabby.\n" else 0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_both_answers_are_seen_and_told_apart(server: Misbehaving) -> None:
    _, seen, code = at_a_terminal("ask", "What is this?", types=b"o\n", piped=False)
    lines = [line.rpartition("\x1b[2K")[2].strip() for line in seen.strip().split("\n")]
    assert code == 0
    assert lines[0] == "A cat."
    assert lines[-3].startswith("(local server: local confidence"), lines
    assert lines[-2] == "A tabby."
    assert lines[-1].startswith("from the local server\x1b[2m · ")
    assert len(server.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_at_the_question_sends_nothing_and_keeps_the_answer(server: Misbehaving) -> None:
    out, _, code = at_a_terminal("ask", "What is this?", types=None)
    assert (out, code, server.requests) == ("A cat.\n", 130, [])
    store = SessionStore.open()
    assert store.get(store.latest()).turns[-1].answer == "A cat."
    store.close()
