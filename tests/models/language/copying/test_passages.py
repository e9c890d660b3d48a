"""A copy is a passage of the page, from the edge of a word to the edge of a word, however it is cut into tokens."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.language.copying.passages import Copy, Passages
from models.language.tokenizer import Tokenizer
from tests.models.language.test_tokenizer import small

PAGE = "Total RM9.00\nLot 6,  Jalan Bätai (12-B)\nInvoiceNo A-17"
JOINED = "Total RM9.00 Lot 6, Jalan Bätai (12-B) InvoiceNo A-17"
DECLINE = "Not on the page."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small(tmp_path_factory.mktemp("tokenizer"))


def copy_of(tokenizer: Tokenizer, text: str = PAGE, declines: tuple[str, ...] = ()) -> Copy:
    return Copy(Passages([text] if text else [], declines), tokenizer, len(tokenizer))


def is_copy(tokenizer: Tokenizer, wanted: str, copy: Copy) -> bool:
    """Whether the tokens of a text may come one after another, and the copy may end then."""
    for token in tokenizer.encode(wanted, special=False):
        if not copy.permits(token):
            return False
        copy.accept(token)
    return copy.may_end


@pytest.mark.parametrize(
    "passage",
    [
        "Total",
        "RM9.00",
        "9.00",
        "Lot 6, Jalan Bätai",
        "RM9.00 Lot 6",
        "RM9.00\nLot 6",
        "12-B",
        "(12-B)",
        "No A-17",
        "A-17",
        "17",
    ],
)
def test_a_passage_from_edge_to_edge_can_be_copied(tokenizer: Tokenizer, passage: str) -> None:
    assert is_copy(tokenizer, passage, copy_of(tokenizer))


@pytest.mark.parametrize(
    "text", ["otal", "Tot", "RM9.00 L", "Lot 7", "Lot  6", "Lot\n6", "Jalan 12-B", "", "Invoice Nox"]
)
def test_any_other_text_cannot(tokenizer: Tokenizer, text: str) -> None:
    assert not is_copy(tokenizer, text, copy_of(tokenizer))


def test_case_does_not_count_and_the_first_token_may_begin_with_a_space(tokenizer: Tokenizer) -> None:
    assert is_copy(tokenizer, "LOT 6, JALAN", copy_of(tokenizer))
    assert is_copy(tokenizer, " total", copy_of(tokenizer))


def test_a_decline_is_copied_as_a_whole(tokenizer: Tokenizer) -> None:
    assert is_copy(tokenizer, DECLINE, copy_of(tokenizer, declines=(DECLINE,)))
    assert not is_copy(tokenizer, "Not on", copy_of(tokenizer, declines=(DECLINE,)))
    assert not is_copy(tokenizer, "page.", copy_of(tokenizer, declines=(DECLINE,)))


def test_no_copy_begins_within_a_text_that_is_excluded(tokenizer: Tokenizer) -> None:
    def without(*excluded: str) -> Copy:
        return Copy(Passages(["A Shop\nA Shop of ours"], (), excluded), tokenizer, len(tokenizer))

    assert not is_copy(tokenizer, "Shop", without("a shop"))
    assert is_copy(tokenizer, "of ours", without("A Shop"))
    assert is_copy(tokenizer, "Shop of", without("A Shop A"))
    assert is_copy(tokenizer, "A Shop", without("", "B"))


def test_a_page_without_text_has_no_passage(tokenizer: Tokenizer) -> None:
    assert copy_of(tokenizer, " \n").tokens() == []
    assert copy_of(tokenizer, "").tokens() == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.text(max_size=60), seed=st.integers(0, 2**32))
def test_whatever_is_drawn_stands_on_the_page(tokenizer: Tokenizer, page: str, seed: int) -> None:
    page = page.encode("utf-8", "replace").decode().replace("\0", " ")
    choice, copy, drawn = random.Random(seed), copy_of(tokenizer, page), list[int]()
    while tokens := copy.tokens():
        assert np.flatnonzero(copy.allowed()).tolist() == sorted(
            {*tokens, *(tokenizer.end_ids if copy.may_end else ())}
        )
        if copy.may_end and choice.random() < 0.1:
            break
        drawn.append(choice.choice(tokens))
        copy.accept(drawn[-1])
    if drawn:
        assert copy.may_end
        joined = " ".join(page.split()).encode().lower()
        said = b"".join(map(tokenizer.token_bytes, drawn)).lower().replace(b"\n", b" ")
        assert said in joined or said.removeprefix(b" ") in joined


def test_a_real_vocabulary_has_every_answer_of_a_page(model_tokenizer: Tokenizer) -> None:
    for passage in ("RM9.00", "LOT 6, JALAN", "InvoiceNo A-17", "Bätai"):
        assert is_copy(model_tokenizer, passage, copy_of(model_tokenizer)), passage


@pytest.fixture(scope="module")
def model_tokenizer(model_files: object) -> Tokenizer:
    from models.formats.gguf.gguf_file import GgufFile

    files: dict[str, Path] = model_files.files  # type: ignore[attr-defined]
    return Tokenizer.from_gguf(GgufFile(files["language_model"]))


CELLS = "GATE \t BOARDING\t\tSEAT\nB14\t17:05\t27 F"


@pytest.mark.parametrize("passage", ["B14", "17:05", "27 F", "GATE", "SEAT\nB14"])
def test_a_passage_of_one_cell_can_be_copied(tokenizer: Tokenizer, passage: str) -> None:
    assert is_copy(tokenizer, passage, copy_of(tokenizer, CELLS))


@pytest.mark.parametrize("passage", ["B14 17:05", "17:05 27", "GATE BOARDING", "B14\t17:05", "BOARDING SEAT"])
def test_no_copy_goes_from_one_cell_into_the_next(tokenizer: Tokenizer, passage: str) -> None:
    assert not is_copy(tokenizer, passage, copy_of(tokenizer, CELLS))


def test_a_text_that_is_left_out_may_go_over_several_cells(tokenizer: Tokenizer) -> None:
    passages = Passages([CELLS], excluded=["B14 17:05"])
    assert not is_copy(tokenizer, "17:05", Copy(passages, tokenizer, len(tokenizer)))
    assert is_copy(tokenizer, "27 F", Copy(passages, tokenizer, len(tokenizer)))


HOURS = "Mon 9 am \x1f- 5 pm\nLot 4 \x1f- \x1f– 7"


@pytest.mark.parametrize(
    "passage", ["9 am - 5 pm", "9 am 5 pm", "9 am", "5 pm", "Lot 4 7", "Lot 4 - – 7", "pm\nLot 4 7"]
)
def test_a_copy_has_a_hidden_word_or_leaves_it_out(tokenizer: Tokenizer, passage: str) -> None:
    assert is_copy(tokenizer, passage, copy_of(tokenizer, HOURS))


@pytest.mark.parametrize("passage", ["9 5 pm", "am pm", "4 – 7", "\x1f"])
def test_no_other_word_is_left_out(tokenizer: Tokenizer, passage: str) -> None:
    assert not is_copy(tokenizer, passage, copy_of(tokenizer, HOURS))


GLUED = "Date 16/02/201812:04:58 No 4017 of 16/02/1812:04"


@pytest.mark.parametrize("passage", ["16/02/2018", "16/02/18", "4017"])
def test_a_date_ends_where_a_time_is_glued_to_it(tokenizer: Tokenizer, passage: str) -> None:
    assert is_copy(tokenizer, passage, copy_of(tokenizer, GLUED))


@pytest.mark.parametrize("passage", ["4", "401", "16/02/201", "16/02/1", "16/0"])
def test_no_number_is_cut(tokenizer: Tokenizer, passage: str) -> None:
    assert not is_copy(tokenizer, passage, copy_of(tokenizer, GLUED))
