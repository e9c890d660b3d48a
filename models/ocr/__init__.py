"""Reads the text in images, puts it into rows and formats it for a prompt."""

from typing import Final

PROMPT_FORMAT: Final = 3
"""The version of the text about an image in a prompt: the line of words, the rows of text, the ranks of a chart.

An adapter works only with prompts of the version that it was trained with, which its adapter.toml records. A change to
this text needs a new version here, and models.ocr.prompt_text must still make the earlier ones.

1: numbers with `$`, `%`, `k` and `M`. Charts are ranked for every adapter.
2: numbers with other currencies and units too. Charts are ranked for adapters whose policy has chart_ranks.
3: a value is beside its label where labels stand in a row above their values.
"""

PROMPT_FORMATS: Final = (1, 2, 3)
"""The versions that this version of the app can make."""
