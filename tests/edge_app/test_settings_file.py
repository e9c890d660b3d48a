"""A value changes in settings.toml; everything else stays as the user wrote it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.settings_file import change_settings_file as change
from models.core.errors import UserError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'cloud_url = "new"\n'),
        ("# mine\n[keys]\na = 'b'\n", "cloud_url = \"new\"\n# mine\n[keys]\na = 'b'\n"),
        (
            "theme = 'x' # y\ncloud_url = 'old' # z\nseed = 1",
            "theme = 'x' # y\ncloud_url = \"new\"\nseed = 1",
        ),
        ("cloud_url='old'", 'cloud_url = "new"\n'),
    ],
)
def test_a_value_is_set(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(before)
    change(file, {"cloud_url": "new"})
    assert file.read_text() == after
    change(file, {"cloud_url": None})
    assert "cloud_url" not in file.read_text()


@pytest.mark.parametrize(
    "text", ['cloud_url = """\nold"""\n', "[t]\ncloud_url = 'x'\n", "'cloud_url' = 'x'\n", "= ="]
)
def test_what_cannot_be_changed_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    with pytest.raises(UserError):
        change(file, {"cloud_url": "new"})
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


@given(
    st.dictionaries(st.sampled_from(["cloud_url", "cloud_model", "theme"]), st.text(), max_size=3),
    st.text(),
)
def test_any_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, str], value: str
) -> None:
    import tomli_w

    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    try:
        text = tomli_w.dumps(before)
        text.encode()
        value.encode()
    except UnicodeEncodeError:
        return
    file.write_text(text, encoding="utf-8")
    try:
        change(file, {"cloud_url": value})
    except UserError:
        assert tomllib.loads(file.read_text(encoding="utf-8")) == before
        return
    assert tomllib.loads(file.read_text(encoding="utf-8")) == {**before, "cloud_url": value}
