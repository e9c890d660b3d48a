"""Asks for each field by a question of its own, and composes the answers as JSON.

Adapters are trained on short answers to questions, where they are right more often than in an object of all values. The
JSON is valid whatever the model says, because values are typed here. A second adapter may be asked for the fields that
are none of the chosen one's tasks.

Two fields of a page hardly ever have the same value. A text that repeats the answer to an earlier field is asked for
again, within the rest of the page, and given up when another passage is nearly as likely. Where the adapter's task is a
date or a number and its answer is none, the likeliest one on the page takes its place; where it is a boolean, "Yes" or
"No" does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from adapters.store.manifest import Example
from edge_app.schemas.answer_schema import AnswerSchema
from edge_app.schemas.fields import Field, FieldKind, typed_value
from edge_app.turns.structured.field_values import Piece
from models.core.types import StopReason, Token
from models.language.copying.policy import CopyPolicy
from models.language.copying.search import copy_score
from models.scoring.normal_forms import as_name, dates_in, numbers_in
from models.scoring.text_overlap import are_alike, nearest_passage
from router.confidence.declines import is_decline

if TYPE_CHECKING:
    from models.engine import TokenStream

SURE_COPY: Final = -0.5
"""A value whose every token has a larger log-probability is left as it is. The model then repairs what the reader of
text got wrong ("5/B" for "S/B"). Chosen on receipts that the adapter did not learn."""

CHOICES: Final[Mapping[FieldKind, Callable[[str], Sequence[str]]]] = {
    "date": dates_in, "number": numbers_in, "integer": numbers_in, "boolean": lambda _: ("Yes", "No"),
}  # fmt: skip
"""The values on a page among which an adapter chooses when its answer is none, by the kind of field."""

REPEATED: Final = 3.0
"""Nats by which another passage may be less likely than a value that repeats another field's, and takes its place."""

Ask = Callable[[str, str | None, CopyPolicy | None], "TokenStream"]
"""An answer to a question about the turn's images, within a grammar if there is one.

The policy says how it is copied from the page, in the place of the adapter's own.
"""


@dataclass(frozen=True)
class AskedField:
    """A value that was asked for. said: the answer.

    logprobs: natural logarithms, of the tokens of the value, and of the one that ends it where it is the whole answer.
    """

    name: str
    question: FieldQuestion
    said: str
    value: Any
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class FieldAsker:
    """An adapter that is asked for fields, and what its answers are judged by.

    adapter: its name. examples: of its manifest. scope: returns the log-odds that a question is one of its tasks; None
    where it declares none. page: the text that was read in the image, as its prompt has it; empty for none.
    generation, policy, head, ocr: as in router.confidence.rule.Evidence.
    """

    adapter: str
    examples: Sequence[Example]
    ask: Ask
    scope: Callable[[str], float | None]
    page: str = ""
    generation: int | None = None
    policy: str | None = None
    head: float | None = None
    ocr: float | None = None

    def question(self, field: Field) -> FieldQuestion:
        text = field_question(field, self.examples)
        scope = self.scope(text)
        declared = any(_words(example.task) == _words(field.name) for example in self.examples)
        return FieldQuestion(text, self, scope, declared or scope is None or scope > 0)


@dataclass(frozen=True)
class FieldQuestion:
    """A question for a field. scope: its log-odds. is_task: whether it is one of the tasks of who is asked."""

    text: str
    asker: FieldAsker
    scope: float | None
    is_task: bool


def questions_for(
    fields: Sequence[Field], chosen: FieldAsker, any_page: Callable[[], FieldAsker | None]
) -> list[FieldQuestion]:
    """The questions for the fields, in their order.

    any_page: returns the adapter for any page of text, or None. It is called when a field is none of the tasks of the
    chosen one, and gets such fields as far as they are its tasks.
    """
    questions = [chosen.question(field) for field in fields]
    if all(question.is_task for question in questions):
        return questions
    second = any_page()
    if second is None:
        return questions
    others = [
        question if question.is_task else second.question(field)
        for field, question in zip(fields, questions, strict=True)
    ]
    return [other if other.is_task else question for other, question in zip(others, questions, strict=True)]


