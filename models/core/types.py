"""Plain types that every package shares: images, messages, sampling parameters, tokens, progress."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]

StopReason = Literal["stop", "length", "cancelled"]
"""The reason why an answer ended.

"stop": the model or a stop string ended it. "length": max_tokens or the context was reached. "cancelled": by the user.
"""

Stage = Literal["pull", "pack", "compile", "load", "encode", "read", "prefill", "wait"]
Progress = Callable[[Stage, str, int, int | None], None]
"""progress(stage, message, done, total): done and total in bytes, steps, or seconds for the stage "wait"; total is None
while it is unknown."""


def no_progress(stage: Stage, message: str, done: int, total: int | None) -> None:
    """A Progress that does nothing."""


Detail = Literal["low", "high"]
"""How closely a vision encoder that cuts images into tiles looks at one.

"low": the whole image in one tile. "high": as the model's publisher cuts it, often in 13 or 17 tiles.
"""


Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the image's width and height."""


@dataclass(frozen=True)
class TextLine:
    """A line of text. probability: 0..1, that it was read correctly."""

    text: str
    probability: float
    box: Box

    @property
    def centre(self) -> tuple[float, float]:
        """x, y."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


CELL: Final = "\t"
"""In the text of a page, between two cells of a row."""

HIDDEN: Final = "\x1f"
"""In the text of a page, before a word that stands on the page and in answers, and that prompts leave out: a dash."""

_HIDDEN_WORD: Final = re.compile(rf"{HIDDEN}\S*[^\S\n]?")


def prompt_form(text: str) -> str:
    """The text of a page as it goes into a prompt: cells are separated by a space, and hidden words are left out."""
    return _HIDDEN_WORD.sub("", text).replace(CELL, " ")


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image. Images with the same digest are equal, even with other names or subclasses.

    pixels: uint8 [height, width, 3], RGB, upright, alpha composed on white.
    digest: sha256 (hex) of the file's bytes.
    name: for messages to the user.
    notes: what was changed in decoding that the user should know ("first of 12 frames").
    detail: how closely to look; without effect on vision encoders that do not cut images.
    text: the lines that the file itself states, as the text layer of a PDF does; None where the text is in the pixels
        alone and has to be read there.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    digest: str
    name: str
    notes: tuple[str, ...] = ()
    detail: Detail = "high"
    text: tuple[TextLine, ...] | None = field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Image) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Message:
    """One message of a conversation. images: shown with it, before its text."""

    role: Role
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """The settings with which the next token is chosen.

    temperature: 0 is greedy. top_k 0, top_p 1, min_p 0 and repetition_penalty 1 are off.
    repetition_penalty: None lets the engine choose (Engine.generate). seed: None draws a new one.
    max_tokens: of the answer. stop: strings that end it and are not part of it.
    top_logprobs: how many of the likeliest tokens each token of the answer comes with; None for none, and without the
        bytes of the token either.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float | None = 1.0
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None


@dataclass(frozen=True)
class LikelyToken:
    """A token that could have come. piece: its bytes, part of a character perhaps. logprob: as in Token."""

    id: int
    piece: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """One generated token. text may be empty while a multi-byte character is incomplete.

    logprob: natural log of the model's own probability (temperature 1, before penalties and filters).
    piece: its bytes, empty for a control token. likeliest: as many as Sampling.top_logprobs says, the likeliest first;
    both only when it says a number.
    """

    id: int
    text: str
    logprob: float
    piece: bytes = b""
    likeliest: tuple[LikelyToken, ...] = ()
