"""adapter.toml: what is written is read back, and what is not of the form is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from adapters.prototypes import PROTOTYPES_FILE
from adapters.store.manifest import (
    ALLOWED_FILES,
    READS,
    REQUIRED_FILES,
    Accuracy,
    AdapterManifest,
    Example,
    PromptPolicy,
    ReadsText,
    check_name,
    check_prompt_format,
    combine_policies,
    is_name,
    parse_manifest,
    write_manifest,
)
from adapters.store.record import RECORD_FILE
from models import adapter_weights
from models.core.errors import UserError
from models.language.copying.policy import LARGEST_MARGIN, MOST_CANDIDATES, CopyPolicy
from models.lora import peft_format
from models.ocr import PROMPT_FORMAT

PATH = Path("adapter.toml")
DIGESTS = dict.fromkeys(REQUIRED_FILES, "a" * 64)
TABLES: dict[str, Any] = {
    "name": "plants",
    "version": "1.0",
    "description": "Names plants",
    "base_model": "edge-vlm-135m",
    "base_digest": "b" * 64,
    "files": DIGESTS,
}

lines = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40).filter(str.strip)
texts = st.text(st.characters(exclude_categories=("Cc", "Cs"), include_characters="\n\t"), max_size=60)
shares = st.floats(0, 1)
manifests = st.builds(
    AdapterManifest,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}[a-z]", fullmatch=True).filter(is_name),
    version=st.sampled_from(["0", "1.0", "2.1.3", "1!2.0rc1+local.1"]),
    description=lines,
    base_model=lines,
    base_digest=st.sampled_from(["", "c" * 64]),
    tasks=st.lists(lines, max_size=3).map(tuple),
    examples=st.lists(
        st.builds(
            Example, question=texts.filter(str.strip), answer=texts, task=st.one_of(st.just(""), lines)
        ),
        max_size=3,
    ).map(tuple),
    reads=st.builds(
        PromptPolicy,
        st.sampled_from(["auto", "always", "never"]),
        st.booleans(),
        st.booleans(),
        st.integers(1, 9),
    ),
    training=st.dictionaries(lines, texts, max_size=3),
    accuracy=st.lists(
        st.builds(
            Accuracy,
            set=lines,
            type=lines,
            rows=st.integers(1, 10**6),
            adapter=shares,
            base=shares,
            blind=shares,
            majority=shares,
        ),
        max_size=3,
    ).map(tuple),
    files=st.just(DIGESTS),
    copies=st.none()
    | st.builds(
        CopyPolicy,
        st.lists(lines, max_size=3).map(tuple),
        st.floats(0, LARGEST_MARGIN),
        st.integers(1, MOST_CANDIDATES),
        st.lists(lines, max_size=3).map(tuple),
    ),
)


def parse(**changes: Any) -> AdapterManifest:
    tables = {key: value for key, value in {**TABLES, **changes}.items() if value is not None}
    return parse_manifest(tomli_w.dumps(tables).encode(), PATH)


@given(manifests)
def test_what_is_written_is_read_back(manifest: AdapterManifest) -> None:
    assert parse_manifest(write_manifest(manifest), PATH) == manifest


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        parse_manifest(data, PATH)


@given(
    st.sampled_from(
        ["name", "version", "tasks", "examples", "reads", "copies", "training", "accuracy", "files", "format"]
    ),
    st.recursive(
        st.one_of(st.booleans(), st.integers(-5, 5), st.floats(allow_nan=True), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
def test_a_field_of_any_value_is_taken_or_refused_but_never_a_crash(key: str, value: Any) -> None:
    try:
        manifest = parse(**{key: value})
    except UserError as error:
        assert "adapter.toml" in str(error) or "name" in str(error)
    else:
        assert write_manifest(manifest)


def test_the_smallest_manifest_has_sensible_defaults() -> None:
    manifest = parse(base_digest=None, reads={"prompt_format": PROMPT_FORMAT})
    assert (manifest.reads, manifest.base_digest, manifest.examples) == (PromptPolicy("auto", True), "", ())
    assert manifest.copies is None
    assert parse(copies={}).copies == CopyPolicy()


def test_an_adapter_of_an_earlier_version_names_no_prompt_format_and_keeps_the_first() -> None:
    assert parse().reads == PromptPolicy("auto", True, chart_ranks=True, prompt_format=1)
    assert parse(reads={"ocr": "always", "words": False}).reads == PromptPolicy("always", False, True, 1)


def test_an_adapter_of_a_prompt_format_that_is_not_known_must_be_trained_anew() -> None:
    check_prompt_format(parse())
    check_prompt_format(parse(reads={"prompt_format": PROMPT_FORMAT}))
    with pytest.raises(
        UserError, match=r"plants was trained with prompt format 99.*1 and 2.*train the adapter anew"
    ):
        check_prompt_format(parse(reads={"prompt_format": 99}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": None}, "lacks 'name'"),
        ({"name": "../up"}, "no name for an adapter"),
        ({"name": "auto"}, "means something else"),
        ({"version": "one"}, "write it like 1.2.0"),
        ({"description": "two\nlines"}, "one line"),
        ({"description": "\x1b[31mred"}, "control characters"),
        ({"description": "x" * 301}, "at most 300 characters"),
        ({"base_digest": "xyz"}, "64 small hexadecimal digits"),
        ({"format": 2}, "reads format 1"),
        ({"sparkle": 1}, "unknown field 'sparkle'"),
        ({"reads": {"ocr": "sometimes"}}, "one of auto, always, never"),
        ({"reads": {"smell": True}}, "unknown field 'reads.smell'"),
        ({"reads": {"prompt_format": 0}}, "a whole number from 1 on"),
        ({"reads": {"chart_ranks": "yes"}}, "true or false"),
        ({"copies": True}, "copies is not a table"),
        ({"copies": {"margin": -51}}, "a number from -50 to 50"),
        ({"copies": {"margin": float("nan")}}, "a number from -50 to 50"),
        ({"copies": {"candidates": 9}}, "a whole number from 1 to 8"),
        ({"copies": {"declines": "no"}}, "a list of at most 20"),
        ({"copies": {"declines": [""]}}, "declines"),
        ({"copies": {"beams": 2}}, "unknown field 'copies.beams'"),
        ({"examples": [{"answer": "x"}]}, r"lacks 'examples\[0\].question'"),
        ({"examples": [{"question": "?", "hint": "x"}]}, "examples"),
        ({"accuracy": [{"set": "s", "type": "t", "rows": 0}]}, "a whole number from 1 on"),
        ({"training": {"data": ["list"]}}, "text"),
        ({"files": {}}, "no sha256 of adapter_config.json"),
        ({"files": {**DIGESTS, "evil.bin": "a" * 64}}, "no part of an adapter"),
        ({"files": {**DIGESTS, "../adapter.toml": "a" * 64}}, "no part of an adapter"),
        ({"files": {**DIGESTS, "README.md": "A" * 64}}, "64 small hexadecimal digits"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse(**changes)


def test_a_manifest_that_is_far_too_large_is_not_even_parsed() -> None:
    with pytest.raises(UserError, match="larger than"):
        parse_manifest(b"#" * (ALLOWED_FILES["adapter.toml"] + 1), PATH)


@pytest.mark.parametrize(
    "line",
    [
        "tasks = " + "9" * 5000,
        "tasks = 0x" + "f" * 5000,
        "training.seed = 0x" + "f" * 5000,
        "name" + ".a" * 1_900 + " = 1",
        "name" + ".a" * 50_000 + " = 1",
    ],
    ids=["digits", "hexadecimal", "a fact", "deep", "deeper"],
)
def test_numbers_and_tables_without_measure_are_refused(line: str) -> None:
    tables = {key: value for key, value in TABLES.items() if not line.startswith(key)}
    with pytest.raises(UserError, match=r"adapter\.toml"):
        parse_manifest(f"{line}\n{tomli_w.dumps(tables)}".encode(), PATH)


def test_what_the_app_adds_is_among_the_files_that_an_adapter_may_have() -> None:
    assert PROTOTYPES_FILE in ALLOWED_FILES
    assert RECORD_FILE not in ALLOWED_FILES
    for name in (peft_format.CONFIG_FILE, peft_format.WEIGHTS_FILE, adapter_weights.PROJECTOR_FILE):
        assert name in ALLOWED_FILES
    assert get_args(ReadsText) == READS


def test_numbers_in_training_facts_are_taken_as_text() -> None:
    assert parse(training={"seed": 7, "minutes": 4.5}).training == {"seed": "7", "minutes": "4.5"}


def test_versions_compare_as_pep_440_says() -> None:
    assert parse(version="1.10").is_newer_than(parse(version="1.9"))
    assert parse(version="2.0").is_newer_than(parse(version="2.0rc1"))
    assert not parse(version="1.0").is_newer_than(parse(version="1.0.0"))


@pytest.mark.parametrize(
    "name", ["", ".hidden", "a/b", "a\\b", "a:0.5", "a,b", "con", "NUL.txt", "dot.", "x" * 65, "None"]
)
def test_names_that_are_no_folder_everywhere_or_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UserError):
        check_name(name)


def test_a_sum_reads_what_one_of_its_adapters_wants() -> None:
    def combined(*policies: tuple[ReadsText, bool]) -> PromptPolicy:
        return combine_policies(PromptPolicy(ocr, words) for ocr, words in policies)

    assert combined(("never", False), ("never", False)) == PromptPolicy("never", False)
    assert combined(("never", False), ("auto", True)) == PromptPolicy("auto", True)
    assert combined(("auto", True), ("always", False)) == PromptPolicy("always", True)


def test_a_sum_is_asked_in_the_newest_format_of_those_that_read() -> None:
    first, newest = PromptPolicy("always", prompt_format=1), PromptPolicy("auto", prompt_format=2)
    blind = PromptPolicy("never", chart_ranks=True, prompt_format=3)
    assert combine_policies([first, blind]) == PromptPolicy("always", prompt_format=1)
    assert combine_policies([first, newest]) == PromptPolicy("always", prompt_format=2)
    assert combine_policies([first, PromptPolicy("auto", chart_ranks=True)]).chart_ranks
