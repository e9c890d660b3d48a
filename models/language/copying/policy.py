"""How an adapter's answers are copied, as its manifest states it.

Imports nothing, so that manifests load fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_CANDIDATES: Final = 8
LARGEST_MARGIN: Final = 50.0


@dataclass(frozen=True)
class CopyPolicy:
    """How an adapter answers about a page of text: by words that stand on the page, or by one of its declines.

    declines: whole answers that stand on no page, such as "Not on the page.".
    margin: nats, at most LARGEST_MARGIN either way. A decline is given when its score (models.language.copying.search)
        exceeds that of the best copy by more than this. Chosen on training rows.
    candidates: how many of the likeliest first tokens are followed to the end of their copies, 1 to MOST_CANDIDATES.
        The copy with the best score is the answer.
    free: an answer that the model would begin with one of these texts is not copied: "{" for JSON.
    excluded: texts within which no copy begins, where they stand on the page. choices: whole answers, in the place of
        the page's passages. Both are no part of a manifest.
    """

    declines: tuple[str, ...] = ()
    margin: float = 0.0
    candidates: int = 2
    free: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
