"""The scope of questions by an encoder that was trained without their writers, for evaluations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from router.scope import OF_MODEL, QuestionScope

if TYPE_CHECKING:
    from models.question_encoder.scope import Tasks


class LeftOutScope:
    """As the app's own scope, but for questions whose log-odds are given.

    scope: the app's own. given: log-odds by (kind of image, question); a kind is the name of an adapter, or of images
    that the plain model answers about. adapters: the names of the adapters that may be asked for.
    """

    def __init__(
        self, scope: QuestionScope, given: Mapping[tuple[str, str], float], adapters: Collection[str]
    ) -> None:
        self._scope = scope
        self._given = given
        self._general = {question: value for (kind, question), value in given.items() if kind not in adapters}

    def of_adapter(self, question: str, adapter: str) -> float | None:
        known = self._given.get((adapter, question))
        return self._scope.of_adapter(question, adapter) if known is None else known

    def of_tasks(self, question: str, tasks: Tasks, who: str = OF_MODEL) -> float | None:
        known = self._general.get(question) if who == OF_MODEL else None
        return self._scope.of_tasks(question, tasks, who) if known is None else known
