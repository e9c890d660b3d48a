"""What may be asked for as the adapter, and what is said of everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.spec import AdapterSpec, checked_spec, parse_spec
from adapters.store.manifest import is_name
from models.core.errors import UserError

INSTALLED = ("medical", "receipts", "Remote_Sensing")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True).filter(is_name)
scales = st.floats(-10, 10, allow_nan=False).map(lambda scale: scale + 0.0)  # -0.0 is 0.0


@given(st.lists(st.tuples(names, scales), min_size=1, max_size=8, unique_by=lambda part: part[0]))
def test_a_specification_reads_back_as_it_was_written(parts: list[tuple[str, float]]) -> None:
    spec = AdapterSpec(tuple(parts))
    assert parse_spec(str(spec)) == spec


@given(st.text(max_size=30))
def test_whatever_is_typed_is_understood_or_refused_in_a_sentence(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UserError as error:
        assert str(error).endswith((".", "?"))
    else:
        assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("receipts", "receipts"),
        ("receipts:1", "receipts"),
        ("receipts:1.0,medical", "receipts,medical"),
        (" receipts:0.50 , medical:-2 ", "receipts:0.5,medical:-2.0"),
        ("receipts:0", "receipts:0.0"),
    ],
)
def test_the_same_specification_always_reads_the_same(text: str, written: str) -> None:
    assert str(parse_spec(text)) == written


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not name an adapter"),
        ("receipts,", "does not name an adapter"),
        ("../receipts", "does not name an adapter"),
        ("receipts:", "the scale ''; a number from -10 to 10"),
        ("receipts:half", "the scale 'half'"),
        ("receipts:nan", "the scale 'nan'"),
        ("receipts:inf", "the scale 'inf'"),
        ("receipts:11", "the scale '11'"),
        ("receipts:0.5:0.5", "the scale '0.5:0.5'"),
        ("receipts,medical,receipts:0.5", "names the adapter receipts twice"),
        ("auto:0.5", "'auto' like an adapter"),
        ("receipts,none", "'none' like an adapter"),
        (",".join("abcdefghi"), "names 9 adapters; at most 8"),
    ],
)
def test_what_is_no_specification_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse_spec(text)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recipts", "There is no adapter named 'recipts'; did you mean receipts?"),
        (
            "medical:0.5,remote-sensing:0.5",
            "There is no adapter named 'remote-sensing'; did you mean Remote_Sensing?",
        ),
        ("zebra", "There is no adapter named 'zebra' (installed: Remote_Sensing, medical, receipts)."),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(text: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        checked_spec(text, INSTALLED)
    assert str(error.value) == sentence


def test_with_nothing_or_very_much_installed_the_sentence_stays_one() -> None:
    with pytest.raises(UserError, match=r"'zebra' \(installed: none\)\.$"):
        checked_spec("zebra", ())
    with pytest.raises(UserError, match=r"`edge-app adapters list` shows the 1000 that are installed\.$"):
        checked_spec("zebra", [f"x{number}" for number in range(1000)])


def test_who_names_a_bundled_adapter_is_told_how_to_install_it() -> None:
    with pytest.raises(UserError, match="`edge-app adapters install receipts`"):
        checked_spec("receipts", ("receipt",))
