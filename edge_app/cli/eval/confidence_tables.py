"""The tables that `edge-app eval confidence` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from edge_app.evaluation.ablation import Ablation
    from edge_app.evaluation.confidence import Line
    from edge_app.evaluation.kept_shares import KeptCount, KeptShares
    from router.confidence.early_stop import Stopping


def quality_table(report: Sequence[Line]) -> str:
    """The AUROC of each score and the calibration error of the confidence, as text."""
    scores = list(report[0].aurocs)
    heading = ("ANSWERS", "ROWS", "WRONG", "ECE", *(f"{score.upper()}" for score in scores))
    rows = [
        (
            line.name,
            str(line.rows),
            str(line.rows - line.right),
            f"{100 * line.ece:.1f}%",
            *(_area(line.aurocs[score]) for score in scores),
        )
        for line in report
    ]
    note = (
        "ECE: calibration error of the confidence, in ten bins. Other columns: AUROC of the confidence, of the\n"
        "confidence for an adapter without data (fitted on the other files), and of scores that need no fitting.\n"
        "-: all answers are right, or all wrong."
    )
    return text_table([heading, *rows], right=range(1, len(heading))) + f"\n{note}"


def _area(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def stopping_table(stopped: Sequence[Stopping]) -> str:
    rows = [
        (
            f"{each.threshold:.1f}",
            f"{each.lost} of {each.kept}",
            f"{each.wrong_stopped} of {each.wrong}",
            f"{100 * each.saved / max(each.tokens, 1):.0f}%",
        )
        for each in stopped
    ]
    return text_table(
        [
            ("GIVEN UP EARLY BELOW", "RIGHT AND TO BE KEPT", "WRONG", "TOKENS SAVED"),
            *rows,
        ],
        right=(0, 1, 2, 3),
    )


def kept_table(kept: Sequence[KeptShares], threshold: float) -> str:
    """The shares of answers kept at a threshold, with the app's fit and as a user's adapter."""
    heading = (
        "KEPT ON THE DEVICE",
        "OUT OF SCOPE",
        "CHAT",
        "RIGHT",
        "WRONG",
        *(["WITHOUT DATA:"] + [""] * 3),
    )
    rows = [
        (each.kind, *(_share(own) for own in (each.out, each.chat, each.right, each.wrong, *each.as_users)))
        for each in kept
    ]
    note = (
        f"Kept: confidence of at least {threshold:.2f}, the threshold of mode auto with a cloud as in the settings.\n"
        "Right, wrong: in scope. Without data: the same columns for an adapter that nothing was fitted for."
    )
    return text_table([heading, *rows], right=range(1, len(heading))) + f"\n{note}"


def _share(share: KeptCount) -> str:
    return f"{100 * share.kept / share.rows:.0f}% of {share.rows}" if share.rows else "-"


def ablation_table(parts: Sequence[Ablation]) -> str:
    """What each group of features gives."""
    heading = ("FEATURES", "AUROC", "ECE", "WITHOUT DATA", "ITS ECE")
    rows = [
        (
            each.name,
            _area(each.auroc),
            f"{100 * each.ece:.1f}%",
            _area(each.without_auroc),
            f"{100 * each.without_ece:.1f}%",
        )
        for each in parts
    ]
    return text_table([heading, *rows], right=range(1, len(heading)))
