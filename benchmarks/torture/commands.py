"""The commands that are killed, and what must be true after each: what was shown is found again."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import threading
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

QUESTIONS = ("What is this?", "What colour is the shape?", "What is the total?", "Read the text")
PAGES = 6
"""Of the folder that is extracted."""


@dataclass(frozen=True)
class KilledRun:
    """One killed command. shown: its standard output, or for a chat all that it wrote. ended: before the kill."""

    shown: str
    ended: bool


@dataclass(frozen=True)
class KilledCommand:
    """A command to kill.

    arguments: for `edge-app`, with a random choice. check: the faults after a kill, as sentences. keys: typed into the
    terminal of a command that needs one. while_running: called in a thread with the first line of its output on stderr.
    """

    name: str
    arguments: Callable[[random.Random], Sequence[str]]
    check: Callable[[Path, KilledRun], list[str]]
    keys: Sequence[str] = ()
    while_running: Callable[[str], None] | None = None


def draw_pages(folder: Path) -> None:
    """Receipts and a drawn shape, as images."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(PAGES):
        page = PIL.Image.new("RGB", (480, 640), "white")
        draw = PIL.ImageDraw.Draw(page)
        rows = ("CORNER SHOP", f"2026-11-{number + 1:02d}", "BREAD 2.50", f"TOTAL {10 + number}.50")
        for row, text in enumerate(rows):
            draw.text((60, 80 + 60 * row), text, fill="black", font_size=32)
        page.save(folder / f"receipt{number}.png")
    shape = PIL.Image.new("RGB", (64, 64), "white")
    PIL.ImageDraw.Draw(shape).ellipse((16, 16, 48, 48), fill="red")
    shape.save(folder / "shape.png")


def commands(home: Path, pages: Path, adapter: Path, model: Path) -> tuple[KilledCommand, ...]:
    """All of them. home: EDGE_APP_HOME. adapter: an archive to install. model: a GGUF file to copy."""

    def image(random_: random.Random) -> str:
        return str(random_.choice(sorted(pages.iterdir())))

    def ask(random_: random.Random) -> Sequence[str]:
        return ("ask", "--image", image(random_), "--max-tokens", "40", "--", random_.choice(QUESTIONS))

    table = home / "table.csv"
    return (
        KilledCommand("ask", ask, _shown_answer_is_saved),
        KilledCommand(
            "chat",
            lambda _: (),
            lambda _, run: ["showed a traceback"] if "Traceback (most recent call last)" in run.shown else [],
            keys=("What is a lighthouse?\r", "/new\r", "And a harbour?\r"),
        ),
        KilledCommand(
            "adapters install",
            lambda _: ("adapters", "install", str(adapter), "--yes"),
            lambda _home, _run: [],
        ),
        KilledCommand(
            "models pull",
            lambda _: ("models", "pull", f"file:{model}", "--name", "copied"),
            lambda _home, _run: [],
        ),
        KilledCommand(
            "extract",
            lambda _: ("extract", str(pages), "--fields", "company, total:number", "--out", str(table)),
            lambda _home, _run: _whole_table(table),
        ),
        KilledCommand("serve", lambda _: ("serve", "--port", "0"), lambda *_: [], while_running=_ask_server),
    )


def stores_are_whole(home: Path) -> list[str]:
    """What is wrong with the databases, the adapters and the models of this user."""
    return [*_databases(home / "data"), *_adapters(home), *_models(home)]


def _databases(data: Path) -> list[str]:
    faults = []
    for file in data.rglob("*.db"):
        with closing(sqlite3.connect(file)) as db:
            for check in ("integrity_check", "foreign_key_check"):
                rows = db.execute(f"PRAGMA {check}").fetchall()
                if rows not in ([], [("ok",)]):
                    faults.append(f"{file.name}: {check} says {rows[:2]}")
    return faults


def _adapters(home: Path) -> list[str]:
    from adapters.install.verify import check_hashes, list_files
    from adapters.store.adapter_store import AdapterStore
    from models.core.errors import UserError

    store = AdapterStore(home / "data" / "adapters")
    faults = []
    for name in store.names():
        try:
            installed = store.get(name)
            missing = {"adapter_config.json", "adapter_model.safetensors"} - set(list_files(installed.folder))
            if missing:
                faults.append(f"adapter {name} lacks {sorted(missing)}")
            if installed.manifest is not None:
                check_hashes(installed.folder, installed.manifest, {})
        except UserError as error:
            faults.append(f"adapter {name}: {error}")
    return faults


def _models(home: Path) -> list[str]:
    from models.core.errors import UserError
    from models.hub.store import ModelStore

    try:
        store = ModelStore(home / "data" / "models")
        for status in store.list():
            if status.pulled:
                store.pull(status.entry.name, offline=True)
    except UserError as error:
        return [f"models: {error}"]
    return []


def _shown_answer_is_saved(home: Path, run: KilledRun) -> list[str]:
    """The last turn has what was shown. A killed process may lose what came in its last second."""
    shown = run.shown.strip()
    if not shown:
        return []
    with closing(sqlite3.connect(home / "data" / "sessions.db")) as db:
        row = db.execute("SELECT answer, status FROM turns ORDER BY id DESC LIMIT 1").fetchone()
    saved, status = ("", "missing") if row is None else (str(row[0]).strip(), row[1])
    if run.ended and (saved != shown or status not in ("complete", "stopped")):
        return [f"a finished answer is saved as {status} {saved[:60]!r}, and {shown[:60]!r} was shown"]
    if not (shown.startswith(saved) or saved.startswith(shown)):
        return [f"{shown[:60]!r} was shown and {saved[:60]!r} is saved"]
    return []


def _whole_table(table: Path) -> list[str]:
    """The table has its header and whole rows, or is not there."""
    if not table.exists():
        return []
    lines = table.read_text(encoding="utf-8").splitlines()
    columns = lines[0].count(",") if lines else 0
    if not lines or not lines[0].startswith("file,page,"):
        return [f"{table.name} begins with {lines[:1]}"]
    short = [line for line in lines[1:] if line.count(",") < columns]
    return [f"{table.name} has an incomplete row: {short[0][:80]}"] if short else []


def _ask_server(said: str) -> None:
    """Sends questions to a server until it is killed. said: the line in which it says where it listens."""
    address = next((word.rstrip(".,") for word in said.split() if word.startswith("http://")), None)
    if address is None:
        return
    body = json.dumps({"messages": [{"role": "user", "content": "What is a lighthouse?"}], "max_tokens": 24})

    def ask() -> None:
        request = urllib.request.Request(
            f"{address.rstrip('/').removesuffix('/v1')}/v1/chat/completions",
            body.encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                reply.read()
        except OSError:
            return

    for _ in range(3):
        threading.Thread(target=ask, daemon=True).start()


def forget_copies(home: Path, name: str) -> None:
    """Removes what a command made, half of the times, so that it has something to do at its next run."""
    target = {"adapters install": home / "data/adapters/torture", "models pull": home / "data/models/copied"}
    if name in target:
        shutil.rmtree(target[name], ignore_errors=True)
    elif name == "extract":
        (home / "table.csv").unlink(missing_ok=True)
