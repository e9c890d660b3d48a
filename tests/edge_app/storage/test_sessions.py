"""Sessions on a real SQLite file: nothing is lost by a crash, another process or a deletion."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlite_utils import Database

from edge_app.events import Answer, Timing, TokenCounts
from edge_app.storage import database, migrations, sessions
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.errors import UserError
from tests.edge_app.conftest import new_image, saved_image_names


def answer(text: str = "A cat.", session: str = "", **changes: object) -> Answer:
    fields: dict[str, object] = {
        "text": text,
        "adapter": None,
        "place": "local",
        "mode": "auto",
        "confidence": 0.5,
        "reason": "no adapter is installed",
        "model": "edge-vlm-135m",
        "stop_reason": "stop",
        "tokens": TokenCounts(30, 16, 4, 3),
        "timings": Timing(0.1, 40.0, 60.0, 110.0, 150.0),
        "tokens_per_second": 200.0,
        "session": session,
        "mean_logprob": -0.7,
        "min_logprob": -1.5,
    }
    return Answer(**{**fields, **changes})  # type: ignore[arg-type]


def ask(
    store: SessionStore, question: str, text: str = "A cat.", session: str | None = None, **more: object
) -> str:
    saved = store.begin_turn(session=session, question=question, images=(), system=None)
    store.finish_turn(saved, "complete", answer(text, saved.session, **more))
    return saved.session


@pytest.mark.parametrize("damage", [b"", b"x", bytes(len(new_image().data))])
def test_a_damaged_image_file_is_healed_when_the_image_comes_again(
    store: SessionStore, damage: bytes
) -> None:
    def file() -> Path:
        image = new_image()
        saved = store.begin_turn(session=None, question="?", images=[image], system=None)
        return store.get(saved.session).turns[0].images[0].file

    file().write_bytes(damage)
    assert file().read_bytes() == new_image().data
    before = file().stat().st_mtime_ns
    assert file().stat().st_mtime_ns == before, "a whole file is left as it is"


def test_a_process_that_may_not_be_looked_at_is_alive(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)

    def denied(process: int) -> psutil.Process:
        raise psutil.AccessDenied(process)

    monkeypatch.setattr("edge_app.storage.sessions.psutil.Process", denied)
    elsewhere = SessionStore.open()
    assert elsewhere.get(saved.session).turns[0].status == "answering"
    elsewhere.close()


def test_the_question_is_on_disk_before_the_answer_starts(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="What is this?", images=[new_image()], system="Be brief.")
    elsewhere = SessionStore.open()  # as another process would see it
    session = elsewhere.get(saved.session)
    assert (session.system, session.title) == ("Be brief.", "What is this?")
    (turn,) = session.turns
    assert (turn.question, turn.answer, turn.status, turn.result) == ("What is this?", "", "answering", None)
    assert turn.images[0].name == "photo.png"
    assert turn.images[0].file.read_bytes() == new_image().data
    elsewhere.close()


def test_an_answer_comes_back_with_all_its_facts(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="What is this?", images=(), system=None)
    given = answer("Eine Katze — 猫.", saved.session, adapter="animals")
    store.finish_turn(saved, "complete", given)
    (turn,) = store.get(saved.session).turns
    assert turn.status == "complete"
    assert turn.answer == "Eine Katze — 猫."
    assert turn.result == given


def test_turns_keep_their_order_and_a_new_turn_brings_its_session_to_the_top(store: SessionStore) -> None:
    first = ask(store, "one")
    second = ask(store, "two")
    assert [s.id for s in store.recent()] == [second, first]
    ask(store, "three", session=first)
    assert store.latest() == first
    assert [t.question for t in store.get(first).turns] == ["one", "three"]
    assert [s.turns for s in store.recent()] == [2, 1]


def test_failed_turns_keep_the_sentence(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)
    store.fail_turn(saved, "half an ans", "The disk is full.")
    (turn,) = store.get(saved.session).turns
    assert (turn.status, turn.answer, turn.error) == ("failed", "half an ans", "The disk is full.")


def test_an_image_that_cannot_be_saved_leaves_no_trace_of_the_turn(store: SessionStore) -> None:
    paths.ensure(paths.data_directory())
    paths.images_directory().write_text("in the way")
    with pytest.raises(UserError, match="images"):
        store.begin_turn(session=None, question="?", images=[new_image()], system=None)
    assert store.recent() == ()


def test_text_in_another_encoding_is_saved_with_question_marks(store: SessionStore) -> None:
    image = replace(new_image(), name="caf\udce9.png")
    saved = store.begin_turn(session=None, question="caf\udce9?", images=[image], system="\udce9")
    session = store.get(saved.session)
    assert (session.turns[0].question, session.system) == ("caf??", "?")
    assert session.turns[0].images[0].name == "caf?.png"


def test_no_search_is_a_mistake_in_sql(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="a cat", images=(), system=None)
    for words in ("a\0cat", 'a "cat', "cat*", "udce9 \udce9"):
        store.search(words)
    assert [match.turn for match in store.search("a\0cat")] == [saved.turn]


# -- crashes ----------------------------------------------------------------------------------------------

KILLED_IN_MID_ANSWER = """
import os, signal
from edge_app.storage.sessions import SessionStore
store = SessionStore.open()
saved = store.begin_turn(session=None, question="How many birds?", images=(), system=None)
store.save_partial(saved, "There are th")
print(saved.session, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


KILLED_IN_MID_DELETION = """
import os, signal, sys
from edge_app.storage.image_files import ImageFiles
from edge_app.storage.sessions import SessionStore
remove = ImageFiles.remove_all_but
def remove_and_die(self, digests):
    remove(self, digests)
    os.kill(os.getpid(), signal.SIGKILL)
ImageFiles.remove_all_but = remove_and_die
SessionStore.open().delete(sys.argv[1])
"""


def test_kill_9_in_mid_deletion_never_leaves_a_session_without_its_images(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=[new_image()], system=None)
    child = subprocess.run(
        [sys.executable, "-c", KILLED_IN_MID_DELETION, saved.session],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == -9, child.stderr
    assert saved_image_names() == set()
    assert store.recent() == ()


def test_kill_9_in_mid_answer_keeps_question_and_partial_answer_and_says_so() -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED_IN_MID_ANSWER], capture_output=True, text=True, check=False
    )
    assert child.returncode == -9, child.stderr
    store = SessionStore.open()
    (turn,) = store.get(child.stdout.strip()).turns
    assert (turn.question, turn.answer, turn.status) == ("How many birds?", "There are th", "interrupted")
    assert [m.turn for m in store.search("birds")] == [turn.id]
    store.close()


