"""A model's chat template: the text around the messages of a conversation.

A template is a Jinja program that comes with a model, so it runs in Jinja's sandbox. The length of its output and
of its ranges is bounded; its computing time is not. A template never receives the contents of messages. A marker
stands for each content, and the output is split at the markers, so that control tokens are recognised only in
the template's own text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.core.errors import UserError
from models.core.files import read_json
from models.core.types import Role
from models.formats.gguf import GgufFile
from models.formats.gguf_metadata import GgufMetadata
from models.language.tokenizer import token_text

MAX_SOURCE = 100_000  # characters of a template
MAX_OUTPUT = 1_000_000  # characters of its output
# Private-use characters that templates do not contain: around the number of a message, and for bos_token.
_MARK = re.compile("\ue000([0-9]{1,9})\ue001")
_BOS = "\ue002"


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation.

    message: the index of the message whose content this is. None is the template's own text, the only text in
    which control tokens are recognised.
    """

    text: str
    message: int | None


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        """bos, eos: the texts of bos_token and eos_token. Raises UserError for a template that does not compile."""
        if len(source) > MAX_SOURCE:
            raise UserError(
                f"The model's chat template is {len(source)} characters long; {MAX_SOURCE} are allowed"
            )
        self._bos = bos
        self._names = {"bos_token": _BOS, "eos_token": eos, "raise_exception": _raise, "strftime_now": _now}
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise UserError(f"The model's chat template is damaged: {error}") from None

    @classmethod
    def from_gguf(cls, file: GgufFile | GgufMetadata) -> ChatTemplate:
        """The template in a file's metadata. Raises UserError when it has none, as is usual for base models."""
        source = file.metadata.get("tokenizer.chat_template")
        if not isinstance(source, str):
            raise UserError(f"{file.path} has no chat template; choose a model that is made for chat")
        tokens = file.metadata.get("tokenizer.ggml.tokens")
        numbers = [file.metadata.get(f"tokenizer.ggml.{which}_token_id") for which in ("bos", "eos")]
        texts = [
            str(tokens[number])
            if isinstance(tokens, list) and isinstance(number, int) and 0 <= number < len(tokens)
            else ""
            for number in numbers
        ]
        return cls(source, bos=texts[0], eos=texts[1])

    @classmethod
    def from_directory(cls, directory: Path) -> ChatTemplate:
        """The template in chat_template.jinja or tokenizer_config.json (the one named "default"). Raises UserError."""
        settings = read_json(directory / "tokenizer_config.json")
        source = settings.get("chat_template")
        if isinstance(source, list):
            named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
            source = named.get("default")
        if (file := directory / "chat_template.jinja").exists():
            source = file.read_text(encoding="utf-8", errors="replace")
        if not isinstance(source, str):
            raise UserError(f"{directory} has no chat template; choose a model that is made for chat")
        return cls(
            source, bos=token_text(settings.get("bos_token")), eos=token_text(settings.get("eos_token"))
        )

    def segments(self, messages: Sequence[tuple[Role, str]]) -> list[Segment]:
        """The conversation up to the position where the assistant's answer begins, in order.

        messages: (role, content). Contents are inserted unchanged, even where the template would strip or
        escape them. A template's default system message is left out.
        Raises UserError when the template refuses the conversation or its output is too long.
        """
        marked = [(role, f"\ue000{number}\ue001") for number, (role, _) in enumerate(messages)]
        has_system = any(role == "system" for role, _ in messages)
        text = self._render(marked, answer=True) if has_system else self._render_bare(marked)
        segments: list[Segment] = []
        for index, piece in enumerate(_MARK.split(text)):
            if index % 2 == 0 and piece:
                segments.append(Segment(piece.replace(_BOS, self._bos), None))
            elif index % 2 and int(piece) < len(messages):
                segments.append(Segment(messages[int(piece)][1], int(piece)))
        return segments

    def _render_bare(self, marked: Sequence[tuple[str, str]]) -> str:
        """Render without a system message: render with one and cut it off.

        Falls back to the plain rendering when the system message is not a prefix of the output.
        """
        system = ("system", f"\ue000{len(marked)}\ue001")
        try:
            whole, alone = self._render([system, *marked], answer=True), self._render([system], answer=False)
        except UserError:
            return self._render(marked, answer=True)
        if system[1] not in alone or not whole.startswith(alone):
            return self._render(marked, answer=True)
        begin = _BOS if alone.startswith(_BOS) else ""
        return begin + whole[len(alone) :]

    def _render(self, messages: Sequence[tuple[str, str]], *, answer: bool) -> str:
        """The output of the template. answer: whether it ends where the assistant's answer begins. Raises UserError."""
        pieces: list[str] = []
        left = MAX_OUTPUT
        conversation = [{"role": role, "content": content} for role, content in messages]
        try:
            for piece in self._template.generate(
                messages=conversation, add_generation_prompt=answer, **self._names
            ):
                left -= len(piece)
                if left < 0:
                    raise UserError(f"The model's chat template produces more than {MAX_OUTPUT} characters")
                pieces.append(piece)
        except (
            jinja2.TemplateError,
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
        ) as error:
            raise UserError(f"The model's chat template refuses this conversation: {error}") from None
        return "".join(pieces)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox without the operators and attributes that multiply the length of a string."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(value, int | float) for value in (left, right)):
            raise jinja2.exceptions.SecurityError(f"the operator {operator} is for numbers only")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ARG002  # not even the sandboxed str.format
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _WIDENING and super().is_safe_attribute(obj, attr, value)


_WIDENING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"})


def _environment() -> _Sandbox:
    """The environment in which transformers renders templates, for which published templates are written."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for name in ("center", "format", "indent", "wordwrap"):
        del environment.filters[name]
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as transformers' filter writes it. Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=min(indent, 8) if indent else None)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(layout: str) -> str:
    return datetime.now().strftime(layout)
