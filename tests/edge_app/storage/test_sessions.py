"""Sessions on a real SQLite file: nothing is lost by a crash, another process or a deletion."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edge_app.answer import Answer, Timing, TokenCounts
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


def test_the_index_of_words_is_written_only_when_the_text_changes(store: SessionStore) -> None:
    def index() -> list[tuple[int, bytes]]:
        with closing(sqlite3.connect(paths.sessions_file())) as db:
            return db.execute("SELECT id, block FROM turns_fts_data ORDER BY id").fetchall()

    saved = store.begin_turn(session=None, question="?", images=(), system=None)
    store.save_partial(saved, "an elephant")
    before = index()
    store.save_partial(saved, "an elephant")
    store.save_broken(saved, "a giraffe")
    store.fail_turn(saved, "an elephant", "The disk is full.")
    assert index() == before
    store.finish_turn(saved, "complete", answer("an elephant", saved.session))
    assert index() == before
    store.fail_turn(saved, "a zebra", "The disk is full.")
    assert (store.search("elephant"), len(store.search("zebra"))) == ((), 1)


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
