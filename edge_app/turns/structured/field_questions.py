"""Asks an adapter for each field by a question of its own, and composes the answers as JSON.

Adapters are trained on short answers to questions, where they are right more often than in an object of all values. The
JSON is valid whatever the model says, because values are typed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.store.manifest import Example
from edge_app.answer_schema import AnswerSchema
from edge_app.fields import Field, typed_value
from models.core.types import StopReason, Token
from models.scoring.text_overlap import nearest_passage
from router.confidence.declines import is_decline

if TYPE_CHECKING:
    from models.engine import TokenStream

Ask = Callable[[str, str | None], "TokenStream"]
"""An answer to a question about the turn's images, within a grammar if there is one."""


@dataclass(frozen=True)
class AskedField:
    """A value that was asked for. logprobs: natural logarithms, of the tokens of the answer."""

    name: str
    question: str
    value: Any
    logprobs: tuple[float, ...]


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

    The text comes with the last token of each field. asked: the fields so far, with their values.
    """

    def __init__(self, schema: AnswerSchema, questions: Sequence[str], ask: Ask, page: str = "") -> None:
        """questions: one for each field of the schema. page: the text that was read in the image; empty for none.

        Small mistakes in a text or a date that was copied from the page are mended.
        """
        self.prompt_tokens = self.image_tokens = self.dropped_turns = self.cached_tokens = 0
        self.completion_tokens = 0
        self.prefill_ms = self.decode_ms = 0.0
        self.stop_reason: StopReason | None = None
        self.text = ""
        self.asked: list[AskedField] = []
        self._schema = schema
        self._questions = questions
        self._ask = ask
        self._page = page
        self._tokens = self._generate()

    def __next__(self) -> Token:
        return next(self._tokens)

    def _generate(self) -> Generator[Token, None, None]:
        cut = False
        for field, question in zip(self._schema.fields, self._questions, strict=True):
            logprobs: list[float] = []
            stream = self._ask(question, None)
            last = yield from self._all_but_last(stream, logprobs)
            value = self._value(field, stream.text)
            if value is None and not self._schema.may_be_null(field.name):
                value = ""
                if field.kind != "text" and stream.stop_reason != "cancelled":
                    yield last
                    logprobs.clear()
                    stream = self._ask(question, self._schema.grammar_of_field(field.name))
                    last = yield from self._all_but_last(stream, logprobs)
                    value = None if stream.stop_reason == "cancelled" else json.loads(stream.text)
            if stream.stop_reason == "cancelled":
                self.stop_reason = "cancelled"
                return
            cut = cut or stream.stop_reason == "length"
            self.asked.append(AskedField(field.name, question, value, tuple(logprobs)))
            yield Token(last.id, self._add(field, value), last.logprob)
        self.stop_reason = "length" if cut else "stop"

    def _value(self, field: Field, text: str) -> Any:
        value = None if is_decline(text) else typed_value(field.kind, text)
        copied = (
            str(value)
            if field.kind == "text" and value
            else text
            if field.kind == "date" and not value
            else ""
        )
        return (
            typed_value(field.kind, nearest_passage(copied, self._page)) if copied and self._page else value
        )

    def _all_but_last(self, stream: TokenStream, logprobs: list[float]) -> Generator[Token, None, Token]:
        """The tokens of an answer without their text. Returns the last one, and adds to logprobs."""
        last: Token | None = None
        for token in stream:
            if last is not None:
                yield last
            last = Token(token.id, "", token.logprob)
            logprobs.append(token.logprob)
        self._count(stream)
        return last or Token(0, "", 0.0)

    def _add(self, field: Field, value: Any) -> str:
        before = "{" if len(self.asked) == 1 else ", "
        after = "}" if len(self.asked) == len(self._schema.fields) else ""
        name, content = json.dumps(field.name, ensure_ascii=False), json.dumps(value, ensure_ascii=False)
        added = f"{before}{name}: {content}{after}"
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


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").lower().split())
