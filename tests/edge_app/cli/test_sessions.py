"""`edge-app sessions`: lists, shows, searches, exports and deletes chats."""

from __future__ import annotations

import json
from pathlib import Path

from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.conftest import png, saved_image_names
from tests.edge_app.fakes import FakeEngine


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


def test_sessions_rename_and_fork(run: Run, engine: FakeEngine) -> None:
    engine.words = ("A ", "tabby cat.")
    run("ask", "What is a tabby?")
    (listed,) = json.loads(run("sessions", "list", "--json").stdout)
    session = listed["id"]
    assert run("sessions", "rename", session[:6], "Cats").stderr == f"Session {session} is now called Cats.\n"

    forked = run("sessions", "fork", session[:6])

    assert forked.code == 0
    copy = json.loads(run("sessions", "show", forked.stdout.strip(), "--json").stdout)
    assert (copy["title"], [turn["question"] for turn in copy["turns"]]) == ("Cats", ["What is a tabby?"])
    refused = run("sessions", "fork", session, "--turns", "2")
    assert (refused.code, refused.stdout) == (1, "")
    assert "fewer than 2 questions" in refused.stderr