def field_question(field: Field, examples: Sequence[Example]) -> str:
    """The question for a field: the adapter's own for a task of that name, first one that it was trained on.

    examples: of the adapter's manifest.
    """
    name = _words(field.name)
    own = [example for example in examples if _words(example.task) == name]
    trained = next((example for example in own if example.answer), own[0] if own else None)
    return trained.question if trained is not None else f"What is the {name}?"


class FieldQuestions(Iterator[Token]):
    """The JSON of several answers as one stream of tokens, with the members of models.engine.TokenStream.

    The fields of one adapter are asked for together, so that the page is read once by each. The text of a field comes
    when those before it in the schema are complete.
    """

    def __init__(self, schema: AnswerSchema, questions: Sequence[FieldQuestion]) -> None:
        """questions: one for each field of the schema.

        Small mistakes in a text or a date that was copied from the page are mended where the model was not sure.
        """
        self.prompt_tokens = self.image_tokens = self.dropped_turns = self.cached_tokens = 0
        self.completion_tokens = 0
        self.prefill_ms = self.decode_ms = 0.0
        self.stop_reason: StopReason | None = None
        self.text = ""
        self._schema = schema
        self._questions = questions
        self._asked: dict[int, AskedField] = {}
        self._written = 0
        self._tokens = self._generate()

    def __next__(self) -> Token:
        return next(self._tokens)

    @property
    def asked(self) -> list[AskedField]:
        """The fields so far with their values, in the order of the schema."""
        return [self._asked[position] for position in sorted(self._asked)]

    def _order(self) -> list[int]:
        """The positions of the fields in the order of asking: by adapter, that of the first field first."""
        adapters = [question.asker.adapter for question in self._questions]
        return sorted(range(len(adapters)), key=lambda position: adapters.index(adapters[position]))

    def _generate(self) -> Generator[Token, None, None]:
        cut = False
        for position in self._order():
            field, question = self._schema.fields[position], self._questions[position]
            stream, asked, last = yield from self._answer(field, question)
            if stream.stop_reason != "cancelled" and (policy := self._another(field, asked)) is not None:
                yield last
                stream, other, last = yield from self._answer(field, question, copying=policy)
                asked = other if asked.value is None else _better(asked, other)
            if asked.value is None and not self._schema.may_be_null(field.name):
                asked = replace(asked, value="")
                if field.kind != "text" and stream.stop_reason != "cancelled":
                    yield last
                    grammar = self._schema.grammar_of_field(field.name)
                    stream, asked, last = yield from self._answer(field, question, grammar)
            if stream.stop_reason == "cancelled":
                self.stop_reason = "cancelled"
                return
            cut = cut or stream.stop_reason == "length"
            self._asked[position] = asked
            yield Token(last.id, self._write(), last.logprob)
        self.stop_reason = "length" if cut else "stop"

    def _answer(
        self,
        field: Field,
        question: FieldQuestion,
        grammar: str | None = None,
        copying: CopyPolicy | None = None,
    ) -> Generator[Token, None, tuple[TokenStream, AskedField, Token]]:
        """Asks for a field. Yields the tokens without their text, and returns the last one beside the answer."""
        pieces = list[Piece]()
        stream = question.asker.ask(question.text, grammar, copying)
        last = yield from self._all_but_last(stream, pieces)
        logprobs = tuple(logprob for _, logprob in pieces)
        if grammar is not None:
            value = None if stream.stop_reason == "cancelled" else json.loads(stream.text)
        else:
            value = None if is_decline(stream.text) else typed_value(field.kind, stream.text)
            if field.kind == "text" and value is not None:
                logprobs = _up_to(str(value), pieces)
            value = self._mended(field, stream.text, value, question.asker.page, logprobs)
        return stream, AskedField(field.name, question, stream.text, value, logprobs), last

    def _another(self, field: Field, asked: AskedField) -> CopyPolicy | None:
        """How a second answer is copied from the page; None when the first one is good enough."""
        page = asked.question.asker.page
        if not page or is_decline(asked.said):
            return None
        if asked.value is None:
            found = CHOICES.get(field.kind)
            choices = tuple(found(page)) if found is not None and asked.question.is_task else ()
            return CopyPolicy(choices=choices) if choices else None
        others = [other.said for other in self._asked.values() if other.value is not None]
        if field.kind != "text" or not any(are_alike(other, asked.said) for other in others):
            return None
        return CopyPolicy(excluded=tuple(nearest_passage(other, page) for other in others))

    @staticmethod
    def _mended(field: Field, text: str, value: Any, page: str, logprobs: Sequence[float]) -> Any:
        """The value, or the one of the passage of the page that it was copied from with mistakes. text: the answer."""
        copied = (
            str(value)
            if field.kind == "text" and value
            else text
            if field.kind == "date" and not value
            else ""
        )
        is_sure = value is not None and min(logprobs, default=0.0) > SURE_COPY
        if not copied or not page or is_sure:
            return value
        return typed_value(field.kind, nearest_passage(copied, page))

    def _all_but_last(self, stream: TokenStream, pieces: list[Piece]) -> Generator[Token, None, Token]:
        """The tokens of an answer without their text. Returns the last one, and adds to pieces."""
        last: Token | None = None
        for token in stream:
            if last is not None:
                yield last
            last = Token(token.id, "", token.logprob)
            pieces.append((token.text, token.logprob))
        self._count(stream)
        return last or Token(0, "", 0.0)

    def _write(self) -> str:
        """Adds the values that are next in the schema to the text. Returns what was added."""
        added = ""
        while self._written in self._asked:
            field = self._asked[self._written]
            name, content = (json.dumps(each, ensure_ascii=False) for each in (field.name, field.value))
            added += f"{', ' if self._written else '{'}{name}: {content}"
            self._written += 1
            if self._written == len(self._schema.fields):
                added += "}"
        self.text += added
        return added

    def _count(self, stream: TokenStream) -> None:
        self.prompt_tokens += stream.prompt_tokens
        self.image_tokens = stream.image_tokens
        self.dropped_turns = max(self.dropped_turns, stream.dropped_turns)
        self.cached_tokens += stream.cached_tokens
        self.completion_tokens += stream.completion_tokens
        self.prefill_ms += stream.prefill_ms
        self.decode_ms += stream.decode_ms


def _up_to(value: str, pieces: Sequence[Piece]) -> tuple[float, ...]:
    """The log-probabilities of the tokens of an answer up to the end of a value with which it begins.

    Letters and digits are compared. All tokens where the value is the whole answer.
    """
    wanted, whole = len(as_name(value)), "".join(text for text, _ in pieces)
    if wanted >= len(as_name(whole)):
        return tuple(logprob for _, logprob in pieces)
    ends = accumulate(text for text, _ in pieces)
    count = next(number for number, said in enumerate(ends, 1) if len(as_name(said)) >= wanted)
    return tuple(logprob for _, logprob in pieces[:count])


def _better(repeated: AskedField, other: AskedField) -> AskedField:
    """The answer that repeats another field's, or the one that does not when it is nearly as likely.

    The probability of the latter's first token is then that under the condition that it is not the repeated one's.
    """
    if other.value is None or copy_score(other.logprobs) <= copy_score(repeated.logprobs) - REPEATED:
        return repeated
    first, *later = other.logprobs
    left = max(1.0 - math.exp(repeated.logprobs[0]), math.exp(first))
    return replace(other, logprobs=(first - math.log(left), *later))


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())