def test_an_answer_that_another_living_process_is_writing_is_left_alone(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)  # this process lives
    SessionStore.open().close()
    assert store.get(saved.session).turns[0].status == "answering"


def test_a_process_number_that_was_given_to_another_process_counts_as_dead(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)
    with sqlite3.connect(paths.sessions_file()) as db:
        db.execute("UPDATE turns SET process = ?, process_started = process_started - 3600", [os.getppid()])
    db.close()
    SessionStore.open().close()
    assert store.get(saved.session).turns[0].status == "interrupted"


# -- two at once ------------------------------------------------------------------------------------------

WRITER = """
import sys
from edge_app.storage.session_records import NewImage
from edge_app.storage.sessions import SessionStore
from tests.edge_app.conftest import new_image
store = SessionStore.open()
for number in range(15):
    saved = store.begin_turn(session=None, question=f"q{number}", images=[new_image()], system=None)
    store.save_partial(saved, "partial")
    store.fail_turn(saved, "x", "y")
    if number % 3 == 0:
        store.delete(saved.session)
    else:
        (turn,) = store.get(saved.session).turns
        assert turn.images[0].file.read_bytes() == new_image().data
"""


def test_two_processes_write_and_delete_at_once_and_share_an_image() -> None:
    children = [subprocess.Popen([sys.executable, "-c", WRITER], stderr=subprocess.PIPE) for _ in range(2)]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors.decode()
    store = SessionStore.open()
    assert len(store.recent()) == 20
    assert saved_image_names() == {new_image().digest}
    store.close()


def test_threads_share_one_store(store: SessionStore) -> None:
    threads = [threading.Thread(target=ask, args=(store, f"question {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.recent()) == 8


# -- finding and deleting -----------------------------------------------------------------------------------


def test_search_finds_questions_and_answers_and_takes_operators_for_words(store: SessionStore) -> None:
    cat = ask(store, "What animal is this?", "A Siamese café cat.")
    dog = ask(store, "And this?", "A dog OR a wolf.")
    assert [m.session for m in store.search("siamese cafe")] == [cat]
    assert [m.session for m in store.search("animal")] == [cat]
    assert [m.session for m in store.search('OR "a wolf"')] == [dog]
    assert store.search("elephant") == ()
    assert "[wolf]" in store.search("wolf")[0].excerpt
    for hostile in ('"', "NEAR(", "answer:", "*", "a AND", "-"):
        try:
            store.search(hostile)
        except UserError as error:
            assert "search" in str(error)


def test_a_partial_answer_is_searchable_and_its_old_words_are_forgotten(store: SessionStore) -> None:
    saved = store.begin_turn(session=None, question="?", images=(), system=None)
    store.save_partial(saved, "an elephant")
    assert len(store.search("elephant")) == 1
    store.finish_turn(saved, "stopped", answer("a giraffe", saved.session))
    assert (store.search("elephant"), len(store.search("giraffe"))) == ((), 1)


def test_deleting_removes_the_words_and_the_images_nobody_else_has(store: SessionStore) -> None:
    red, blue = new_image("red"), new_image("blue")
    gone = store.begin_turn(session=None, question="a zebra", images=[red, blue], system=None).session
    kept = store.begin_turn(session=None, question="a lion", images=[red], system=None).session
    (paths.images_directory() / "partial-left-by-a-crash").write_bytes(b"")
    store.delete(gone[:8])
    assert saved_image_names() == {red.digest}
    assert store.search("zebra") == ()
    assert [s.id for s in store.recent()] == [kept]


def test_a_turn_for_a_session_that_was_deleted_meanwhile_is_refused(store: SessionStore) -> None:
    session = ask(store, "one")
    store.delete(session)
    with pytest.raises(UserError, match="deleted"):
        store.begin_turn(session=session, question="two", images=(), system=None)


def test_ids_may_be_shortened_as_long_as_they_are_unique(store: SessionStore) -> None:
    first, second = ask(store, "one"), ask(store, "two")
    with sqlite3.connect(paths.sessions_file()) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        for old, new in ((first, "abc111111111"), (second, "abc222222222")):
            db.execute("UPDATE sessions SET id = ? WHERE id = ?", [new, old])
            db.execute("UPDATE turns SET session = ? WHERE session = ?", [new, old])
    db.close()
    assert store.resolve("ABC1") == "abc111111111"
    assert store.get("abc2").turns[0].question == "two"
    with pytest.raises(UserError, match="abc111111111, abc222222222"):
        store.resolve("abc")
    for nothing in ("", "f00", "%", "abc_"):
        with pytest.raises(UserError, match="no session"):
            store.resolve(nothing)


# -- the file ---------------------------------------------------------------------------------------------


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
