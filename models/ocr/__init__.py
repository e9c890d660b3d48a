"""Text in images: it is read, put into rows, and laid out for a prompt."""

from typing import Final

PROMPT_FORMAT: Final = 2
"""The version of what a prompt says about an image: the line of words, the rows of text, the ranks of a chart.

An adapter only understands prompts of the version that it was trained with, which its adapter.toml records. Whoever
changes anything in a prompt adds a version here, and keeps the earlier ones in models.ocr.prompt_text.

1: numbers with `$`, `%`, `k` and `M`. Charts are ranked for every adapter.
2: numbers with other currencies and units too. Charts are ranked for the adapters that ask for ranks.
"""

PROMPT_FORMATS: Final = (1, 2)
"""The versions that this version of the app can make."""
