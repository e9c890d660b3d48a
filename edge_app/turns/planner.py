"""Makes a turn ready to run: everything that can go wrong by the user's doing, before engine or cloud are needed.

Knows sessions, which adapters are installed, and what there is to know about places. Runs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from adapters.spec import parse_spec
from adapters.store.adapter_store import RESERVED, AdapterStore
from edge_app.cloud.access import Remote
from edge_app.costs.averages import PRIOR_LOCAL
from edge_app.costs.outlook import Outlook
from edge_app.settings import Settings
from edge_app.storage.sessions import SavedTurn, SavedTurnId, SessionStore
from edge_app.system.battery import battery
from edge_app.turn import Turn
from edge_app.turns.conversation import Pictures, assemble, assembled_again, new_images
from edge_app.turns.placement import PlacePlan
from edge_app.turns.planned_turn import Planned
from models.core.errors import UserError
from models.core.types import Message, Sampling
from router.choice import choose_as_asked
from router.names import Mode
from router.place_policy import Budgets, Scenario, scenario


class Planner:
    """sessions: None saves nothing. pictures: those that were read, for the life of the app."""

    def __init__(
        self,
        settings: Settings,
        sessions: SessionStore | None,
        adapters: AdapterStore,
        remote: Remote,
        outlook: Outlook,
    ) -> None:
        self.pictures = Pictures()
        self._settings = settings
        self._sessions = sessions
        self._adapters = adapters
        self._remote = remote
        self._outlook = outlook

    def plan(self, turn: Turn) -> Planned:
        """Raises UserError, and then nothing is saved."""
        started = time.perf_counter()
        installed = self._installed(turn.adapter)
        chosen = None  # "auto" looks at the images first
        if turn.adapter != "auto" or not installed:
            chosen = choose_as_asked(turn.adapter, installed)
        routed = time.perf_counter()
        if not turn.question.strip():
            raise UserError("The question is empty; ask something.")
        new = tuple(self.pictures.read(source) for source in turn.images)
        session = self._sessions.get(turn.session) if self._sessions and turn.session is not None else None
        messages = assemble(turn, new, session, self._settings.system, self.pictures)
        places = self._places(turn, messages, session.id if session else None)
        return Planned(
            turn=turn,
            session=session.id if session else None,
            messages=messages,
            new=new,
            sampling=_within(turn.sampling or self._settings.sampling(), places.scenario.budgets),
            installed=installed,
            choice=chosen,
            places=places,
            saved=None,
            started=started,
            route_ms=1000 * (routed - started),
        )

    def save(self, planned: Planned) -> Planned:
        """The question is on disk, where there are sessions."""
        if self._sessions is None:
            return planned
        turn = planned.turn
        saved = self._sessions.begin_turn(
            session=planned.session,
            question=turn.question,
            images=new_images(planned.new),
            system=turn.system if turn.system is not None or planned.session else self._settings.system,
        )
        return replace(planned, saved=saved)

    def scenario(self, mode: Mode) -> Scenario:
        """What the mode means now."""
        power = battery() if mode == "auto" else None
        on_battery = power is not None and not power.plugged
        return scenario(mode, on_battery, self._settings.weights(), self._settings.eco())

    def again(self, session: str, turn: int) -> tuple[Planned, SavedTurn]:
        """A saved turn, to be asked once more in the cloud. Raises UserError when there is none such."""
        started = time.perf_counter()
        if self._sessions is None:
            raise UserError("Nothing is saved here, so nothing can be asked again.")
        chat = self._sessions.get(session)
        saved = next((each for each in chat.turns if each.id == turn), None)
        if saved is None:
            raise UserError(f"The session {chat.id} has no turn {turn}.")
        mode = saved.result.mode if saved.result else self._settings.mode
        again = Turn(saved.question, session=chat.id, mode=mode)
        messages = assembled_again(chat, saved, self.pictures)
        places = self._places(again, messages, chat.id)
        planned = Planned(
            turn=again,
            session=chat.id,
            messages=messages,
            new=(),
            sampling=_within(self._settings.sampling(), places.scenario.budgets),
            installed=(),
            choice=None,
            places=places,
            saved=SavedTurnId(chat.id, saved.id),
            started=started,
            route_ms=0.0,
        )
        return planned, saved

    def _places(self, turn: Turn, messages: Sequence[Message], session: str | None) -> PlacePlan:
        """What the router's policy goes by. Averages matter where there is a choice."""
        remote = self._remote
        images = [image for message in messages for image in message.images]
        cloud, local = None, PRIOR_LOCAL
        if remote.is_set_up:
            cloud = self._outlook.of("cloud", None)
            local = self._outlook.of("local", None if turn.adapter in RESERVED else turn.adapter)
        standing = remote.standing(images, session, allow_cloud=turn.allow_cloud)
        return PlacePlan(self.scenario(turn.mode), standing, local, cloud, turn.allow_cloud)

    def _installed(self, adapter: str) -> tuple[str, ...]:
        """The adapters' names that matter to the choice: all of them only when there is one to make."""
        if adapter == "none":
            return ()
        if adapter != "auto":
            named = parse_spec(adapter).names
            if all(self._adapters.has(name) for name in named):
                return named
        return self._adapters.names()


def _within(sampling: Sampling, budgets: Budgets) -> Sampling:
    if budgets.tokens is None or sampling.max_tokens <= budgets.tokens:
        return sampling
    return replace(sampling, max_tokens=budgets.tokens)
