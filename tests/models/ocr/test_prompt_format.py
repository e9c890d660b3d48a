"""The exact prompt of every version of the prompt format.

A trained adapter only understands the prompts that it was trained with. When a test here fails, do not correct what it
expects: add a version to models.ocr.PROMPT_FORMATS, keep what the earlier ones make, and add its prompts below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import models
from models.core.types import Image, Message, TextLine
from models.language.prompt import EncodedImage, PromptBuilder
from models.language.templates.chat_template import ChatTemplate
from models.language.tokenizer import Tokenizer
from models.model_config import read_model_config
from models.ocr import PROMPT_FORMAT, PROMPT_FORMATS
from models.ocr.page_layout import PageText, in_reading_order
from models.ocr.prompt_text import as_prompt_lines

ROW = "▒"
"""An image row, in the prompts below."""


class Letters(Tokenizer):
    """Its tokens are code points, so that a prompt can be read back."""

    def __init__(self) -> None:
        pass

    def encode(self, text: str, *, special: bool) -> list[int]:
        return self.encode_joined([(text, special)])

    def encode_joined(self, pieces: Sequence[tuple[str, bool]], most: int | None = None) -> list[int]:
        del most
        return [ord(character) for text, _ in pieces for character in text]


def centred(text: str, x: float, y: float) -> TextLine:
    width = 0.012 * len(text)
    return TextLine(text, 0.9, (x - width / 2, y - 0.02, x + width / 2, y + 0.02))


def page(*lines: TextLine) -> PageText:
    return PageText(in_reading_order(lines))


def columns(ticks: tuple[str, str, str], values: tuple[str, str, str]) -> PageText:
    """Three bars with their values printed, an axis at the left and a title."""
    return page(
        centred("Sales", 0.5, 0.05),
        *(centred(text, 0.05, y) for text, y in zip(ticks, (0.8, 0.6, 0.2), strict=True)),
        *(
            centred(text, x, y)
            for text, (x, y) in zip(values, ((0.2, 0.24), (0.45, 0.72), (0.7, 0.58)), strict=True)
        ),
        *(centred(text, x, 0.88) for text, x in (("Apples", 0.2), ("Pears", 0.45), ("Plums", 0.7))),
    )


RECEIPT = page(
    centred("SHOP", 0.5, 0.05),
    *(
        centred(text, x, 0.2 + 0.1 * row)
        for row, texts in enumerate((("Milk", "2", "3.10"), ("Bread", "1", "2.40"), ("TOTAL", "", "8.60")))
        for text, x in zip(texts, (0.1, 0.5, 0.9), strict=True)
        if text
    ),
)
FABRIC_TEXTS = ("Cotton 60%", "Polyester 35%", "Elastane 5%")
FABRIC = page(*(centred(text, 0.5, 0.3 + 0.1 * row) for row, text in enumerate(FABRIC_TEXTS)))
COLUMNS = columns(("0", "20", "60"), ("55", "7", "21"))
EUROS = columns(("€0", "€20K", "€60K"), ("€55K", "€7K", "€21K"))
PIE = page(centred("Figs 50%", 0.86, 0.52), centred("Plums 30%", 0.28, 0.82), centred("Pears 20%", 0.21, 0.3))
BARS = page(
    *(centred(text, 0.1, 0.1 + 0.1 * row) for row, text in enumerate(("Figs", "Plums", "Pears"))),
    *(
        TextLine(text, 0.9, (0.2 + 0.01 * float(text), 0.08 + 0.1 * row, 0.25 + 0.01 * float(text), 0.12 + 0.1 * row))
        for row, text in enumerate(("30", "55", "10"))
    ),
    *(centred(text, 0.2 + 0.01 * float(text), 0.4) for text in ("0", "20", "40", "60")),
)  # fmt: skip
TICKET = page(
    *(
        TextLine(text, 0.9, (x, y, x + width * len(text), y + height))
        for y, width, height, texts in (
            (0.2, 0.010, 0.03, ("Gate", "Boarding", "Seat")),
            (0.24, 0.016, 0.05, ("B14", "17:05", "27F")),
            (0.4, 0.010, 0.03, ("Class", "Fare")),
            (0.44, 0.010, 0.03, ("First", "80.00")),
        )
        for text, x in zip(texts, (0.1, 0.4, 0.7), strict=False)
    )
)
PAGES = {
    "ticket": TICKET,
    "receipt": RECEIPT,
    "fabric": FABRIC,
    "columns": COLUMNS,
    "euros": EUROS,
    "pie": PIE,
    "bars": BARS,
}

TEXTS = {
    "ticket": "Gate Boarding Seat\nB14 17:05 27F\nClass Fare\nFirst 80.00",
    "receipt": "SHOP\nMilk 2 3.10\nBread 1 2.40\nTOTAL 8.60",
    "fabric": "Cotton 60%\nPolyester 35%\nElastane 5%",
    "columns": "Sales\n0 20 60\nApples 55\nPears 7\nPlums 21",
    "euros": "Sales\n€60K\n€55K\n€20K €21K\n€7K\n€0\nApples Pears Plums",
    "pie": "Pears 20%\nFigs 50%\nPlums 30%",
    "bars": "Figs 30\nPlums 55\nPears 10\n0 20 40 60",
}
RANKINGS = {
    "columns": "\nApples 1, Plums 2, Pears 3",
    "pie": "\nFigs 1, Plums 2, Pears 3",
    "bars": "\nPlums 1, Figs 2, Pears 3",
}
IN_EUROS = "Sales\n€0 €20K €60K\nApples €55K\nPears €7K\nPlums €21K"
SECOND = {**TEXTS, "euros": IN_EUROS}, {**RANKINGS, "euros": RANKINGS["columns"]}
BESIDE_LABELS = "Gate B14\nBoarding 17:05\nSeat 27F\nClass Fare\nFirst 80.00"
GOLDEN = {1: (TEXTS, RANKINGS), 2: SECOND, 3: ({**SECOND[0], "ticket": BESIDE_LABELS}, SECOND[1])}
"""By prompt format: the text of every page, and what ranks add to it."""


def prompt(text: str, *, use_words: bool) -> str:
    """The prompt of the model that comes with the app, for a question about an image of two rows."""
    config = read_model_config(Path(models.__file__).parent / "bundled" / "edge-vlm-135m")
    builder = PromptBuilder(Letters(), ChatTemplate(config.chat_template or ""), config.wording)
    guesses = (("bottle", 0.6), ("jar", 0.3), ("vase", 0.06), ("cup", 0.05))
    encoded = EncodedImage(range(-1, -3, -1), np.zeros((2, 4), np.float32), guesses)
    image = Image(np.zeros((2, 2, 3), np.uint8), "digest", "image")
    built = builder.build(
        [Message("user", "What is it?", (image,))],
        {"digest": encoded},
        use_words=use_words,
        texts={"digest": text},
    )
    return "".join(ROW if token < 0 else chr(token) for token in built.tokens)


def test_there_are_golden_prompts_of_every_version_and_new_prompts_have_the_newest() -> None:
    assert tuple(GOLDEN) == PROMPT_FORMATS
    assert max(PROMPT_FORMATS) == PROMPT_FORMAT


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("version", PROMPT_FORMATS)
def test_the_text_of_a_page_is_that_of_its_version(version: int, name: str) -> None:
    texts, rankings = GOLDEN[version]
    assert as_prompt_lines(PAGES[name], version) == texts[name]
    assert as_prompt_lines(PAGES[name], version, chart_ranks=True) == texts[name] + rankings.get(name, "")


@pytest.mark.parametrize("version", PROMPT_FORMATS)
def test_the_words_and_the_text_stand_in_the_prompt_as_in_its_version(version: int) -> None:
    """The versions do not differ in this."""
    text = as_prompt_lines(FABRIC, version)
    question = "What is it?<|im_end|>\n<|im_start|>assistant\n"
    read = "Text in the image:\nCotton 60%\nPolyester 35%\nElastane 5%\n"
    assert prompt(text, use_words=False) == f"<|im_start|>user\n{ROW}{ROW}\n{read}{question}"
    assert prompt(text, use_words=True) == (
        f"<|im_start|>user\n{ROW}{ROW}\nPerhaps: bottle, jar, vase\n{read}{question}"
    )
    assert prompt("", use_words=False) == f"<|im_start|>user\n{ROW}{ROW}\n{question}"
