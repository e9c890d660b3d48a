"""Tells what a model thinks from what it answers, where an endpoint sends both as one text between tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
"""The tag that an answer may begin with, and the one that ends the thinking."""


@dataclass(frozen=True)
class CloudText:
    """The next piece of the answer; never empty."""

    text: str


@dataclass(frozen=True)
class CloudThinking:
    """The next piece of what the model thinks before it answers. It is no part of the answer; never empty."""

    text: str


class ThinkTags:
    """Splits a text that comes in pieces. Tags count only at the beginning of the text, after white space."""

    def __init__(self) -> None:
        self._state: Literal["beginning", "thinking", "gap", "answer"] = "beginning"
        self._held = ""  # what cannot be told yet: it may be the beginning of a tag
        self._closing = ""

    def feed(self, text: str) -> list[CloudText | CloudThinking]:
        """The pieces that are known after this text. The last characters may be held back."""
        pieces: list[CloudText | CloudThinking] = []
        text, self._held = self._held + text, ""
        if self._state == "beginning":
            text = self._begin(text)
        if self._state == "thinking":
            thought, text = self._think(text)
            if thought:
                pieces.append(CloudThinking(thought))
        if self._state == "gap" and (text := text.lstrip()):
            self._state = "answer"
        if self._state == "answer" and text:
            pieces.append(CloudText(text))
        return pieces

    def end(self) -> list[CloudText | CloudThinking]:
        """What was held back, once no more text comes."""
        text, self._held = self._held, ""
        if not text:
            return []
        return [CloudThinking(text) if self._state == "thinking" else CloudText(text)]

    def _begin(self, text: str) -> str:
        """Decides whether the text begins with a tag. Returns what follows; holds the text back if unsure."""
        start = text.lstrip()
        for opening, closing in TAGS.items():
            if start.startswith(opening):
                self._state, self._closing = "thinking", closing
                return start[len(opening) :]
        if any(opening.startswith(start) for opening in TAGS):
            self._held = text
            return ""
        self._state = "answer"
        return text

    def _think(self, text: str) -> tuple[str, str]:
        """The thinking in a text, and what follows it. Holds back what may be the beginning of the closing tag."""
        thought, tag, rest = text.partition(self._closing)
        if tag:
            self._state = "gap"
            return thought, rest
        longest = min(len(text), len(self._closing) - 1)
        held = next((n for n in range(longest, 0, -1) if self._closing.startswith(text[-n:])), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], ""
