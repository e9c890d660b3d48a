"""Sessions survive a process that is killed, and are shared by several."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading

from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from tests.edge_app.conftest import new_image, saved_image_names
from tests.edge_app.storage.test_sessions import ask

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
        _, errors = child.communicate(timeout=240)
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
