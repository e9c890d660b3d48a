"""What each group of features gives to the confidence: alone, and left out of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_app.evaluation.calibration import auroc, calibration_error
from edge_app.evaluation.confidence import Result, judged_held_out, logged_answers
from router.confidence.fit import Logged, chosen_penalties, fit
from router.confidence.rule import FEATURES, Rule

GROUPS: Mapping[str, tuple[str, ...]] = {
    "token log-probabilities": ("mean", "low", "least", "whole", "first", "opening", "tokens"),
    "image heads": ("head",),
    "text reading": ("ocr",),
    "scope": ("scope",),
}


@dataclass(frozen=True)
class Ablation:
    """One set of features: the AUROC and calibration error of the confidence, and of that without data.

    All are over answers in and out of scope together.
    """

    name: str
    auroc: float | None
    ece: float
    without_auroc: float | None
    without_ece: float


def ablations(results: Sequence[Result], folds: int) -> list[Ablation]:
    """A line for all features, for each group alone and for each group left out.

    The penalties are those that are chosen for all features and answers, so that the lines differ by features alone.
    """
    penalties = chosen_penalties(logged_answers(results))
    parts: dict[str, frozenset[str]] = {"all features": frozenset(FEATURES)}
    parts |= {f"{name} alone": frozenset(group) for name, group in GROUPS.items()}
    parts |= {f"without {name}": frozenset(FEATURES) - frozenset(group) for name, group in GROUPS.items()}
    found = []
    for name, used in parts.items():

        def make(logged: Sequence[Logged], used: frozenset[str] = used) -> Rule:
            return fit(logged, used, penalties)

        judged = judged_held_out(results, make, folds)
        right = [each.logged.right for each in judged]
        own, without = [each.probability for each in judged], [each.without for each in judged]
        found.append(
            Ablation(
                name,
                auroc(own, right),
                calibration_error(own, right),
                auroc(without, right),
                calibration_error(without, right),
            )
        )
    return found
