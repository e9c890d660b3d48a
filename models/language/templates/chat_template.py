"""A model's chat template: the text around the messages of a conversation.

A template is a Jinja program that comes with a model, so it runs in Jinja's sandbox. The length of its output and
of its ranges is bounded, and so are the number of its loop iterations and calls and the computing time they take. A
template never receives the contents of messages. A marker stands for each piece of a content, and the output is split
at the markers, so that control tokens are recognised only in the template's own text.

A content is a string, or parts: texts and images in order. Templates of models with vision iterate over parts and
write IMAGE_TEXT for an image. Others insert the content as a string. A template is tried once to find out which.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

import jinja2

from models.core.errors import UserError
from models.core.files import read_json
from models.core.types import Role
from models.formats.gguf.gguf_file import GgufFile
from models.formats.gguf.gguf_metadata import GgufMetadata
from models.language.templates.template_sandbox import TemplateTooLongError, template_environment
from models.language.tokenizer import token_text

MAX_SOURCE = 100_000  # characters of a template
MAX_OUTPUT = 1_000_000  # characters of its output
IMAGE_TEXT: Final = "<image>"
"""What the templates of the supported models with vision write in the place of an image."""

# Private-use characters that templates do not contain: around the number of a piece, and for bos_token.
_MARK = re.compile("\ue000([0-9]{1,9})\ue001")
_BOS = "\ue002"


@dataclass(frozen=True)
class ImagePart:
    """Stands for an image in the content of a message."""


Content = str | Sequence[str | ImagePart]


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered conversation.

    text: empty for an image. message: the index of the message whose content this is. None is the template's own text,
    the only text in which control tokens are recognised. part: the index in the content's parts, 0 for a string.
    """

    text: str
    message: int | None
    part: int = 0


@dataclass(frozen=True)
class _Piece:
    """A part of a message. number: in the whole conversation."""

    number: int
    message: int
    part: int
    value: str | ImagePart

    @property
    def mark(self) -> str:
        return f"\ue000{self.number}\ue001"


