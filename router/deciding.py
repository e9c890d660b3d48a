"""From candidates with scores to a choice with a probability and a reason. Knows nothing of how scores come about."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from router.choice import Candidate, Choice

OTHER_MODEL = "no adapter: the router knows the questions of another language model only"


def decide(candidates: Collection[Candidate], *, chat: bool) -> Choice:
    """The best candidate, if it suits better than none. Their scores, and 0 for none, are logits.

    chat: the question was found to be plain chat, which is said when nobody is chosen.
    """
    ranked = sorted(candidates, key=lambda each: -each.score)
    best = ranked[0]
    logits = np.array([0.0, *(each.score for each in ranked)])
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    if best.score > 0:
        return Choice(best.adapter, float(shares[1]), f"looks like {_described(best)}", tuple(ranked))
    nearest = "the question is plain chat, not about the image" if chat else f"nearest is {_described(best)}"
    return Choice(None, float(shares[0]), f"no adapter: {nearest}", tuple(ranked))


def _described(candidate: Candidate) -> str:
    parts = (("image", candidate.image), ("question", candidate.question))
    figures = ", ".join(f"{what} {value:.2f}" for what, value in parts if value is not None)
    return f"{candidate.adapter}: {figures}" if figures else candidate.adapter
