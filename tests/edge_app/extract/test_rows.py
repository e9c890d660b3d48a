"""The columns of the table, and which rows are doubtful."""

from __future__ import annotations

import pytest

from edge_app.extract.rows import ColumnNameError, PageRow, check_names, columns


def test_the_columns_come_in_their_order() -> None:
    expected = "file page company total company_confidence total_confidence adapter place declined error"
    assert columns(["company", "total"]) == tuple(expected.split())
    row = PageRow("a.png", 2, "0f", ("Shop", None), (0.98765, None), "receipts", "local")
    assert tuple(row.record(["company", "total"])) == columns(["company", "total"])
    assert list(row.record(["company", "total"]).values()) == [
        *("a.png", 2, "Shop", None, 0.9877, None, "receipts", "local", False, None)
    ]


@pytest.mark.parametrize(
    "name", ["file", "Page", "adapter", "place", "declined", "error", "total_confidence"]
)
def test_a_field_cannot_have_the_name_of_another_column(name: str) -> None:
    with pytest.raises(ColumnNameError, match=name):
        check_names(["total", name])


def test_a_name_that_is_like_a_column_is_allowed() -> None:
    check_names(["files", "confidence", "tax_confidence", "sha256"])
    with pytest.raises(ColumnNameError, match="sha256"):
        check_names(["sha256"], ["sha256"])


def test_a_row_is_doubtful_when_a_value_is_unsure_or_it_declined() -> None:
    def row(*sure: float | None, declined: bool = False) -> PageRow:
        return PageRow("a.png", 1, "0f", ("x",) * len(sure), sure, place="local", declined=declined)

    assert row(0.9, 0.4).is_doubtful(0.5)
    assert not row(0.9, 0.5, None).is_doubtful(0.5)
    assert row(None, declined=True).is_doubtful(0.0)
    assert not PageRow.failed("a.png", 1, None, 2, "It is damaged.").is_doubtful(1.0)
