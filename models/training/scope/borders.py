"""Places the border of scope for each kind of image, by questions of writers that the encoder did not learn from.

    python -m models.training.scope.borders --questions rows.jsonl --logits WITHOUT_A.json --logits WITHOUT_B.json \\
        --out router/bundled/scope_borders.json --left-out left_out.json

The logits come from `python -m models.training.scope.train --leave-out AUTHOR --logits FILE`, for all authors of the
rows. The border of a kind is the logit from which its questions count as in scope. It is placed where the fewest
questions of the kind are on the wrong side, and drawn towards the border of all kinds, because a kind has few
questions.

The shares that are printed, and the logits of `--left-out`, have borders that were placed without the author of the
question. Those of `--out` are placed by all authors.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.scope.data import GENERAL_KINDS, ScopeQuestion, rows_by_kind

GENERAL = "general"
"""The name under which the kinds of the plain model have their border: they share their tasks."""

IN_WEIGHT = 1.5
"""A question in scope that is refused counts as much as this many of the other kind that are taken."""

BLUR = 1.0
"""Standard deviation of the noise that is assumed on a logit, so that no single question decides."""

PULL = 0.03
"""Cost of the squared distance from the border of all kinds, in shares of wrong questions."""

GRID = np.arange(-3, 4.01, 0.05)
"""Logits that a border may have."""

Judged = Sequence[tuple[float, ScopeQuestion]]
"""Logits with their questions."""


def share_below(border: NDArray[np.float64], logits: Sequence[float]) -> NDArray[np.float64]:
    """The share of logits that are below each border [grid], each logit blurred by BLUR."""
    if not logits:
        return np.zeros(len(border))
    distance = (border[:, None] - np.array(logits)) / BLUR
    return np.asarray(np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))(distance).mean(1))


def cost(judged: Judged) -> NDArray[np.float64]:
    """The shares of wrong questions for each border in GRID, in scope and out of it, weighted."""
    inside = [logit for logit, question in judged if question.scope == "in"]
    outside = [logit for logit, question in judged if question.scope == "out"]
    return IN_WEIGHT * share_below(GRID, inside) + (1 - share_below(GRID, outside) if outside else 0)


def place(judged: Mapping[str, Judged]) -> dict[str, float]:
    """The border of each kind."""
    costs = {kind: cost(own) for kind, own in judged.items() if own}
    common = GRID[np.argmin(sum(costs.values()))]
    return {
        kind: round(float(GRID[np.argmin(own + PULL * (GRID - common) ** 2)]), 2)
        for kind, own in costs.items()
    }


def shared_name(kind: str) -> str:
    """The name of the border of a kind."""
    return GENERAL if kind in GENERAL_KINDS else kind


def grouped(
    judged: Mapping[str, Judged], without: str | None = None
) -> dict[str, list[tuple[float, ScopeQuestion]]]:
    """The questions by the name of their border. without: an author who is left out."""
    found: dict[str, list[tuple[float, ScopeQuestion]]] = {}
    for kind, own in judged.items():
        kept = [(logit, question) for logit, question in own if question.author != without]
        found.setdefault(shared_name(kind), []).extend(kept)
    return found


def left_out(judged: Mapping[str, Judged]) -> dict[str, list[tuple[float, ScopeQuestion]]]:
    """By kind, the distances of the logits to borders that were placed without the author of the question."""
    authors = sorted({question.author for own in judged.values() for _, question in own})
    found: dict[str, list[tuple[float, ScopeQuestion]]] = {kind: [] for kind in judged}
    for author in authors:
        borders = place(grouped(judged, author))
        for kind, own in judged.items():
            found[kind] += [
                (logit - borders[shared_name(kind)], question)
                for logit, question in own
                if question.author == author
            ]
    return found


def report(judged: Mapping[str, Judged]) -> str:
    """A table of the shares above the border, by kind and by author."""
    lines = [f"{'':<20}{'in':>7}{'out':>7}{'chat':>7}   share taken for a task"]
    groups: dict[str, list[tuple[float, ScopeQuestion]]] = {kind: list(own) for kind, own in judged.items()}
    for own in judged.values():
        for logit, question in own:
            groups.setdefault(question.author, []).append((logit, question))
            groups.setdefault("all", []).append((logit, question))
    for name, own in groups.items():
        cells = ""
        for scope in ("in", "out", "chat"):
            taken = [logit > 0 for logit, question in own if question.scope == scope]
            cells += f"{np.mean(taken):>7.1%}" if taken else f"{'-':>7}"
        lines.append(f"{name:<20}{cells}")
    return "\n".join(lines)


def read_judged(
    questions: Sequence[Path], logits: Sequence[Path]
) -> dict[str, list[tuple[float, ScopeQuestion]]]:
    """By kind, the questions that have a logit. Raises KeyError when one of a judged kind has none."""
    given: dict[str, dict[str, float]] = {}
    for file in logits:
        for kind, own in json.loads(file.read_text(encoding="utf-8")).items():
            given.setdefault(kind, {}).update(own)
    rows = rows_by_kind(questions)
    return {kind: [(own[row.text], row) for row in rows[kind]] for kind, own in given.items() if kind in rows}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=Path, action="append", required=True, help="rows (JSON lines)")
    parser.add_argument(
        "--logits", type=Path, action="append", required=True, help="left-out logits, by kind"
    )
    parser.add_argument("--out", type=Path, help="where to write the borders")
    parser.add_argument("--left-out", type=Path, help="where to write the distances to left-out borders")
    options = parser.parse_args(arguments)
    judged = read_judged(options.questions, options.logits)
    found = left_out(judged)
    print(report(found))
    borders = dict(sorted(place(grouped(judged)).items()))
    print(json.dumps(borders))
    if options.out:
        options.out.write_text(json.dumps(borders, indent=1) + "\n", encoding="utf-8")
    if options.left_out:
        table = {kind: {question.text: logit for logit, question in own} for kind, own in found.items()}
        options.left_out.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
