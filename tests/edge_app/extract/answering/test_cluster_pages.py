"""The order of the rows that come from a cluster: each once, whatever comes twice, late or never."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.events import Event, ImageEncoded
from edge_app.extract.answering import cluster_pages
from edge_app.extract.answering.cluster import Cluster, ClusterAddress
from edge_app.extract.answering.cluster_pages import GIVEN_UP, ClusterPages, Pool
from edge_app.extract.answering.page_worker import Columns, PageOutcome, PageReader, Setup
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob, jobs_of
from edge_app.extract.task import ExtractTask, asked_question
from edge_app.settings import Settings
from models.core.errors import UserError
from tests.edge_app.conftest import picture

TASK = ExtractTask(asked_question("What?"), "none", "edge-vlm-135m", "w", "auto")


def answered(number: int, text: str, *notes: str) -> Columns:
    row = PageRow("there.png", 7, f"{number}", (text,), (0.5,), None, "local")
    return {"number": number, "outcome": PageOutcome("row", row.as_json(), notes).as_json()}


def run(
    monkeypatch: pytest.MonkeyPatch, columns: Iterable[Columns], pages: int = 3
) -> tuple[list[PageRow], list[PageRow], list[Event]]:
    """The rows in their order, those that were kept in theirs, and the events."""

    @contextmanager
    def connected(address: ClusterAddress, *, offline: bool) -> Iterator[Cluster]:
        del address, offline
        yield Cluster((2.0,), remote=False)

    monkeypatch.setattr(cluster_pages, "connected", connected)
    monkeypatch.setattr(cluster_pages, "require_ray", lambda: None)
    monkeypatch.setattr(ClusterPages, "_begun", lambda *_: iter(columns))
    kept: list[PageRow] = []
    answering = ClusterPages(Setup(TASK, Settings(), lambda *_: "w", ""), Pool(ClusterAddress()), kept.append)
    jobs = [PageJob(f"{number}.png", 1, f"{number}", Path) for number in range(pages)]
    for job in jobs:
        answering.begin(job)
    rows, events = [], []
    for job in jobs:
        finishing = answering.finish(job)
        while True:
            try:
                events.append(next(finishing))
            except StopIteration as end:
                rows.append(end.value)
                break
    answering.close()
    return rows, kept, events


def test_rows_come_in_the_order_of_the_pages_and_are_kept_as_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = [answered(2, "c"), answered(0, "a", "first of 2 frames"), answered(1, "b")]
    rows, kept, events = run(monkeypatch, columns)
    assert [(row.file, row.page, row.values[0]) for row in rows] == [
        ("0.png", 1, "a"), ("1.png", 1, "b"), ("2.png", 1, "c"),
    ]  # fmt: skip
    assert [row.values[0] for row in kept] == ["c", "a", "b"]
    assert [event.notes for event in events if isinstance(event, ImageEncoded)] == [("first of 2 frames",)]


def test_a_page_that_was_answered_twice_has_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [
        answered(1, "b"),
        answered(1, "again"),
        answered(0, "a"),
        answered(0, "again"),
        answered(2, "c"),
    ]
    rows, kept, _ = run(monkeypatch, columns)
    assert [row.values[0] for row in rows] == ["a", "b", "c"]
    assert len(kept) == 3


def test_a_page_that_never_comes_has_a_row_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, kept, _ = run(monkeypatch, [answered(0, "a"), answered(2, "c")])
    assert [row.error for row in rows] == [None, GIVEN_UP, None]
    assert len(kept) == 2


def test_a_worker_that_cannot_answer_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="other weights"):
        run(
            monkeypatch, [{"number": 0, "outcome": PageOutcome("refused", "It has other weights.").as_json()}]
        )
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(monkeypatch, [{"number": 0, "outcome": PageOutcome("defect", "ZeroDivisionError").as_json()}])


def test_a_cluster_that_is_gone_ends_the_run_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> Iterator[Columns]:
        yield answered(0, "a")
        raise ConnectionError("head lost")

    with pytest.raises(UserError, match=r"head lost.*goes on"):
        run(monkeypatch, failing())


def test_pages_are_read_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("#10ff00", "#ffffff").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    jobs = [*jobs_of(Path("a.png")), *jobs_of(Path("b.png"))]
    reader = PageReader([job.anywhere() for job in jobs])
    monkeypatch.chdir("/")
    assert reader({"number": 0})["data"] == (tmp_path / "a.png").read_bytes()
    assert reader({"number": 0})["digest"] == jobs[0].digest
    assert "empty" in reader({"number": 1})["error"]
