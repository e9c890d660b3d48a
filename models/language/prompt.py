"""From messages to the atoms that are prefilled: template, text, and rows that stand for images.

A user message with images reads: for each image its rows, then (optionally) a line of words that the vision
tower suggests, then (when it was read) the text found in the image, then the question. Training and serving
build prompts here and nowhere else. Knows nothing of how images become rows, of how text is read, or of what
the model does with a prompt.
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
    """The fixed text around an image, part of what the model was trained on.

    prefix, suffix: before and after the image's rows.
    words: format with one field {words}, after the suffix; empty for none.
    count, least: at most so many of the tower's guesses, each at least this probable.
    text: format with one field {text}, after the words, for an image whose text was read.
    """

    prefix: str = ""
    suffix: str = ""
    words: str = ""
    count: int = 5
    least: float = 0.02
    text: str = "Text in the image:\n{text}\n"

    def line(self, guesses: Sequence[tuple[str, float]]) -> str:
        """The line of words for these (label, probability), best first; empty when there is none to say."""
        named = [label for label, probability in guesses[: self.count] if probability >= self.least]
        return self.words.format(words=", ".join(named)) if self.words and named else ""


@dataclass(frozen=True)
class EncodedImage:
    """An image as the language model reads it.

    atoms: one negative number a row, never used for another row (see models.language.prefix_cache).
    embeddings: float32 [rows, hidden]. guesses: (label, probability), best first. probability: how sure the
    heads are of what they say (see models.vision.projector).
    """

    atoms: range
    embeddings: NDArray[np.float32]
    guesses: tuple[tuple[str, float], ...]
    probability: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """atoms: token ids, and the negative numbers of image rows. images: where those rows are found."""

    atoms: list[int]
    images: tuple[EncodedImage, ...]

    @property
    def image_tokens(self) -> int:
        return sum(atom < 0 for atom in self.atoms)

    def inputs(self, start: int, stop: int) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """What the runtime takes of atoms start to stop: token ids, -(i+1) being row i of the second array.

        Returns int32 [n] and float32 [rows, hidden], or None when there is no image among them.
        """
        atoms = self.atoms[start:stop]
        wanted = [image for image in self.images if any(atom in image.atoms for atom in atoms)]
        if not wanted:
            return np.array(atoms, dtype=np.int32), None
        order = [atom for image in wanted for atom in image.atoms]
        rows = {atom: -(row + 1) for row, atom in enumerate(order)}
        tokens = np.array([rows.get(atom, atom) for atom in atoms], dtype=np.int32)
        return tokens, np.concatenate([image.embeddings for image in wanted])


class ImageNumbers:
    """Hands out atoms for image rows: each run of rows gets negative numbers that were never used before."""

    def __init__(self) -> None:
        self._next = -1

    def take(self, rows: int) -> range:
        first = self._next
        self._next -= rows
        return range(first, first - rows, -1)


class PromptBuilder:
    """Builds prompts for one model."""

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
        """The prompt up to where the assistant's answer begins.

        encoded: every image of the messages by its digest. use_words: add the line of words.
        see_images: False leaves the images out altogether, as if the messages had none.
        texts: what was read in an image, by its digest; an image that is missing here, or whose text is empty,
        gets no line. The text is data: what looks like a special token in it is spelled out.
        """
        atoms: list[int] = []
        seen: dict[str, EncodedImage] = {}
        for segment in self._template.segments([(message.role, message.text) for message in messages]):
            if segment.message is None:
                atoms += self._tokenizer.encode(segment.text, special=True)
                continue
            for image in messages[segment.message].images if see_images else ():
                seen[image.digest] = encoded[image.digest]
                atoms += self._image(encoded[image.digest], use_words, (texts or {}).get(image.digest, ""))
            atoms += self._tokenizer.encode(segment.text, special=False)
        return Prompt(atoms, tuple(seen.values()))

    def to_continue(self, text: str, image: EncodedImage | None) -> Prompt:
        """A text that the model is to go on with, an image before it; no template, no control tokens."""
        shown = [] if image is None else self._image(image, True, "")
        tokens = self._tokenizer.encode(text, special=False)
        return Prompt([*shown, *tokens], () if image is None else (image,))

    def _image(self, image: EncodedImage, use_words: bool, text: str) -> list[int]:
        wording = self._wording
        after = wording.suffix + (wording.line(image.guesses) if use_words else "")
        after += wording.text.format(text=text) if text else ""
        return [
            *self._tokenizer.encode(wording.prefix, special=False),
            *image.atoms,
            *self._tokenizer.encode(after, special=False),
        ]
