"""Log-odds that are given take the place of the encoder's, for their own adapter and question alone."""

from __future__ import annotations

from edge_app.evaluation.left_out_scope import LeftOutScope
from models.question_encoder.scope import Tasks
from router.scope import OF_MODEL, WITHOUT_IMAGE


class AlwaysOne:
    def of_adapter(self, question: str, adapter: str) -> float | None:
        del question, adapter
        return 1.0

    def of_tasks(self, question: str, tasks: Tasks, who: str = OF_MODEL) -> float | None:
        del question, tasks, who
        return 1.0


def test_given_log_odds_count_for_their_adapter_or_for_the_plain_model() -> None:
    given = {("medical", "Who is ill?"): -3.0, ("photos", "Who took it?"): -4.0}
    scope = LeftOutScope(AlwaysOne(), given, ("medical", "charts"))
    assert scope.of_adapter("Who is ill?", "medical") == -3.0
    assert scope.of_adapter("Who is ill?", "charts") == 1.0
    assert scope.of_adapter("How many cells?", "medical") == 1.0
    assert scope.of_tasks("Who took it?", {"object": ["What is it?"]}) == -4.0
    assert scope.of_tasks("Who is ill?", {"object": ["What is it?"]}) == 1.0
    assert scope.of_tasks("Who took it?", {"fact": ["Who is it?"]}, WITHOUT_IMAGE) == 1.0
