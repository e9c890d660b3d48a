"""Settings: the command line over the environment over the file; mistakes are named with their place."""

from __future__ import annotations

import ast
import string
from inspect import getsource
from itertools import pairwise
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from edge_app import settings
from edge_app.settings import Settings
from models.core.errors import UserError
from models.language.sampling import check
from router.place_policy import DEFAULT_WEIGHTS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_without_anything_the_defaults_hold(file: Path) -> None:
    loaded = settings.load(file)
    assert (loaded.model, loaded.adapter, loaded.mode, loaded.offline) == (
        "edge-vlm-135m",
        "auto",
        "auto",
        False,
    )
    assert loaded.sampling().temperature == 0.0


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('mode = "eco"\nmax_tokens = 10\nthreads = 1\nadapter = "a"')
    monkeypatch.setenv("EDGE_APP_MODE", "fast")
    monkeypatch.setenv("EDGE_APP_MAX_TOKENS", "20")
    monkeypatch.setenv("EDGE_APP_OFFLINE", "1")
    loaded = settings.load(file, mode="quality", max_tokens=None)
    assert (loaded.mode, loaded.max_tokens, loaded.threads) == ("quality", 20, 1)
    assert (loaded.adapter, loaded.offline) == ("a", True)


def test_an_empty_variable_is_no_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_THREADS", "")
    assert settings.load(file).threads is None


def test_variables_that_are_no_settings_are_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_KERNELS", "generic")
    settings.load(file)


def test_a_table_in_a_variable_that_is_no_json_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_KEYS", "f2")
    with pytest.raises(UserError, match="keys"):
        settings.load(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", 5.0), ("top_k", 1_000_000), ("top_p", 1e-6), ("min_p", 1.0)),
        *(("repetition_penalty", 0.1), ("repetition_penalty", 10.0), ("max_tokens", 1_000_000)),
    ],
)
def test_sampling_takes_what_settings_take_and_no_more(file: Path, name: str, value: float) -> None:
    check(settings.load(file, **{name: value}).sampling())
    beyond = value / 2 if value < 1 else value * 2
    with pytest.raises(UserError, match=name.replace("_", "-")):
        settings.load(file, **{name: beyond})


def test_unknown_keys_are_named_with_the_file(file: Path) -> None:
    file.write_text('modle = "x"')
    with pytest.raises(UserError, match=rf"'modle' in {file}.*\bmodel\b"):
        settings.load(file)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("max_tokens = 0", "'max_tokens' in"),
        ('mode = "turbo"', "'mode' in"),
        ("temperature = nan", "'temperature' in"),
        ("keys = 3", "'keys' in"),
        ("mode = ", "not valid TOML"),
        ("\xff\xfe", "not valid TOML"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_the_place(file: Path, content: str, place: str) -> None:
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        settings.load(file)
    assert place in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_variable_and_a_bad_option_are_named_as_such(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_THREADS", "many")
    with pytest.raises(UserError, match="environment variable EDGE_APP_THREADS"):
        settings.load(file)
    with pytest.raises(UserError, match="--threads"):
        settings.load(file, threads=0)


def test_a_folder_in_the_file_s_place_is_named(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UserError, match=r"settings\.toml"):
        settings.load(file)


def test_every_field_says_what_it_is() -> None:
    (body,) = [n.body for n in ast.parse(getsource(Settings)).body if isinstance(n, ast.ClassDef)]
    told = {
        field.target.id
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert told == set(Settings.model_fields)


NAMES = st.sampled_from(sorted(Settings.model_fields)) | st.text(
    string.ascii_lowercase, min_size=1, max_size=8
)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(string.printable),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_toml_loads_or_is_refused_with_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text(tomli_w.dumps(content), encoding="utf-8")
    try:
        loaded = settings.load(file)
    except UserError as error:
        assert str(file) in str(error)
        assert len(str(error)) < 1000
    else:
        assert set(content) <= set(Settings.model_fields)
        assert loaded.max_tokens == content.get("max_tokens", 512)


@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_bytes(content)
    try:
        settings.load(file)
    except UserError as error:
        assert str(file) in str(error)


def test_the_worth_of_things_can_be_changed_one_by_one(file: Path) -> None:
    file.write_text("[worth.auto]\nsecond = 0.5\n")
    weights = settings.load(file).weights()
    assert (weights["auto"].second, weights["auto"].joule) == (0.5, DEFAULT_WEIGHTS["auto"].joule)
    assert {**weights, "auto": DEFAULT_WEIGHTS["auto"]} == DEFAULT_WEIGHTS


@pytest.mark.parametrize(
    "text", ["worth = 3", "[worth]\nauto = 3", "[worth.slow]\nsecond = 1", "[worth.eco]\nsecond = -1"]
)
def test_a_worth_that_does_not_fit_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match="worth"):
        settings.load(file)
