"""Builds the tokens of a prompt from messages: chat template, text, and rows that stand for images.

A user message with images consists of its images and then the question. The tokens of an image depend on the model's
vision encoder. `Wording` writes its rows, then (optionally) a line of words that the projector's heads suggest;
`TileWording` writes its tiles with their places. The text found in the image follows, when it was read.
Training and inference build their prompts with `PromptBuilder`, so that both use the same tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.core.types import Message, Role, prompt_form
from models.language.templates.chat_template import ChatTemplate, Content, ImagePart, Segment
from models.language.tokenizer import Tokenizer


@dataclass(frozen=True)
class EncodedImage:
    """An image as input of the language model.

    row_ids: one negative number for each row of `embeddings`. Within an engine a row id is never reused, so the
    prefix cache can compare prompts by their numbers alone.
    embeddings: float32 [rows, hidden].
    guesses: (label, probability), best first, from the head whose labels are put into words.
    probability: 0..1, how certain the projector's heads are (see models.vision.projector.projector.ImageTokens);
    None without such heads.
    grid: rows and columns of tiles that the image was cut into; (0, 0) when it is one piece.
    """

    row_ids: range
    embeddings: NDArray[np.float32]
    guesses: tuple[tuple[str, float], ...] = ()
    probability: float | None = None
    grid: tuple[int, int] = (0, 0)


class ImageWording(Protocol):
    """Writes the images of a prompt."""

    def tokens(self, tokenizer: Tokenizer, image: EncodedImage, use_words: bool, text: str) -> list[int]:
        """The tokens of one image, with its negative row ids.

        use_words: whether its guesses are written in words. text: what was read in it; empty for nothing. It is data:
        the spelling of a control token in it stays text.
        """
        ...


@dataclass(frozen=True)
class Wording:
    """The fixed text around an image. The base LoRA was trained with it.

    prefix, suffix: text before and after the image's rows.
    words: a format with one field {words}, placed after the suffix; empty for no line of words.
    count: the largest number of guesses in that line. least: the smallest probability of a guess in it.
    text: a format with one field {text}, placed after the words, for an image whose text was read.
    """

    prefix: str = ""
    suffix: str = ""
    words: str = ""
    count: int = 5
    least: float = 0.02
    text: str = "Text in the image:\n{text}\n"

    def line(self, guesses: Sequence[tuple[str, float]]) -> str:
        """The line of words for these guesses (label, probability), best first; empty when none qualifies."""
        named = [label for label, probability in guesses[: self.count] if probability >= self.least]
        return self.words.format(words=", ".join(named)) if self.words and named else ""

    def tokens(self, tokenizer: Tokenizer, image: EncodedImage, use_words: bool, text: str) -> list[int]:
        """Prefix, row ids, suffix, line of words, text. See ImageWording."""
        after = self.suffix + (self.line(image.guesses) if use_words else "")
        after += self.text.format(text=text) if text else ""
        return [
            *tokenizer.encode(self.prefix, special=False),
            *image.row_ids,
            *tokenizer.encode(after, special=False),
        ]


@dataclass(frozen=True)
class TileWording:
    """The text around the tiles of an image, as the processor of Idefics3 and SmolVLM in transformers writes it.

    fence: the control token before each tile and after the last one. whole: stands before the rows of the whole image.
    place: a format with the fields {row} and {col}, counted from 1, before the rows of a tile. In vocabularies without
    control tokens of these spellings, `whole` and `place` become ordinary tokens.
    text: as in Wording.
    """

    fence: str = "<fake_token_around_image>"
    whole: str = "<global-img>"
    place: str = "<row_{row}_col_{col}>"
    text: str = Wording.text

    def tokens(self, tokenizer: Tokenizer, image: EncodedImage, use_words: bool, text: str) -> list[int]:
        """Tiles row by row with a line break after each row, then the whole image. See ImageWording."""
        del use_words  # there are no guesses
        rows, cols = image.grid
        ids = iter(image.row_ids)
        each = len(image.row_ids) // (rows * cols + 1)
        made: list[int] = []
        before = ""
        for row in range(1, rows + 1):
            for col in range(1, cols + 1):
                before += self.fence + self.place.format(row=row, col=col)
                made += [*tokenizer.encode(before, special=True), *itertools.islice(ids, each)]
                before = ""
            before = "\n"
        before += "\n" if rows else ""
        made += [*tokenizer.encode(before + self.fence + self.whole, special=True), *ids]
        after = self.text.format(text=text) if text else ""
        return made + tokenizer.encode_joined([(self.fence, True), (after, False)])


@dataclass(frozen=True)
class Prompt:
    """tokens: token ids, and the negative row ids of images. images: the images that own those rows."""

    tokens: list[int]
    images: tuple[EncodedImage, ...]

    @property
    def image_tokens(self) -> int:
        """The number of tokens that are image rows."""
        return sum(token < 0 for token in self.tokens)

    def inputs(self, start: int, stop: int) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """The runtime's arguments for the tokens start to stop (exclusive).

        Returns int32 [n] and float32 [rows, hidden]: a number -(i + 1) in the first stands for row i of the
        second. The second is None when no image row is among the tokens.
        """
        tokens = self.tokens[start:stop]
        wanted = [image for image in self.images if any(token in image.row_ids for token in tokens)]
        if not wanted:
            return np.array(tokens, dtype=np.int32), None
        order = [row_id for image in wanted for row_id in image.row_ids]
        rows = {row_id: -(row + 1) for row, row_id in enumerate(order)}
        numbered = np.array([rows.get(token, token) for token in tokens], dtype=np.int32)
        return numbered, np.concatenate([image.embeddings for image in wanted])


class RowIds:
    """Allocates row ids for encoded images: -1, -2, and so on, each only once."""

    def __init__(self) -> None:
        self._next = -1

    def take(self, rows: int) -> range:
        """The next `rows` ids, descending."""
        first = self._next
        self._next -= rows
        return range(first, first - rows, -1)


class PromptBuilder:
    """Builds the prompts of one model."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, wording: ImageWording) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._wording = wording

    def build(
        self,
        messages: Sequence[Message],
        encoded: Mapping[str, EncodedImage],
        *,
        use_words: bool = True,
        see_images: bool = True,
        texts: Mapping[str, str] | None = None,
        most: int | None = None,
    ) -> Prompt:
        """The prompt up to the position where the assistant's answer begins.

        encoded: every image of the messages, by its digest.
        use_words: whether to add the line of words.
        see_images: False builds the prompt as if the messages had no images.
        texts: the text that was read in an image, by the image's digest. An image that is missing here or whose
        text is empty gets no text line. The text is data: the spelling of a control token in it stays text. It is
        written in its prompt form (models.core.types).
        most: tokens that are of use; a longer prompt may lack a part, and has more than `most` tokens all the same.
        """
        shown = [message.images if see_images else () for message in messages]
        contents: list[tuple[Role, Content]] = [
            (message.role, [*(ImagePart() for _ in images), message.text] if images else message.text)
            for message, images in zip(messages, shown, strict=True)
        ]
        digests = [image.digest for images in shown for image in images]
        read = [prompt_form((texts or {}).get(digest, "")) for digest in digests]
        return self.build_parts(
            contents, [encoded[digest] for digest in digests], use_words=use_words, texts=read, most=most
        )

    def build_parts(
        self,
        messages: Sequence[tuple[Role, Content]],
        images: Sequence[EncodedImage],
        *,
        use_words: bool = True,
        texts: Sequence[str] = (),
        most: int | None = None,
    ) -> Prompt:
        """The same for messages whose parts are in any order.

        images: one for each ImagePart, in order; an image may be shown twice. texts: what was read in them, in the same
        order; empty for none.
        """
        shown = zip(images, texts or [""] * len(images), strict=True)
        tokens: list[int] = []
        run: list[tuple[str, bool]] = []  # text since the last image
        for segment in self._template.segments(messages):
            if _is_image(segment, messages):
                image, text = next(shown)
                tokens += self._tokenizer.encode_joined(run, most)
                tokens += self._wording.tokens(self._tokenizer, image, use_words, text)
                run = []
            else:
                run.append((segment.text, segment.message is None))
        tokens += self._tokenizer.encode_joined(run, most)
        return Prompt(tokens, tuple({image.row_ids: image for image in images}.values()))

    def to_continue(self, text: str, image: EncodedImage | None) -> Prompt:
        """A prompt that is the image, if there is one, and the text alone: no template, no control tokens."""
        shown = [] if image is None else self._wording.tokens(self._tokenizer, image, True, "")
        tokens = self._tokenizer.encode(text, special=False)
        return Prompt([*shown, *tokens], () if image is None else (image,))


def _is_image(segment: Segment, messages: Sequence[tuple[Role, Content]]) -> bool:
    if segment.message is None:
        return False
    content = messages[segment.message][1]
    return not isinstance(content, str) and isinstance(content[segment.part], ImagePart)
