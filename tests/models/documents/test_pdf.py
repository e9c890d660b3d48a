"""PDF pages: drawn upright at a bounded size, text layers with their places, and the message of every refusal."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core.errors import UserError
from models.core.images import MAX_SIDE
from models.documents import pdf
from tests.models.documents.made_pdf import A4, Sheet, pdf_file

LETTER = Sheet(
    [(60, 780, "Harbour Supplies"), (60, 740, "Invoice 2041"), (60, 700, "Total"), (480, 700, "37.50")]
)


def refusal(data: bytes, number: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        pdf.page_count(data, "bill.pdf")
        pdf.draw(data, number, "bill.pdf")
    message = str(caught.value)
    assert message.startswith("bill.pdf ")
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_page_is_drawn_on_white_with_its_longest_side_within_the_limit() -> None:
    pixels = pdf.draw(pdf_file(LETTER), 1, "bill.pdf")
    assert pixels.shape == (MAX_SIDE, round(MAX_SIDE * A4[0] / A4[1]), 3)
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    ink = np.argwhere(pixels[..., 0] < 128) / pixels.shape[:2]
    assert 0.05 < ink[:, 0].min() < 0.08
    assert ink[:, 1].min() == pytest.approx(60 / A4[0], abs=0.01)


def test_a_small_page_is_drawn_with_300_pixels_to_the_inch() -> None:
    assert pdf.draw(pdf_file(Sheet(size=(144, 72))), 1, "label.pdf").shape == (300, 600, 3)


def test_red_is_red() -> None:
    pixels = pdf.draw(pdf_file(Sheet(content="1 0 0 rg 0 0 595 842 re f")), 1, "red.pdf")
    assert tuple(pixels[500, 500]) == (255, 0, 0)


def test_the_text_layer_has_the_lines_in_their_places() -> None:
    lines = pdf.text_layer(pdf_file(LETTER), 1, "bill.pdf")
    assert lines is not None
    assert [line.text for line in lines] == ["Harbour Supplies", "Invoice 2041", "Total", "37.50"]
    left, top, right, bottom = lines[3].box
    assert left == pytest.approx(480 / A4[0], abs=0.01)
    assert bottom == pytest.approx(1 - 700 / A4[1], abs=0.01)
    assert 0 < right - left < 0.08
    assert 0 < bottom - top < 0.02


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_the_boxes_of_a_turned_page_are_where_the_ink_is(rotate: int) -> None:
    data = pdf_file(Sheet([(60, 780, "Harbour")], rotate=rotate))
    lines = pdf.text_layer(data, 1, "turned.pdf")
    assert lines is not None
    pixels = pdf.draw(data, 1, "turned.pdf")
    ink = np.argwhere(pixels[..., 0] < 128) / pixels.shape[:2]
    left, top, right, bottom = lines[0].box
    assert (left, top) == pytest.approx((ink[:, 1].min(), ink[:, 0].min()), abs=0.01)
    assert (right, bottom) == pytest.approx((ink[:, 1].max(), ink[:, 0].max()), abs=0.01)


def test_letters_one_by_one_are_joined_and_columns_are_kept_apart() -> None:
    letters = [(60 + x, 780, letter) for x, letter in zip((0, 7.3, 14, 17.4, 24.1), "Total", strict=True)]
    lines = pdf.text_layer(pdf_file(Sheet([*letters, (300, 780, "11.74")])), 1, "bill.pdf")
    assert lines is not None
    assert [line.text for line in lines] == ["Total", "11.74"]


def test_filled_in_fields_are_drawn_and_read() -> None:
    data = pdf_file(Sheet([(60, 605, "Name")], field="Ada Lovelace"))
    lines = pdf.text_layer(data, 1, "form.pdf")
    assert lines is not None
    assert "Ada Lovelace" in [line.text for line in lines]
    pixels = pdf.draw(data, 1, "form.pdf")
    height, width = pixels.shape[:2]
    field = pixels[
        int(height * (1 - 620 / 842)) : int(height * (1 - 600 / 842)), int(width * 0.17) : width // 2
    ]
    assert (field < 128).any()


def test_a_page_without_text_has_no_layer() -> None:
    assert pdf.text_layer(pdf_file(Sheet()), 1, "blank.pdf") is None


def test_a_scan_with_a_stamp_has_no_layer_and_one_with_its_text_has() -> None:
    scan = Sheet([(60, 20, "Scanned by a phone")], picture=(4, 4), pixels=b"\xdd" * 48)
    assert pdf.text_layer(pdf_file(scan), 1, "scan.pdf") is None
    read = [(60, 800 - 20 * i, "A line of words that were read") for i in range(8)]
    lines = pdf.text_layer(pdf_file(Sheet(read, picture=(4, 4), pixels=b"\xdd" * 48)), 1, "scan.pdf")
    assert lines is not None
    assert len(lines) == 8


def test_a_locked_file_and_a_damaged_one_are_named_as_what_they_are() -> None:
    assert "password" in refusal(pdf_file(LETTER, locked=True))
    assert "damaged or cut off" in refusal(b"%PDF-1.7\nnothing that makes sense")
    assert "damaged or cut off" in refusal(pdf_file())


def test_too_many_pages_are_refused_and_a_false_claim_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pdf, "MAX_PAGES", 2)
    assert "3 pages, more than the limit of 2" in refusal(pdf_file(LETTER, LETTER, LETTER))
    assert pdf.page_count(pdf_file(LETTER, claimed_pages=2_000_000), "bill.pdf") == 1


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    assert "60000 x 60000" in refusal(pdf_file(Sheet(picture=(60_000, 60_000), pixels=b"\0")))


def test_a_page_of_any_size_has_bounded_pixels() -> None:
    for size in ((14_400, 14_400), (200_000, 3), (3, 200_000), (1, 1)):
        pixels = pdf.draw(pdf_file(Sheet(size=size)), 1, "poster.pdf")
        assert max(pixels.shape[:2]) <= MAX_SIDE


def test_a_page_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "DRAWING_SECONDS", -1.0)
    many = "".join(f"0 0 m {i} 800 l 5 5 l f\n" for i in range(20_000))
    assert "too complex" in refusal(pdf_file(Sheet(content=many)))


def test_a_very_long_text_is_cut() -> None:
    content = "BT /F1 1 Tf 10 10 Td " + "(word word word word word word) Tj 0 1 Td " * 4000 + " ET"
    lines = pdf.text_layer(pdf_file(Sheet(content=content)), 1, "long.pdf")
    assert lines is not None
    assert sum(len(line.text) for line in lines) <= 60_000


def test_threads_can_draw_at_the_same_time() -> None:
    data, drawn = pdf_file(LETTER, LETTER, LETTER, LETTER), []
    threads = [
        threading.Thread(target=lambda n=n: drawn.append(pdf.draw(data, n, "bill.pdf").mean()))  # type: ignore[misc]
        for n in (1, 2, 3, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 4
    assert len(set(drawn)) == 1


_WHOLE = pdf_file(LETTER, Sheet(picture=(2, 2), pixels=b"\x80" * 12, field="x"), Sheet(rotate=90))


@settings(max_examples=150)
@given(
    cut=st.integers(0, len(_WHOLE)),
    changes=st.lists(st.tuples(st.integers(0, len(_WHOLE) - 1), st.integers(0, 255)), max_size=8),
)
def test_any_damage_gives_pages_or_one_sentence(cut: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(_WHOLE)
    for place, value in changes:
        data[place] = value
    damaged = bytes(data[:cut])
    try:
        for number in range(1, min(pdf.page_count(damaged, "bill.pdf"), 4) + 1):
            pdf.draw(damaged, number, "bill.pdf", longest=64)
            pdf.text_layer(damaged, number, "bill.pdf")
    except UserError as error:
        assert str(error).startswith("bill.pdf ")


def test_the_maker_of_these_files_writes_streams_that_unpack() -> None:
    data = pdf_file(LETTER)
    start = data.index(b"stream\n") + len(b"stream\n")
    assert b"Harbour" in zlib.decompressobj().decompress(data[start:])


def test_a_filter_whose_name_is_no_text_is_a_damaged_page() -> None:
    data = pdf_file(Sheet(picture=(2, 2), pixels=bytes(12))).replace(
        b"/Filter/FlateDecode", b"/Filter/Fla\xdeDecode", 1
    )
    with pytest.raises(UserError, match="damaged"):
        pdf.draw(data, 1, "file.pdf")
