"""Questions and answers about scenes, on which the base LoRA is trained.

Every answer is derived from the head probabilities of a scene and from the facts about its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.training.classes import ClassName

if TYPE_CHECKING:
    from models.training.scenes import Scene  # imports torch

Turn = tuple[str, str]
MAIN_OBJECT = "What is the main object in this photo?"
NO_ARTICLE = frozenset(
    {
        "hay", "guacamole", "consomme", "carbonara", "eggnog", "espresso", "broccoli", "corn", "velvet",
        "wool", "binoculars", "sunglasses", "rapeseed", "brass", "clothing", "armour", "furniture",
        "kitchenware", "food", "paper", "shellfish", "sports equipment", "red wine", "mashed potato",
        "toilet tissue", "parallel bars", "swimming trunks", "chocolate sauce", "ice cream",
    }
)  # fmt: skip
PLACES = {
    "plain background": "against a plain background", "indoors": "indoors", "on a table": "on a table",
    "grass": "on the grass", "forest": "in a forest", "street": "in a street", "garden": "in a garden",
    "cage or zoo": "in a cage or a zoo", "field": "in a field", "by the water": "by the water",
    "building": "at a building", "rocks": "among rocks", "in the water": "in the water",
    "underwater": "under water", "beach": "on a beach", "kitchen": "in a kitchen", "snow": "in the snow",
    "road": "on a road", "sea": "at sea", "sky": "in the sky", "workshop": "in a workshop",
    "desert": "in a desert", "stage": "on a stage", "sports field": "on a sports field",
    "mountains": "in the mountains", "city": "in a city", "cave": "in a cave",
}  # fmt: skip
INDOORS = frozenset({"indoors", "on a table", "kitchen", "workshop", "stage"})
UNCLEAR = frozenset({"plain background", "cage or zoo", "cave"})


def article(name: str) -> str:
    """The name with "a" or "an", or alone where English has no article."""
    if name.lower() in NO_ARTICLE:
        return name
    start = name.lower()
    vowel = start[0] in "aeiou" and not start.startswith(("uni", "eu", "one"))
    return f"{'an' if vowel or start.startswith('hour') else 'a'} {name}"


def listed(words: Sequence[str]) -> str:
    return " and ".join(words)


class Talk:
    """Draws dialogues about one scene."""

    def __init__(self, scene: Scene, everything: Sequence[ClassName], rng: np.random.Generator) -> None:
        self._scene = scene
        self._everything = everything
        self._rng = rng
        self._name = scene.best.name
        self._kind = scene.best.kind

    def dialogue(self, turns: int) -> list[Turn]:
        """An opening question and follow-ups, no kind of question twice."""
        openers: list[tuple[float, Callable[[], Turn]]] = [
            (6, self._bare), (3, self._what), (5, self._describe), (2, self._colour), (2, self._yes_no),
            (1, self._place), (0.7, self._people), (0.5, self._cannot), (0.7, self._kind_of),
        ]  # fmt: skip
        later: list[tuple[float, Callable[[], Turn]]] = [
            (3, self._colour), (1.5, self._background), (2, self._place), (3, self._yes_no),
            (1, self._people),
            (1.5, self._sure), (5, self._fact), (1, self._kind_of), (1, self._cannot), (1, self._bare),
            (1, self._describe),
        ]  # fmt: skip
        said = [self._draw(openers)]
        chosen = [later[i] for i in self._rng.permutation(len(later))]
        while len(said) < turns and chosen:
            question, answer = self._draw(chosen, remove=True)
            if question not in [each for each, _ in said] and answer not in [each for _, each in said]:
                said.append((question, answer))
        return said

    def _draw(self, options: list[tuple[float, Callable[[], Turn]]], remove: bool = False) -> Turn:
        weights = np.array([weight for weight, _ in options])
        index = int(self._rng.choice(len(options), p=weights / weights.sum()))
        make = options.pop(index)[1] if remove else options[index][1]
        return make()

    def _pick(self, *choices: str) -> str:
        return choices[int(self._rng.integers(len(choices)))]

    def _bare(self) -> Turn:
        question = self._pick(
            MAIN_OBJECT, MAIN_OBJECT, MAIN_OBJECT, "What is the main object in this image?",
            "Name the main object.", "What is the main subject of this picture? Answer with its name.",
            "Which object does the photo show? Just the name.", "Name what you see in a word or two.",
        )  # fmt: skip
        return question, self._name

    def _what(self) -> Turn:
        question = self._pick(
            "What is in this picture?", "What is this?", "What do you see?", "What does this photo show?",
            "What can you see in the image?", "Can you tell me what this is?", "what's this",
            "What is in the photo?",
        )  # fmt: skip
        kind = self._kind.word
        more = "" if kind in ("object", "structure") or kind in self._name.lower() else f", a kind of {kind}"
        start = self._pick("The photo shows", "This is", "It is", "I see")
        return question, f"{start} {article(self._name)}{more if self._rng.random() < 0.4 else ''}."

    def _describe(self) -> Turn:
        question = self._pick(
            "Describe this photo.", "Describe this photo in one sentence.", "Describe the image.",
            "Describe this picture in detail.", "What is happening in this photo?",
            "Give me a short description.",
            "Tell me about this photo.", "Write a caption for this image.",
        )  # fmt: skip
        scene = self._scene
        place = "" if self._kind.word == "landscape" else f" {PLACES[scene.setting]}"
        colours = listed(scene.colours("colour"))
        subject = article(f"{colours} {self._name}")
        if self._name.lower() in NO_ARTICLE:
            subject = f"{colours} {self._name}"
        answer = f"The photo shows {subject}{place}."
        if "sentence" not in question and "caption" not in question:
            answer += f" The background is mostly {listed(scene.colours('background'))}."
            if scene.people:
                answer += " There seem to be people in the picture."
        return question, answer

    def _colour(self) -> Turn:
        thing = self._pick("it", f"the {self._name}", f"the {self._name}", f"the {self._kind.word}")
        colours = listed(self._scene.colours("colour"))
        question = self._pick(
            f"What colour is {thing}?", f"What color is {thing}?", "Which colours does it have?"
        )
        subject = "It" if thing == "it" or question.startswith("Which") else thing.capitalize()
        if subject != "It":
            subject = "The" + thing[3:]
        return question, f"{subject} is mostly {colours}."

    def _background(self) -> Turn:
        question = self._pick(
            "What colour is the background?", "What is in the background?", "And the background?"
        )
        colours = listed(self._scene.colours("background"))
        return question, f"The background is mostly {colours}."

    def _place(self) -> Turn:
        place = self._scene.setting
        if self._rng.random() < 0.5:
            question = self._pick(
                "Is this indoors or outdoors?",
                "Was the photo taken indoors or outdoors?",
                "Is it inside or outside?",
            )
            if place in UNCLEAR:
                return question, f"I cannot tell for sure: it is {PLACES[place]}."
            if place == "indoors":
                return question, "It is indoors."
            return question, f"It is {'indoors' if place in INDOORS else 'outdoors'}, {PLACES[place]}."
        question = self._pick(
            "Where was this photo taken?",
            f"Where is the {self._name}?",
            "Where is it?",
            "What is the setting?",
        )
        return question, f"It seems to be {PLACES[place]}."

    def _yes_no(self) -> Turn:
        yes = self._rng.random() < 0.5
        style = self._rng.random()
        if style < 0.3:
            return self._group_question(yes)
        use_kind = style < 0.55 and self._kind.word not in ("object", "structure")
        asked = (self._kind.word if use_kind else self._name) if yes else self._other(use_kind)
        question = self._pick(
            f"Is this {article(asked)}?", f"Is there {article(asked)} in the photo?",
            f"Does the photo show {article(asked)}?", f"Is it {article(asked)}?",
            f"Can you see {article(asked)}?",
        )  # fmt: skip
        if yes:
            return question, f"Yes, it is {article(self._name)}."
        return question, f"No, it is {article(self._name)}."

    def _other(self, kind: bool) -> str:
        while True:
            near = self._rng.random() < 0.35 and not kind
            other = (
                self._scene.second
                if near
                else self._everything[int(self._rng.integers(len(self._everything)))]
            )
            if kind and other.kind.word not in (self._kind.word, "object", "structure", "animal", "mammal"):
                return other.kind.word
            if not kind and other.name != self._name:
                return other.name

    def _group_question(self, yes: bool) -> Turn:
        named = {"animal": "an animal", "plant": "a plant", "food": "food", "place": "a place or a building"}
        group = self._kind.group
        if yes and group in named:
            return f"Is this {named[group]}?", f"Yes, it is {article(self._name)}."
        options = [text for key, text in named.items() if key != group and {key, group} != {"food", "plant"}]
        return f"Is this {self._pick(*options)}?", f"No, it is {article(self._name)}."

    def _people(self) -> Turn:
        question = self._pick(
            "Are there people in the photo?", "Do you see any people?", "Is there a person in the picture?"
        )
        return question, ("Yes, there seem to be people." if self._scene.people else "No, I see no people.")

    def _sure(self) -> Turn:
        question = self._pick("How sure are you?", "Are you sure?", "Could it be something else?")
        best, second = article(self._name), article(self._scene.second.name)
        if self._scene.sureness > 0.9:
            return question, f"I am quite sure: it is {best}."
        if self._scene.sureness > 0.55:
            return question, f"Fairly sure: it is most likely {best}, but it could be {second}."
        return question, f"Not very sure: it looks like {best}, but it could well be {second}."

    def _kind_of(self) -> Turn:
        noun = self._kind.group if self._kind.group in ("animal", "plant", "food") else "thing"
        question = self._pick(
            f"What kind of {noun} is it?", f"What kind of {noun} is this?", "What sort of thing is it?"
        )
        if self._kind.word in ("object", "structure", "animal") or self._kind.word in self._name.lower():
            return question, f"It is {article(self._name)}."
        return question, f"It is {article(self._kind.word)}: {article(self._name)}."

    def _fact(self) -> Turn:
        facts, name = self._kind.facts, article(self._name)
        questions = {
            "eat": ("What do they eat?", "What does it eat?", f"What does {name} eat?"),
            "live": ("Where do they live?", f"Where does {name} live?", "Where are they found?"),
            "use": ("What is it used for?", f"What is {name} used for?", "What is it for?"),
            "made": ("What is it made of?", "How is it made?"),
            "fact": (
                "Tell me something interesting about it.", "Tell me one interesting thing about it.",
                "What should I know about it?", "Tell me more.", "Tell me a fun fact about it.",
            ),
        }  # fmt: skip
        key = self._pick(*facts)
        return self._pick(*questions[key]), facts[key]

    def _cannot(self) -> Turn:
        style = self._rng.random()
        if style < 0.4:
            question = self._pick(
                "What does the text say?", "Read the text in the photo.", "What is written on it?"
            )
            return question, "I cannot read text in photos."
        if style < 0.8:
            question = self._pick(
                "How many are there?", "How many of them do you see?", "How many objects do you see?"
            )
            return question, f"I cannot count well; I see at least one {self._name}."
        question = self._pick(
            "Who is this?", "Who is the person in the photo?", "Where exactly was it taken?"
        )
        return question, "I cannot tell that from the photo."
