"""Adapters installed and removed while the app runs, with the real engine and the default router."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import PIL.Image
import pytest

from adapters.prototypes import make_prototypes, write_prototypes
from edge_app import settings
from edge_app.assistant import Assistant, Turn
from edge_app.events import Routed
from models.compiled_engine import CompiledEngine
from models.hub.store import ModelFiles
from tests.adapters.folders import put
from tests.router.routers.test_background import QUESTIONS, declare, drawn


@pytest.mark.slow
def test_an_adapter_counts_from_the_next_question_on_and_changes_no_other_decision(
    tmp_path: Path, home: Path, model_files: ModelFiles, engine_cache: Path, engine: CompiledEngine
) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "models").symlink_to(model_files.directory.parent)
    (home / "cache").symlink_to(engine_cache)
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    pictures = {}
    for kind in QUESTIONS:
        pictures[kind] = tmp_path / f"{kind}.png"
        PIL.Image.fromarray(drawn(kind, 100).pixels).save(pictures[kind])

    def install(kind: str) -> None:
        made = make_prototypes(engine, [drawn(kind, number) for number in range(20)], QUESTIONS[kind])
        waiting = tmp_path / "waiting"
        folder = put(waiting, kind)
        write_prototypes(folder, made)
        declare(folder, kind)
        folder.rename(adapters / kind)

    chosen = settings.load(tmp_path / "none.toml")
    with closing(Assistant(chosen, None, adapters=adapters)) as assistant:

        def routed(kind: str, question: str) -> Routed:
            events = list(assistant.route(Turn(question, (pictures[kind],))))
            (found,) = [event for event in events if isinstance(event, Routed)]
            return found

        install("discs")
        questions = [QUESTIONS["discs"][0], "Please count the discs.", "Tell me a joke."]
        before = [routed("discs", question).route for question in questions]
        assert [route.adapter for route in before] == ["discs", "discs", None]
        assert routed("bars", QUESTIONS["bars"][0]).route.adapter != "bars"

        install("bars")
        found = routed("bars", QUESTIONS["bars"][0])
        assert found.route.adapter == "bars"
        after = [routed("discs", question).route for question in questions]
        assert [route.adapter for route in after] == ["discs", "discs", None]
        for old, new in zip(before, after, strict=True):
            scores = {candidate.adapter: candidate for candidate in new.candidates}
            assert [scores[candidate.adapter] for candidate in old.candidates] == list(old.candidates)

        shutil.rmtree(adapters / "bars")
        assert [routed("discs", question).route for question in questions] == before
