"""Plans a turn: checks everything that the user can get wrong and gathers the conversation.

Runs before the engine or the endpoint is needed, and saves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from adapters.spec import parse_spec
from adapters.store.adapter_store import RESERVED, AdapterStore
from edge_app.answer import Answer
from edge_app.cloud.access import CloudAccess
from edge_app.costs.averages import PRIOR_LOCAL, CostAverages
from edge_app.engine.adapter_bases import AdapterBases
from edge_app.events import Turn
from edge_app.schemas.answer_schema import AnswerSchema, parse_schema
from edge_app.settings import Settings
from edge_app.storage.session_records import SavedTurn
from edge_app.storage.sessions import SessionStore
from edge_app.system.battery import battery
from edge_app.turns.conversation import answered_turns, assemble, assembled_again, latest_answer
from edge_app.turns.images.detailed_images import focus_with_detail
from edge_app.turns.images.image_focus import ImageFocus, image_in_question
from edge_app.turns.images.pictures import Pictures, ReadPicture
from edge_app.turns.placement import PlacePlan
from edge_app.turns.replies.assistant_profile import AssistantProfile, read_profile
from edge_app.turns.replies.built_in_replies import built_in_reply
from edge_app.turns.replies.text_requests import asks_for_all_text
from edge_app.turns.structured.instruction import default_question
from models.core.errors import UserError
from models.core.types import Message, Sampling
from router.choice import Choice, choose_as_asked
from router.place_policy import Budgets, Scenario, scenario
from router.types import Mode, Reason


@dataclass(frozen=True)
class PlannedTurn:
    """A turn that is ready to run.

    session: id of the session that it continues; None for a new one, or when nothing is saved.
    system: the system prompt to save with the question; None leaves the session's as it is.
    messages: the whole conversation, this question last. new: the images of this turn.
    focus: the image that the question is about, and the conversation as the model on this device reads it.
    alone: the same for a model that sees one image at once, which may run an adapter; `focus` where that is no other.
    previous: the answer before, which "are you sure?" is about; None without one.
    installed: names of the installed adapters that the choice is among. coming: those that come with the app and are
        installed before that choice.
    choice: None when the router chooses, which needs the engine.
    model: the name of the chosen model, which answers where no adapter does. base: of the model that runs `choice`; the
        chosen one while there is no choice.
    started: `time.perf_counter()` when the turn was handed over. route_ms: milliseconds that `choice` took.
    profile: reads what the assistant can say about itself.
    schema: what the answer has to fit; None for an answer in plain text.
    """

    turn: Turn
    session: str | None
    system: str | None
    messages: tuple[Message, ...]
    new: tuple[ReadPicture, ...]
    focus: ImageFocus
    alone: ImageFocus
    sampling: Sampling
    installed: tuple[str, ...]
    coming: tuple[str, ...]
    choice: Choice | None
    places: PlacePlan
    model: str
    base: str
    started: float
    route_ms: float
    profile: Callable[[], AssistantProfile]
    previous: Answer | None = None
    schema: AnswerSchema | None = None

    @property
    def choosable(self) -> tuple[str, ...]:
        """Names of the adapters that the choice will be among: those installed, and those that are coming."""
        return tuple(dict.fromkeys((*self.installed, *self.coming)))

    @property
    def asks_for_text(self) -> bool:
        """Whether the answer is the text in the image in question. No model and no adapter takes part in it."""
        if self.schema is not None or not self.turn.see_images or self.focus.image is None:
            return False
        return asks_for_all_text(self.turn.question)

    def elapsed(self) -> float:
        """Milliseconds since the turn was handed over."""
        return 1000 * (time.perf_counter() - self.started)


class Planner:
    """Plans turns. sessions: None saves nothing. pictures: decoded images, kept for the life of the app.

    coming: tells by the name of the chosen model which adapters are installed before the next choice.
    model: the name of the model that answers on this device; it may be changed between turns.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionStore | None,
        adapters: AdapterStore,
        bases: AdapterBases,
        cloud: CloudAccess,
        costs: CostAverages,
        coming: Callable[[str], tuple[str, ...]],
    ) -> None:
        self.pictures = Pictures(saves=sessions is not None)
        self.model = settings.model
        self._bases = bases
        self._settings = settings
        self._sessions = sessions
        self._adapters = adapters
        self._cloud = cloud
        self._costs = costs
        self._coming = coming

    def plan(self, turn: Turn) -> PlannedTurn:
        """Raises UserError for anything the user got wrong."""
        started = time.perf_counter()
        turn, schema = _with_schema(turn)
        model = turn.model or self.model
        self._bases.check(model)
        coming = self._coming(model) if turn.adapter == "auto" else ()
        installed, choice = self._adapters_to_choose(turn.adapter, model, coming)
        base = self._bases.of(choice.adapter if choice else None, model)
        routed = time.perf_counter()
        if not turn.question.strip():
            raise UserError("The question is empty; ask something.")
        new = tuple(read for source in turn.images for read in self.pictures.read(source))
        session = self._sessions.get(turn.session) if self._sessions and turn.session is not None else None
        messages = assemble(turn, new, session, self._settings.system, self.pictures)
        places = self._places(turn, model, messages, session.id if session else None)
        focus, alone = self._foci(base, turn, messages, session.turns if session else (), len(new))
        if choice is None and focus.obstacle is None and alone.obstacle == "several_images":
            choice = Choice(None, None, Reason("adapters_see_one_image"))
        planned = PlannedTurn(
            turn=turn,
            session=session.id if session else None,
            system=turn.system if turn.system is not None or session else self._settings.system,
            messages=messages,
            new=new,
            focus=focus,
            alone=alone,
            sampling=_within(turn.sampling or self._settings.sampling(), places.scenario.budgets),
            installed=installed,
            coming=coming,
            choice=choice,
            places=places,
            model=model,
            base=base,
            started=started,
            route_ms=1000 * (routed - started),
            profile=partial(read_profile, model, self._adapters, places.standing),
            previous=latest_answer(session.turns if session else ()),
            schema=schema,
        )
        if schema is not None:
            built_in_reply(planned)  # raises UserError where the schema allows no reply
        return planned

    def plan_again(self, session: str, turn: int) -> tuple[PlannedTurn, SavedTurn]:
        """A saved turn, planned for the cloud. Raises UserError when there is no such turn."""
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
        places = self._places(again, self.model, messages, chat.id)
        earlier = [each for each in chat.turns if each.id < turn]
        focus, alone = self._foci(self.model, again, messages, earlier, len(saved.images))
        planned = PlannedTurn(
            turn=again,
            session=chat.id,
            system=None,
            messages=messages,
            new=(),
            focus=focus,
            alone=alone,
            sampling=_within(self._settings.sampling(), places.scenario.budgets),
            installed=(),
            coming=(),
            choice=None,
            places=places,
            model=self.model,
            base=self.model,
            started=started,
            route_ms=0.0,
            profile=partial(read_profile, self.model, self._adapters, places.standing),
        )
        return planned, saved

    def scenario(self, mode: Mode) -> Scenario:
        """The mode under the present conditions: mode auto depends on whether the device runs on battery."""
        power = battery() if mode == "auto" else None
        on_battery = power is not None and not power.plugged
        return scenario(mode, on_battery, self._settings.weights(), self._settings.eco())

    def _foci(
        self, model: str, turn: Turn, messages: Sequence[Message], earlier: Sequence[SavedTurn], new: int
    ) -> tuple[ImageFocus, ImageFocus]:
        """The focus for a model, and for one that sees one image at once.

        earlier: the turns of the session before this one. new: how many images came with the question.
        """
        detail, answered = turn.detail or self._settings.image_detail, answered_turns(earlier)
        several = sum(len(message.images) for message in messages) > 1
        at_once = self._bases.images_at_once(model) if several else 1
        alone = focus_with_detail(image_in_question(messages, answered, new=new), detail)
        if at_once == 1:
            return alone, alone
        together = image_in_question(messages, answered, new=new, images_at_once=at_once)
        return focus_with_detail(together, detail), alone

    def _places(self, turn: Turn, model: str, messages: Sequence[Message], session: str | None) -> PlacePlan:
        """The averages are read only when an endpoint is set up."""
        images = [image for message in messages for image in message.images]
        expected_cloud, expected_local = None, PRIOR_LOCAL
        if self._cloud.is_set_up:
            expected_cloud = self._costs.of("cloud", None)
            adapter = None if turn.adapter in RESERVED else turn.adapter
            expected_local = self._costs.of("local", adapter, model)
        standing = self._cloud.standing(images, session, allow_cloud=turn.allow_cloud)
        return PlacePlan(self.scenario(turn.mode), standing, expected_local, expected_cloud, turn.allow_cloud)

    def _adapters_to_choose(
        self, asked: str, model: str, coming: tuple[str, ...]
    ) -> tuple[tuple[str, ...], Choice | None]:
        """The installed adapters that the choice is among, and the choice if it needs no router.

        Raises UserError when an adapter that was asked for is not installed.
        """
        installed = self._installed(asked)
        if asked == "auto" and not self._bases.is_here(self._bases.embedded, model):
            return (), Choice(None, None, Reason("router_not_here", {"model": self._bases.embedded}))
        if asked != "auto":
            return installed, choose_as_asked(asked, installed)
        usable = self._bases.usable(installed, model)
        return usable, None if usable or coming else choose_as_asked("auto", ())

    def _installed(self, adapter: str) -> tuple[str, ...]:
        """The adapters to choose among; only those that the user named when all of them are installed."""
        if adapter == "none":
            return ()
        if adapter != "auto":
            named = parse_spec(adapter).names
            if all(self._adapters.has(name) for name in named):
                return named
        return self._adapters.names()


def _with_schema(turn: Turn) -> tuple[Turn, AnswerSchema | None]:
    """The turn, with a question if it has only a schema; and the schema. Raises UserError when it cannot be used."""
    if turn.schema is None:
        return turn, None
    schema = parse_schema(turn.schema)
    if turn.sampling is not None and turn.sampling.stop:
        raise UserError(
            "A stop sequence would cut an answer that has to fit a schema; leave one of them out."
        )
    return turn if turn.question.strip() else replace(turn, question=default_question(schema)), schema


def _within(sampling: Sampling, budgets: Budgets) -> Sampling:
    if budgets.tokens is None or sampling.max_tokens <= budgets.tokens:
        return sampling
    return replace(sampling, max_tokens=budgets.tokens)
