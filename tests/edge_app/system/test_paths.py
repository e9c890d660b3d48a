"""Where things live."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.system import paths
from models.core.errors import UserError


def test_one_variable_puts_everything_under_one_folder(home: Path) -> None:
    assert paths.config_file() == home / "config" / "settings.toml"
    assert paths.sessions_file() == home / "data" / "sessions.db"
    assert all(place.is_relative_to(home) for place in paths.locations().values())


def test_without_it_the_system_s_own_places_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGE_APP_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    places = (paths.config_directory(), paths.data_directory(), paths.cache_directory())
    assert len(set(places)) == 3
    assert all("edge-app" in str(place) for place in places)


def test_looking_creates_nothing(home: Path) -> None:
    paths.locations()
    assert not home.exists()


def test_what_has_to_be_made_is_private_and_what_was_there_is_left_alone(home: Path) -> None:
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    assert paths.ensure(home / "data" / "images").is_dir()
    assert (home / "data").stat().st_mode & 0o777 == 0o700
    assert home.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_in_the_way_is_one_sentence(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        paths.ensure(tmp_path / "file" / inside if inside else tmp_path / "file")


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_APP_HOME")
    for broken in (lambda *_, **__: "~/.config/edge-app", raising):
        monkeypatch.setattr(paths.platformdirs, "user_config_dir", broken)
        with pytest.raises(UserError, match=r"no home folder.*EDGE_APP_HOME"):
            paths.config_directory()


def raising(*_: object, **__: object) -> str:
    raise RuntimeError("could not determine the home directory")
