"""What is asked of every page: fields or a question, by which model and adapter, and what makes two tasks the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from edge_app.events import Answer, Picture, Turn
from edge_app.extract.rows import Cell, PageRow
from edge_app.fields import Field
from edge_app.image_detail import ImageDetail

ANSWER = "answer"
"""The column of the answer to a question."""

FORMAT = 1
"""Counted up when rows of earlier versions are not to be used any more."""


@dataclass(frozen=True)
class ExtractTask:
    """A task.

    fields: the columns. question: what is asked; None for the fields' values.
    adapter: a name, a sum, "auto" or "none". model: its name. weights: identifies the files of the model and of the
        adapters that may answer. detail: how closely images are looked at. system: the system prompt.
    """

    fields: tuple[Field, ...]
    question: str | None
    adapter: str
    model: str
    weights: str
    detail: ImageDetail
    system: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def keys(self) -> tuple[str, ...]:
        """What identifies each field among all tasks: its name with its kind, or the question."""
        if self.question is not None:
            return (f"question {self.question}",)
        return tuple(f"{field.name}:{field.kind}" for field in self.fields)

    @property
    def identity(self) -> str:
        """A hash (hex) of everything that can change the answers."""
        content = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def turn(self, picture: Picture, *, cloud: bool = False) -> Turn:
        """The turn that asks about one page. cloud: it may be sent to the endpoint, which is then asked first.

        The mode is always "quality", whose limits do not depend on whether the machine runs on battery.
        """
        return Turn(
            question=self.question or "",
            images=(picture,),
            adapter="none" if cloud else self.adapter,
            mode="quality",
            allow_cloud=cloud,
            detail=self.detail,
        )

    def row(self, file: str, page: int, digest: str, answer: Answer) -> PageRow:
        """The row of an answered page."""
        value: Cell = None if answer.declined else answer.text.strip()
        return PageRow(
            file,
            page,
            digest,
            (value,),
            (answer.confidence,),
            answer.adapter,
            answer.place,
            answer.declined,
        )