_Marked = Sequence[tuple[str, Sequence[_Piece]]]  # the conversation as (role, pieces)


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
            self._environment = template_environment()
            self._template = self._environment.from_string(source)
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
        """The template of a Hugging Face directory.

        It is in chat_template.jinja, chat_template.json, processor_config.json or tokenizer_config.json, whichever
        comes first. Of several named ones the one named "default" is taken. Raises UserError when there is none.
        """
        settings = read_json(directory / "tokenizer_config.json")
        source = _template_file(directory) or _named_default(settings.get("chat_template"))
        if source is None:
            raise UserError(f"{directory} has no chat template; choose a model that is made for chat")
        return cls(
            source, bos=token_text(settings.get("bos_token")), eos=token_text(settings.get("eos_token"))
        )

    def segments(self, messages: Sequence[tuple[Role, Content]]) -> list[Segment]:
        """The conversation up to the position where the assistant's answer begins, in order.

        messages: (role, content). Texts are inserted unchanged, even where the template would strip or escape them. A
        template's default system message is left out.
        Raises UserError when the template refuses the conversation, when it leaves out an image or what the user wrote,
        or when its output is too long.
        """
        marked = _numbered(messages)
        has_system = any(role == "system" for role, _ in messages)
        text = self._render(marked, answer=True) if has_system else self._render_bare(marked)
        segments = self._split(text, [piece for _, pieces in marked for piece in pieces])
        written = {(segment.message, segment.part) for segment in segments}
        for number, (role, content) in enumerate(messages):
            for part, value in enumerate([content] if isinstance(content, str) else content):
                if role == "user" and value and (number, part) not in written:
                    lost = "an image" if isinstance(value, ImagePart) else "what the user wrote"
                    raise UserError(f"The model's chat template leaves out {lost}; choose another model")
        return segments

    def _split(self, text: str, pieces: Sequence[_Piece]) -> list[Segment]:
        """The output split at the markers of the pieces, and at IMAGE_TEXT in the template's own text.

        Raises UserError when the template wrote another number of images than there are.
        """
        images = iter([piece for piece in pieces if isinstance(piece.value, ImagePart)])
        segments: list[Segment] = []
        for index, found in enumerate(_MARK.split(text)):
            if index % 2 and int(found) < len(pieces):
                piece = pieces[int(found)]
                if isinstance(piece.value, str):
                    segments.append(Segment(piece.value, piece.message, piece.part))
                else:
                    segments.append(_image_segment(next(images)))
            elif index % 2 == 0:
                own = found.split(IMAGE_TEXT) if self._iterates_over_parts else [found]
                for position, words in enumerate(own):
                    if position:
                        segments.append(_image_segment(next(images, None)))
                    if words:
                        segments.append(Segment(words.replace(_BOS, self._bos), None))
        return segments

    @functools.cached_property
    def _iterates_over_parts(self) -> bool:
        """Whether contents are passed as lists of parts: when these appear in the output, or when strings do not."""
        text = _Piece(0, 0, 0, "text")
        with_image = self._try([{"type": "image"}, {"type": "text", "text": text.mark}])
        if text.mark in with_image and IMAGE_TEXT in with_image:
            return True
        return text.mark not in self._try(text.mark) and text.mark in self._try(
            [{"type": "text", "text": text.mark}]
        )

    def _try(self, content: object) -> str:
        """The output for one user message; empty when the template refuses it. Raises UserError when it never ends."""
        try:
            return self._output([{"role": "user", "content": content}], answer=True)
        except TemplateTooLongError:
            raise  # the next attempt would take as long
        except UserError:
            return ""

    def _render_bare(self, marked: _Marked) -> str:
        """Render without a default system message.

        When the plain rendering has one, a conversation with a system message is rendered and that is cut off. The
        plain rendering has none when it is the other one with a piece left out. It is also taken when the system
        message is not at the beginning of the output.
        """
        plain = self._render(marked, answer=True)
        system = _Piece(sum(len(pieces) for _, pieces in marked), len(marked), 0, "system")
        try:
            whole = self._render([("system", [system]), *marked], answer=True)
            alone = self._render([("system", [system])], answer=False)
        except UserError:
            return plain
        same = _common_length(whole, plain) + _common_length(whole[::-1], plain[::-1])
        if same >= len(plain) or system.mark not in alone or not whole.startswith(alone):
            return plain
        begin = _BOS if alone.startswith(_BOS) else ""
        return begin + whole[len(alone) :]

    def _render(self, marked: _Marked, *, answer: bool) -> str:
        """The output for marked messages, as the template takes them. Raises UserError."""
        content = _part_list if self._iterates_over_parts else _joined_marks
        return self._output(
            [{"role": role, "content": content(pieces)} for role, pieces in marked], answer=answer
        )

    def _output(self, conversation: Sequence[Mapping[str, object]], *, answer: bool) -> str:
        """The output of the template. answer: whether it ends where the assistant's answer begins. Raises UserError."""
        pieces: list[str] = []
        left = MAX_OUTPUT
        self._environment.begin_rendering()
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


def _template_file(directory: Path) -> str | None:
    """The template in a file of its own or in the processor's settings."""
    if (file := directory / "chat_template.jinja").exists():
        return file.read_text(encoding="utf-8", errors="replace")
    for name in ("chat_template.json", "processor_config.json"):
        if (file := directory / name).exists():
            source = _named_default(read_json(file).get("chat_template"))
            if source is not None:
                return source
    return None


def _named_default(source: object) -> str | None:
    """A template from a settings file: a string, or a list of named ones."""
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else None


def _numbered(messages: Sequence[tuple[Role, Content]]) -> list[tuple[str, list[_Piece]]]:
    numbers = itertools.count()
    return [
        (
            role,
            [
                _Piece(next(numbers), index, part, value)
                for part, value in enumerate([content] if isinstance(content, str) else content)
            ],
        )
        for index, (role, content) in enumerate(messages)
    ]


def _part_list(pieces: Sequence[_Piece]) -> list[dict[str, str]]:
    """The content as transformers passes it to templates."""
    return [
        {"type": "image"} if isinstance(piece.value, ImagePart) else {"type": "text", "text": piece.mark}
        for piece in pieces
    ]


def _joined_marks(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.mark for piece in pieces)


def _common_length(one: str, other: str) -> int:
    """The length of the longest common beginning."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _image_segment(piece: _Piece | None) -> Segment:
    """Raises UserError for None, when the template writes more images than there are."""
    if piece is None:
        raise UserError("The model's chat template writes an image that is not there; choose another model")
    return Segment("", piece.message, piece.part)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(layout: str) -> str:
    return datetime.now().strftime(layout)
