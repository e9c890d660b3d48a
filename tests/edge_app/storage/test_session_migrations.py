"""The file of the sessions: versions, migrations, forks, and places where nothing may be written."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlite_utils import Database

from edge_app.cloud.protocol.dialect import Dialect, DialectStore
from edge_app.storage import database, migrations, sessions
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import UserError
from tests.edge_app.conftest import new_image
from tests.edge_app.storage.test_sessions import answer, ask


@pytest.mark.usefixtures("store")
def test_a_database_of_a_newer_version_is_refused() -> None:
    with sqlite3.connect(paths.sessions_file()) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UserError, match=r"newer edge-app \(its format is 99"):
        SessionStore.open()


def test_a_migration_that_fails_leaves_the_version_before_it(store: SessionStore) -> None:
    ask(store, "kept")

    def broken(_: object) -> None:
        store._db.execute("ALTER TABLE turns ADD COLUMN stars INTEGER")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError):
        migrations.migrate(store._db, paths.sessions_file(), (*migrations.MIGRATIONS, broken))
    columns = {row["name"] for row in store._db.query("PRAGMA table_info(turns)")}
    assert "stars" not in columns
    assert store.recent()[0].title == "kept"


def test_a_migration_keeps_what_was_there_and_runs_once(store: SessionStore) -> None:
    session = ask(store, "kept")
    runs: list[int] = []

    def add_stars(_: object) -> None:
        runs.append(1)
        store._db.execute("ALTER TABLE turns ADD COLUMN stars INTEGER")

    for _ in range(2):
        migrations.migrate(store._db, paths.sessions_file(), (*migrations.MIGRATIONS, add_stars))
    assert runs == [1]
    assert store.get(session).turns[0].question == "kept"


def test_turns_of_a_database_before_places_keep_theirs_and_lose_what_was_no_confidence() -> None:
    """As edge-app 0.1 wrote it: format 2, everything about an answer in the JSON."""
    paths.ensure(paths.data_directory())
    old = Database(sqlite3.connect(paths.sessions_file(), isolation_level=None), execute_plugins=False)
    migrations.migrate(old, paths.sessions_file(), migrations.MIGRATIONS[:2])
    details = {**answer().details(), "confidence": 0.5}
    for name in ("kept", "broken", "offer"):
        del details[name]
    old.execute(
        "INSERT INTO sessions (id, title, created, updated) VALUES ('abc', 'Birds', '2026-01-01', '2026-01-01')"
    )
    for status, known in (("complete", json.dumps(details)), ("failed", None)):
        old.execute(
            "INSERT INTO turns (session, question, answer, status, details, created, process, process_started)"
            " VALUES ('abc', 'How many birds?', 'Three.', ?, ?, '2026-01-01', 1, 1.0)",
            [status, known],
        )
    old.close()
    store = SessionStore.open()
    answered, failed = store.get("abc").turns
    assert answered.result == answer("Three.", "abc", confidence=None)
    assert (failed.status, failed.result, failed.kept, failed.broken) == ("failed", None, None, None)
    assert [match.turn for match in store.search("three")] == [answered.id, failed.id]
    store.close()


def test_declines_of_a_database_before_them_are_told_from_answers() -> None:
    paths.ensure(paths.data_directory())
    old = Database(sqlite3.connect(paths.sessions_file(), isolation_level=None), execute_plugins=False)
    migrations.migrate(old, paths.sessions_file(), migrations.MIGRATIONS[:4])
    details = {**answer().details(), "confidence": 0.9}
    for name in ("kept", "broken", "place", "reason", "declined", "calibrated"):
        del details[name]
    old.execute(
        "INSERT INTO sessions (id, title, created, updated) VALUES ('abc', 'Birds', '2026-01-01', '2026-01-01')"
    )
    for text in ("Three.", "I cannot count well."):
        old.execute(
            "INSERT INTO turns (session, question, answer, status, details, place, reason, created, process,"
            " process_started) VALUES ('abc', 'How many?', ?, 'complete', ?, 'local', 'local', '2026-01-01', 1, 1.0)",
            [text, json.dumps(details)],
        )
    old.close()
    store = SessionStore.open()
    results = [turn.result for turn in store.get("abc").turns]
    store.close()
    assert [(each.declined, each.confidence, each.calibrated) for each in results if each] == [
        (False, 0.9, False),
        (True, None, False),
    ]


def test_a_cloud_answer_takes_the_place_of_the_local_one_and_keeps_it(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)
    store.finish_turn(saved, "complete", answer("A cat.", saved.session))
    store.save_broken(saved, "It is a ta")
    (under_way,) = store.get(saved.session).turns
    assert (under_way.answer, under_way.status, under_way.broken) == ("A cat.", "complete", "It is a ta")
    whole = answer("It is a tabby.", saved.session, place="cloud", reason="cloud: as asked", kept="A cat.")
    store.finish_turn(saved, "complete", whole)
    (turn,) = store.get(saved.session).turns
    assert (turn.result, turn.kept, turn.broken) == (whole, "A cat.", None)


def test_a_file_that_is_no_database_is_named() -> None:
    paths.ensure(paths.data_directory())
    paths.sessions_file().write_text("not a database at all, " * 100)
    with pytest.raises(UserError, match=r"sessions\.db"):
        SessionStore.open()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs file modes")
def test_directories_are_private(store: SessionStore, home: Path) -> None:
    store.begin_turn(session=None, question="?", images=[new_image()], system=None)
    for directory in (home, home / "data", home / "data" / "images"):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_fork_has_the_turns_and_images_up_to_a_turn_and_leaves_the_original(store: SessionStore) -> None:
    first = store.begin_turn(session=None, question="What is this?", images=[new_image()], system="Be brief.")
    store.finish_turn(first, "complete", answer(session=first.session))
    ask(store, "And its colour?", "Grey.", first.session)
    store.set_options(first.session, {"temperature": 0.5})

    copy = store.get(store.fork(first.session, first.turn))

    assert [turn.question for turn in copy.turns] == ["What is this?"]
    assert copy.turns[0].answer == "A cat." and copy.turns[0].result is not None
    assert copy.turns[0].result.session == copy.id
    assert [image.digest for image in copy.turns[0].images] == [new_image().digest]
    assert (copy.system, copy.options) == ("Be brief.", {"temperature": 0.5})
    assert len(store.get(first.session).turns) == 2
    store.delete(first.session)
    assert copy.turns[0].images[0].file.is_file()


def test_a_fork_of_all_turns_leaves_out_one_that_is_being_answered(store: SessionStore) -> None:
    session = ask(store, "One?")
    store.begin_turn(session=session, question="Two?", images=(), system=None)

    assert [turn.question for turn in store.get(store.fork(session)).turns] == ["One?"]
    assert store.get(store.fork(session, 0)).turns == ()


def test_a_session_is_renamed_and_found_by_its_words_still(store: SessionStore) -> None:
    session = ask(store, "What is this?")

    store.rename(session, "  The cat\nof the neighbours ")

    assert store.recent(1)[0].title == "The cat"
    assert store.search("cat")[0].title == "The cat"
    with pytest.raises(UserError, match="title"):
        store.rename(session, " \n ")
    assert store.recent(1)[0].title == "The cat"


def test_options_of_a_session_are_replaced_and_removed(store: SessionStore) -> None:
    session = ask(store, "What is this?")
    assert store.get(session).options == {}

    store.set_options(session, {"seed": 3, "temperature": 0.5})
    assert store.get(session).options == {"seed": 3, "temperature": 0.5}
    store.set_options(session, {})
    assert store.get(session).options == {}


def test_sessions_are_read_where_nothing_may_be_written(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = store.begin_turn(session=None, question="Where is the harbour?", images=[], system=None)
    store.close()
    file = paths.sessions_file()
    before = file.read_bytes()
    monkeypatch.setattr(sessions, "may_write", lambda _: False)
    reading = SessionStore.open_to_read()
    assert [session.id for session in reading.recent(None)] == [saved.session]
    assert reading.get(saved.session).turns[0].question == "Where is the harbour?"
    assert [match.session for match in reading.search("harbour", 5)] == [saved.session]
    with pytest.raises(UserError, match="readonly"):
        reading.delete(saved.session)
    reading.close()
    assert file.read_bytes() == before


def failure(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("name", "free", "words"),
    [
        ("SQLITE_IOERR_SHMSIZE", 0, "the disk is full; make room there"),
        ("SQLITE_IOERR_READ", 1 << 30, "disk I/O error"),
        ("SQLITE_FULL", 1 << 30, "the disk is full; make room there"),
        ("SQLITE_NOTADB", 0, "disk I/O error"),
    ],
)
def test_a_full_disk_is_named_as_one(
    name: str, free: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert database.said(failure(name), tmp_path / "sessions.db") == words


def test_sessions_are_read_from_a_full_disk(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = store.begin_turn(session=None, question="Where is the harbour?", images=[], system=None)
    store.close()

    def full(*_: object) -> None:
        raise UserError("Cannot use the sessions: the disk is full.")

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    monkeypatch.setattr(SessionStore, "_mark_interrupted", full)
    with closing(SessionStore.open_to_read()) as reading:
        assert [found.id for found in reading.recent()] == [saved.session]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    with pytest.raises(UserError, match="Cannot use"):
        SessionStore.open_to_read()


def test_looking_for_sessions_where_there_are_none_makes_nothing(home: Path) -> None:
    with closing(SessionStore.open_to_read()) as reading:
        assert not reading.recent(None)
    assert not home.exists()


def test_sessions_of_an_older_version_are_read_where_nothing_may_be_written(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = store.begin_turn(session=None, question="Where is the harbour?", images=[], system=None)
    store.close()
    file = paths.sessions_file()
    with closing(sqlite3.connect(file)) as older:
        older.execute(f"PRAGMA user_version = {len(migrations.MIGRATIONS) - 1}")
        older.commit()
    before = file.read_bytes()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS[:-1], lambda _: None))
    monkeypatch.setattr(sessions, "may_write", lambda _: False)
    monkeypatch.setattr(database, "migrate", lambda db, at: migrations.migrate(db, at, migrations.MIGRATIONS))
    with closing(SessionStore.open_to_read()) as reading:
        assert reading.get(saved.session).turns[0].question == "Where is the harbour?"
    assert file.read_bytes() == before


def test_fields_that_an_endpoint_refused_stay_known() -> None:
    paths.ensure(paths.data_directory())
    old = Database(sqlite3.connect(paths.sessions_file(), isolation_level=None), execute_plugins=False)
    migrations.migrate(old, paths.sessions_file(), migrations.MIGRATIONS[:11])
    old.execute("INSERT INTO cloud_dialects VALUES ('a.example', 'max_tokens', 0, '2026-01-01', 1)")
    old.close()
    store = DialectStore.open()
    assert store.known("a.example") == Dialect("max_tokens", frozenset({"stream_options"}))
    store.close()
