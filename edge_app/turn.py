"""A turn as a front end hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.core.types import Image, Sampling
from router.types import Mode

Picture = Path | bytes | Image
"""An image as a front end has it: a file, a file's bytes, or decoded."""


@dataclass(frozen=True)
class Turn:
    """One question.

    images: those that are new in this turn; earlier ones of the session stay in context by themselves.
    session: continue it (an id or its unique beginning); None starts a new one.
    adapter: an installed adapter's name, "none" or "auto", or a sum (adapters.spec).
    sampling: None takes the settings'.
    system: the session's system prompt from this turn on; None leaves it as it is.
    allow_cloud: the user consents to asking a cloud model.
    see_images, use_words: False hides the images, or the words made from them, from the model (evaluation).
    """

    question: str
    images: tuple[Picture, ...] = ()
    session: str | None = None
    adapter: str = "auto"
    mode: Mode = "auto"
    sampling: Sampling | None = None
    system: str | None = None
    allow_cloud: bool = False
    see_images: bool = True
    use_words: bool = True
