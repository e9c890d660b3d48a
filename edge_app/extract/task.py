"""What is asked of every page, of which model and adapter, and what makes two such tasks the same.

That is the values of fields, an answer that fits a schema, or the answer to a question in plain words.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_app.answer import Answer
from edge_app.events import Picture, Turn
from edge_app.extract.rows import Cell, PageRow
from edge_app.images.image_detail import ImageDetail
from edge_app.schemas.answer_schema import AnswerSchema, read_schema, schema_of_fields
from edge_app.schemas.fields import Field, parse_fields
from edge_app.turns.structured.instruction import default_question
from models.core.errors import UserError

ANSWER = "answer"
"""The column of the answer to a question."""

FORMAT = 1
"""Counted up when rows of earlier versions are not to be used any more."""


_LARGEST_FLOAT = int(sys.float_info.max)


@dataclass(frozen=True)
class Asked:
    """fields: the columns. schema: what the answers have to fit; None for an answer in plain text."""

    fields: tuple[Field, ...]
    question: str
    schema: AnswerSchema | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the fields."""
        return tuple(field.name for field in self.fields)

    @property
    def keys(self) -> tuple[str, ...]:
        """What identifies each field among all that was ever asked: its name with its kind, or the question."""
        if self.schema is None:
            return (f"question {self.question}",)
        return tuple(f"{field.name}:{field.kind}" for field in self.fields)

    def cells(self, answer: Answer) -> tuple[tuple[Cell, ...], tuple[float | None, ...]]:
        """The values of an answer and their confidences, one for each field."""
        if self.schema is None:
            text = answer.text.strip() or None
            return (None if answer.declined else text,), (answer.confidence,)
        known = {value.name: value for value in answer.fields}
        found = [known.get(name) for name in self.names]
        values = tuple(None if each is None else as_cell(each.value) for each in found)
        return values, tuple(None if each is None else each.confidence for each in found)


@dataclass(frozen=True)
class ExtractTask:
    """A task.

    adapter: a name, a sum, "auto" or "none". model: its name. weights: identifies the files of the model and of the
    adapters that may answer. detail: how closely images are looked at. system: the system prompt.
    """

    asked: Asked
    adapter: str
    model: str
    weights: str
    detail: ImageDetail
    system: str | None = None

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
            question=self.asked.question,
            images=(picture,),
            adapter="none" if cloud else self.adapter,
            mode="quality",
            allow_cloud=cloud,
            detail=self.detail,
            schema=self.asked.schema,
        )

    def row(self, file: str, page: int, digest: str, answer: Answer) -> PageRow:
        """The row of an answered page. One whose values are all empty counts as declined."""
        values, sure = self.asked.cells(answer)
        declined = answer.declined or all(value is None for value in values)
        return PageRow(file, page, digest, values, sure, answer.adapter, answer.place, declined)


def asked_question(question: str) -> Asked:
    """A question, whose answer is the column ANSWER."""
    return Asked((Field(ANSWER),), question.strip())


def asked_fields(text: str) -> Asked:
    """The fields of "company, date:date, total:number". Raises UserError for what are none."""
    fields = parse_fields(text)
    schema = schema_of_fields(fields)
    return Asked(fields, default_question(schema), schema)


def asked_schema(file: Path) -> Asked:
    """The keys of the object that the JSON Schema in a file describes. Lists and objects in it are JSON in the table.

    Raises UserError for a file that has none, and for a schema that decoding cannot follow or that names no keys.
    """
    schema = read_schema(file)
    properties = schema.content.get("properties")
    if not isinstance(properties, dict) or not properties:
        raise UserError(f"{file} names no properties of an object, which are the columns of the table.")
    fields = schema.fields or tuple(Field(name) for name in properties)
    return Asked(fields, default_question(schema), schema)


def as_cell(value: Any) -> Cell:
    """A JSON value as a cell; lists and objects as JSON. A text of blanks is empty.

    An integer of more than 64 bits becomes a float, which tables can hold; a number that no float can hold is empty.
    """
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = float(value) if abs(value) < _LARGEST_FLOAT else math.inf
    if isinstance(value, float) and not math.isfinite(value):
        return None
    cell: Cell = value
    return cell
