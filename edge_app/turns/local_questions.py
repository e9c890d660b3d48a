"""Asks the model on this device: the question of a turn, or a question for each field, with one adapter or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from adapters.bank import Lease
from edge_app.engine.engine_loading import reporter
from edge_app.engine.engine_pool import EnginePool
from edge_app.engine.inference_thread import Job
from edge_app.turns.adapter_choice import AdapterChooser
from edge_app.turns.images.image_text import ImageTexts
from edge_app.turns.planner import PlannedTurn
from edge_app.turns.structured.field_questions import FieldAsker
from edge_app.turns.structured.instruction import with_instruction
from models.core.types import Image, prompt_form
from models.language.copying.policy import CopyPolicy

if TYPE_CHECKING:
    from models.engine import Engine, TokenStream


@dataclass(frozen=True)
class LocalQuestions:
    """What is asked in one turn. engine: has encoded the turn's images. Used on the inference thread."""

    engine: Engine
    planned: PlannedTurn
    pool: EnginePool
    chooser: AdapterChooser
    texts: ImageTexts
    job: Job

    @property
    def image(self) -> Image | None:
        """The image in question; None where the model is not to see one."""
        return self.planned.focus.image if self.planned.turn.see_images else None

    def ask(
        self,
        lease: Lease,
        texts: Mapping[str, str],
        use_words: bool,
        question: str | None,
        grammar: str | None,
        copying: CopyPolicy | None = None,
    ) -> TokenStream:
        """The model's answer. texts: in the images, by digest. question: another one than the turn's.

        copying: how it is copied from the page, in the place of the adapter's own policy.
        """
        planned = self.planned
        messages = planned.focus.messages
        if question is not None:
            messages = (*messages[:-1], replace(messages[-1], text=question))
        elif planned.schema is not None and lease.weights is None:
            messages = tuple(with_instruction(messages, planned.schema))
        return self.engine.generate(
            messages,
            planned.sampling,
            adapter=lease.weights,
            use_words=use_words,
            see_images=planned.turn.see_images,
            texts=texts,
            grammar=grammar,
            copying=(copying or lease.copies) if grammar is None else None,
            cancel=self.job.cancelled,
            progress=reporter(self.job, self.job.emit),
        )

    def asker(self, adapter: str, lease: Lease, texts: Mapping[str, str]) -> FieldAsker:
        """An adapter that is asked for fields. Raises UserError when its manifest cannot be read."""
        use_words = self.planned.turn.use_words and lease.reads.words
        return FieldAsker(
            adapter,
            self.pool.examples(adapter),
            partial(self.ask, lease, texts, use_words),
            partial(self.scope, adapter),
            page="" if self.image is None else prompt_form(texts.get(self.image.digest, "")),
            generation=(lease.weights or self.engine).generation,
            policy=lease.policy,
            head=self.head(lease),
            ocr=self.ocr(lease),
        )

    def scope(self, adapter: str | None, question: str) -> float | None:
        """The log-odds that a question is one of the tasks of an adapter, or of the plain model."""
        asked = replace(self.planned, turn=replace(self.planned.turn, question=question))
        return self.chooser.scope_of(asked, adapter, self.engine)

    def head(self, lease: Lease) -> float | None:
        """The certainty of the projector's heads about the image, 0..1."""
        return None if self.image is None else self.engine.certainty(self.image, lease.weights)

    def ocr(self, lease: Lease) -> float | None:
        """The certainty of the text that was read in the image for an adapter, 0..1."""
        side = self.planned.places.scenario.budgets.image_side
        return None if self.image is None else self.texts.probability(self.image, lease.reads.ocr, side)
