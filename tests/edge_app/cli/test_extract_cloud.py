"""`edge-app extract --allow-cloud`: which rows leave, what comes back, and what stops it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge_app import assistant
from edge_app.cloud.ledger import Ledger
from edge_app.system import paths
from tests.edge_app.cli.conftest import Outcome, Run
from tests.edge_app.cloud.misbehaving import Misbehaving, answers, status
from tests.edge_app.conftest import picture
from tests.edge_app.fakes import FakeEngine

PAGES = 3


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The first page is answered with certainty, the others are not."""
    engine = FakeEngine()

    def unsure_from_the_second_page_on(number: int) -> None:
        del number
        engine.logprob = -0.001 if len(engine.calls) == 1 else -5.0

    engine.before_token = unsure_from_the_second_page_on
    monkeypatch.setattr(assistant, "Assistant", partial(assistant.Assistant, load=engine.load))
    return engine


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Misbehaving]:
    with Misbehaving(answers("A ", "tabby.")) as server:
        monkeypatch.setenv("EDGE_APP_CLOUD_URL", server.url)
        monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
        monkeypatch.setenv("EDGE_APP_CLOUD_KEY", "sk-of-the-test")
        monkeypatch.setenv("EDGE_APP_CLOUD_RETRIES", "0")
        yield server


@pytest.fixture
def scans(tmp_path: Path) -> str:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(PAGES):
        picture(f"#{number}0ff00", "#ffffff").save(folder / f"{number}.png")
    return str(folder)


def extract(run: Run, *arguments: str) -> Outcome:
    return run(
        "extract", "--adapter", "none", "--question", "What is it?", "--min-confidence", "0.4", *arguments
    )


def answered(outcome: Outcome) -> list[tuple[str, str]]:
    return [(row["answer"], row["place"]) for row in csv.DictReader(io.StringIO(outcome.stdout))]


LOCAL, CLOUD = ("A cat.", "local"), ("A tabby.", "cloud")


def test_only_doubtful_rows_leave_and_each_is_in_the_ledger(
    run: Run, engine: FakeEngine, server: Misbehaving, scans: str
) -> None:
    outcome = extract(run, scans, "--allow-cloud")
    assert (outcome.code, answered(outcome)) == (0, [LOCAL, CLOUD, CLOUD])
    assert len(server.requests) == 2
    ledger = Ledger(paths.sessions_file())
    assert [entry.status for entry in ledger.entries()] == ["complete"] * 2
    ledger.close()
    assert len(engine.calls) == PAGES


@pytest.mark.usefixtures("engine")
def test_nothing_leaves_without_consent(run: Run, server: Misbehaving, scans: str) -> None:
    assert answered(extract(run, scans)) == [LOCAL] * PAGES
    assert server.requests == []


def test_rows_of_an_earlier_run_are_sent_when_the_cloud_is_allowed_later(
    run: Run, engine: FakeEngine, server: Misbehaving, scans: str
) -> None:
    extract(run, scans)
    assert answered(extract(run, scans, "--allow-cloud")) == [LOCAL, CLOUD, CLOUD]
    assert answered(extract(run, scans, "--allow-cloud")) == [LOCAL, CLOUD, CLOUD]
    assert (len(server.requests), len(engine.calls)) == (2, PAGES)


@pytest.mark.usefixtures("engine")
def test_the_local_rows_stay_when_the_cloud_fails_and_the_reason_is_said_once(
    run: Run, server: Misbehaving, scans: str
) -> None:
    server.scripts[:] = [status(401)]
    outcome = extract(run, scans, "--allow-cloud")
    assert (outcome.code, answered(outcome)) == (0, [LOCAL] * PAGES)
    assert outcome.stderr.count("does not accept the key") == 1


@pytest.mark.usefixtures("engine")
def test_offline_sends_nothing(run: Run, scans: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_CLOUD_URL", "https://api.example.com/v1")
    monkeypatch.setenv("EDGE_APP_CLOUD_MODEL", "big-model")
    outcome = extract(run, scans, "--allow-cloud", "--offline")
    assert answered(outcome) == [LOCAL] * PAGES
    assert "offline" in outcome.stderr
