"""What the user accepts and corrects, and the training rows that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.training.data import NOT_ON_THE_PAGE, read_training_rows
from edge_app.extract.review import Review, ReviewItem, items_below, shown
from edge_app.extract.rows import PageRow
from edge_app.extract.sources import PageJob, jobs_of
from edge_app.extract.store import ExtractStore
from edge_app.extract.task import asked_fields, asked_question
from edge_app.extract.training_rows import as_printed, write_training_rows
from edge_app.schemas.fields import Field
from models.core.errors import UserError
from router.confidence.declines import is_decline
from tests.edge_app.conftest import picture
from tests.models.documents.made_pdf import Sheet, pdf_file

ASKED = asked_fields("company, date:date, total:number, paid:boolean")


@pytest.fixture
def answers() -> Iterator[ExtractStore]:
    store = ExtractStore.open()
    yield store
    store.close()


def item(values: tuple[str | float | bool | None, ...] = ("Shop", "2024-01-31", 9.9, None)) -> ReviewItem:
    row = PageRow("a.png", 1, "0a", values, (0.9, 0.2, 0.3, None), "receipts", "local")
    return ReviewItem(0, PageJob("a.png", 1, "0a", lambda: Path("a.png")), row)


def test_enter_alone_accepts_the_values(answers: ExtractStore) -> None:
    given = item()
    row = Review(ASKED, answers, 0.5).decide(given, [shown(value) for value in given.row.values])
    assert row.values == given.row.values
    assert (row.confidences, row.reviewed, row.is_doubtful(1.0)) == ((1.0,) * 4, True, False)


def test_what_is_typed_is_read_by_the_kind_of_its_field(answers: ExtractStore) -> None:
    row = Review(ASKED, answers, 0.5).decide(item(), ["Shop Ltd", "28-12-17", "RM 1,200.50", "yes"])
    assert row.values == ("Shop Ltd", "2017-12-28", 1200.5, True)
    assert Review(ASKED, answers, 0.5).decide(item(), ["", " ", "", ""]).values == (None,) * 4


def test_what_is_no_value_of_its_field_is_said_and_nothing_kept(answers: ExtractStore) -> None:
    with pytest.raises(UserError, match="total is a number"):
        Review(ASKED, answers, 0.5).decide(item(), ["Shop", "2024-01-31", "nine", ""])
    assert answers.reviewed("0a", 1, ASKED.keys) == {}


def test_a_correction_is_found_for_the_same_field_of_the_same_page_alone(answers: ExtractStore) -> None:
    Review(ASKED, answers, 0.5).decide(item(), ["Shop", "2024-01-31", "3", ""])
    other = asked_fields("total:number, tax:number")
    assert {key: each.value for key, each in answers.reviewed("0a", 1, other.keys).items()} == {
        "total:number": 3.0
    }
    assert answers.reviewed("0a", 2, ASKED.keys) == {}
    assert answers.reviewed("0b", 1, ASKED.keys) == {}
    assert answers.reviewed("0a", 1, asked_question("total:number").keys) == {}


def test_only_doubtful_rows_are_shown() -> None:
    sure = PageRow("b.png", 1, "0b", ("x",), (0.9,), None, "local")
    unsure = PageRow("c.png", 1, "0c", ("x",), (0.1,), None, "local")
    failed = PageRow.failed("d.png", 1, None, 1, "It is empty.")
    jobs = [PageJob(row.file, 1, row.digest, Path) for row in (sure, unsure, failed)]
    assert [each.number for each in items_below(jobs, [sure, unsure, failed], 0.5)] == [1]


def test_reviewed_pages_are_rows_that_training_takes(answers: ExtractStore, tmp_path: Path) -> None:
    asked = asked_fields("company, total:number")
    review, jobs = Review(asked, answers, 0.5), []
    for number in range(9):
        file = tmp_path / f"{number}.png"
        picture(f"#{number}0ff00", "#ffffff").save(file)
        jobs += jobs_of(file)
    document = tmp_path / "two.pdf"
    document.write_bytes(pdf_file(Sheet([(50, 700, "first page")]), Sheet([(50, 700, "second page")])))
    jobs += jobs_of(document)
    for job in jobs[1:]:
        row = PageRow(
            job.file, job.page, job.digest, (None, None), (None, None), None, "local", declined=True
        )
        review.decide(ReviewItem(0, job, row), [f"Shop {job.page}", "2.50"])
    out = tmp_path / "rows.jsonl"
    assert write_training_rows(out, asked, [*jobs, *jobs], answers, lambda _: ["TOTAL 2.50"]) == 10
    rows = read_training_rows(out)
    assert {(row.type, row.question) for row in rows} == {
        ("company", "What is the company?"),
        ("total", "What is the total?"),
    }
    assert [row.answer for row in rows[-2:]] == ["Shop 2", "2.50"]
    assert (tmp_path / "rows_pages").is_dir()


@pytest.mark.parametrize(
    ("field", "value", "printed"),
    [
        (Field("total", "number"), 1200.5, "1,200.50"),
        (Field("date", "date"), "2017-12-28", "28 Dec 2017"),
        (Field("date", "date"), "2016-01-31", "2016-01-31"),
        (Field("count", "integer"), 12, "12"),
        (Field("company"), "Shop", "Shop"),
        (Field("paid", "boolean"), True, "yes"),
        (Field("tax", "number"), None, "Not on the page."),
    ],
)
def test_training_learns_a_value_as_it_is_printed(
    field: Field, value: str | float | None, printed: str
) -> None:
    lines = ["SHOP LTD", "Date: 28 Dec 2017", "12 items", "TOTAL RM 1,200.50"]
    assert as_printed(field, value, lines) == printed


def test_an_empty_value_is_learnt_as_a_decline() -> None:
    assert is_decline(NOT_ON_THE_PAGE)


def test_a_row_of_which_one_field_was_reviewed_is_no_training_row(
    answers: ExtractStore, tmp_path: Path
) -> None:
    picture("#00ff00", "#ffffff").save(tmp_path / "a.png")
    (job,) = jobs_of(tmp_path / "a.png")
    assert job.digest is not None
    answers.review(job.digest, 1, {"total:number": 3.0})
    out, asked = tmp_path / "rows.jsonl", asked_fields("total:number, tax")
    assert write_training_rows(out, asked, [job], answers, lambda _: []) == 0
