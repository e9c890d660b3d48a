"""The domain's plain types: images, messages, sampling, tokens. Knows nothing of kernels or files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant"]

# progress(stage, message, done, total): bytes or steps; total is None while unknown.
Stage = Literal["pull", "pack", "compile", "load", "encode", "read", "prefill"]
Progress = Callable[[Stage, str, int, int | None], None]


def no_progress(stage: Stage, message: str, done: int, total: int | None) -> None:
    """A Progress that tells nobody."""


@dataclass(frozen=True)
class Image:
    """A decoded image.

    pixels: uint8 [height, width, 3], RGB, upright, alpha composed on white.
    digest: sha256 (hex) of the file's bytes: the image's identity everywhere.
    name: what to call it when talking to the user.
    notes: what was done that the user should know ("first of 12 frames").
    """

    pixels: NDArray[np.uint8]
    digest: str
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    role: Role
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. temperature 0 is greedy; top_k 0, top_p 1, min_p 0, repetition_penalty 1
    are off. repetition_penalty None leaves it to the engine: see Engine.generate."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float | None = 1.0
    seed: int | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Token:
    """One generated token. text may be empty while a multi-byte character is incomplete.

    logprob: natural log of the model's own probability (temperature 1, before penalties and filters).
    """

    id: int
    text: str
    logprob: float
