"""An assistant with two adapters, whose engine, router and reader are scripted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_app import settings
from edge_app.assistant import Assistant
from edge_app.storage.sessions import SessionStore
from edge_app.system import paths
from models.core.types import Box, Image, TextLine
from models.ocr.page_layout import PageText
from tests.adapters.folders import put
from tests.edge_app.fakes import FakeEngine, FakeRouter

PAGE = PageText((TextLine("TOTAL 9.90", 0.99, (0.1, 0.1, 0.9, 0.2)),))


@dataclass
class FakeReader:
    """Finds the same text in every image. looks: called during a reading. lines: found at a glance."""

    page: PageText | None = PAGE
    looks: Callable[[threading.Event | None], None] = lambda _: None
    read_all: int = 0
    read_documents: int = 0
    lines: int = 0

    def glance(self, image: Image, cancel: threading.Event | None = None) -> list[Box]:
        del image
        self.looks(cancel)
        return [(0.1, 0.1, 0.9, 0.2)] * self.lines

    def read(self, image: Image, cancel: threading.Event | None = None) -> PageText:
        del image
        self.read_all += 1
        self.looks(cancel)
        return PAGE

    def read_document(self, image: Image, cancel: threading.Event | None = None) -> PageText | None:
        del image
        self.read_documents += 1
        self.looks(cancel)
        return self.page


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def directory(home: Path) -> Path:
    for seed, name in enumerate(("medical", "receipts")):
        put(home / "data" / "adapters", name, seed)
    return home / "data" / "adapters"


@pytest.fixture
def assistant(
    store: SessionStore, engine: FakeEngine, router: FakeRouter, reader: FakeReader, directory: Path
) -> Iterator[Assistant]:
    del directory
    chosen = settings.load(paths.config_file())
    assistant = Assistant(chosen, store, engine.load, router=router, reader=reader)
    yield assistant
    assistant.close()


def leases(assistant: Assistant) -> int:
    engines = assistant._pool.residents().values()
    return sum(each.leases for engine in engines for each in engine.bank.residents())


# -- which one --------------------------------------------------------------------------------------------
