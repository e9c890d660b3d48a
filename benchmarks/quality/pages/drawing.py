"""What pages are drawn with: a canvas, and names, dates and amounts to write on it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

FIRST_NAMES = (
    "Ada",
    "Bruno",
    "Carla",
    "Deniz",
    "Elias",
    "Freya",
    "Goran",
    "Hanna",
    "Ivan",
    "Jasmin",
    "Kofi",
    "Lena",
)

LAST_NAMES = (
    "Lindqvist",
    "Okafor",
    "Marsh",
    "Novak",
    "Pereira",
    "Quist",
    "Rahman",
    "Sato",
    "Tully",
    "Vance",
    "Weber",
)

MONTHS = ("January", "March", "April", "June", "July", "September", "November")


@dataclass(frozen=True)
class CanvasPage:
    """What was drawn, and the answers by question."""

    picture: PIL.Image.Image
    answers: Mapping[str, str]


class Canvas:
    """Text written line by line from the top."""

    def __init__(self, width: int, height: int, paper: str = "white") -> None:
        self.picture = PIL.Image.new("RGB", (width, height), paper)
        self.draw = PIL.ImageDraw.Draw(self.picture)
        self.y = 30

    def write(
        self, text: str, x: int = 40, size: int = 20, ink: str = "black", step: int | None = None
    ) -> None:
        self.at(text, x, self.y, size, ink)
        self.y += round(size * 1.6) if step is None else step

    def at(self, text: str, x: int, y: int, size: int = 20, ink: str = "black") -> None:
        self.draw.text((x, y), text, ink, PIL.ImageFont.load_default(size=size))


def person_name(dice: random.Random) -> str:
    return f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}"


def phone_number(dice: random.Random) -> str:
    return f"0{dice.randint(100, 999)} {dice.randint(100000, 999999)}"


def written_date(dice: random.Random) -> str:
    return f"{dice.randint(1, 28)} {dice.choice(MONTHS)} {dice.randint(2019, 2026)}"


def money(dice: random.Random) -> str:
    return f"{dice.randint(12, 980)}.{dice.randint(10, 99)}"
