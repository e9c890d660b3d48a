"""Builds the tokens of a prompt from messages: chat template, text, and rows that stand for images.

A user message with images consists of the following parts: for each image its rows, then (optionally) a line of
words that the projector's heads suggest, then (when it was read) the text found in the image; then the question.
Training and inference build their prompts with `PromptBuilder`, so that both use the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.core.types import Message
from models.language.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer


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


@dataclass(frozen=True)
class EncodedImage:
    """An image as input of the language model.

    row_ids: one negative number for each row of `embeddings`. Within an engine a row id is never reused, so the
    prefix cache can compare prompts by their numbers alone.
    embeddings: float32 [rows, hidden].
    guesses: (label, probability), best first, from the head whose labels are put into words.
    probability: 0..1, how certain the projector's heads are (see models.vision.projector.ImageTokens).
    """

    row_ids: range
    embeddings: NDArray[np.float32]
    guesses: tuple[tuple[str, float], ...]
    probability: float = 1.0


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

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, wording: Wording) -> None:
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
    ) -> Prompt:
        """The prompt up to the position where the assistant's answer begins.

        encoded: every image of the messages, by its digest.
        use_words: whether to add the line of words.
        see_images: False builds the prompt as if the messages had no images.
        texts: the text that was read in an image, by the image's digest. An image that is missing here or whose
        text is empty gets no text line. The text is data: the spelling of a control token in it stays text.
        """
        tokens: list[int] = []
        seen: dict[str, EncodedImage] = {}
        for segment in self._template.segments([(message.role, message.text) for message in messages]):
            if segment.message is None:
                tokens += self._tokenizer.encode(segment.text, special=True)
                continue
            for image in messages[segment.message].images if see_images else ():
                seen[image.digest] = encoded[image.digest]
                tokens += self._image(encoded[image.digest], use_words, (texts or {}).get(image.digest, ""))
            tokens += self._tokenizer.encode(segment.text, special=False)
        return Prompt(tokens, tuple(seen.values()))

    def to_continue(self, text: str, image: EncodedImage | None) -> Prompt:
        """A prompt that is the image, if there is one, and the text alone: no template, no control tokens."""
        shown = [] if image is None else self._image(image, True, "")
        tokens = self._tokenizer.encode(text, special=False)
        return Prompt([*shown, *tokens], () if image is None else (image,))

    def _image(self, image: EncodedImage, use_words: bool, text: str) -> list[int]:
        """The tokens of one image: prefix, row ids, suffix, line of words, text."""
        wording = self._wording
        after = wording.suffix + (wording.line(image.guesses) if use_words else "")
        after += wording.text.format(text=text) if text else ""
        return [
            *self._tokenizer.encode(wording.prefix, special=False),
            *image.row_ids,
            *self._tokenizer.encode(after, special=False),
        ]
