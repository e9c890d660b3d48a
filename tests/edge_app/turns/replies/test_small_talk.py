"""Greetings and questions about the assistant: what is recognised, and what is about something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.turns.replies.assistant_profile import AdapterFacts, AssistantProfile
from edge_app.turns.replies.small_talk import MOST_ADAPTERS, Topic, reply, topic

PROFILE = AssistantProfile(
    model="tiny-vlm",
    description="Tiny-135M with a vision encoder: names things",
    languages=frozenset(("en",)),
    adapters=(AdapterFacts("receipts", "Reads receipts.", ()),),
    endpoint=None,
    offline=False,
)

ABOUT_THE_ASSISTANT: list[tuple[Topic, str]] = [
    ("greeting", "hi"),
    ("greeting", "Hello!"),
    ("greeting", "hey there :)"),
    ("greeting", "Good morning"),
    ("greeting", "Hi, how are you?"),
    ("identity", "who are you?"),
    ("identity", "Who r u"),
    ("identity", "Hi, who are you?"),
    ("identity", "Hello. Can you tell me what your name is?"),
    ("identity", "what's your name"),
    ("identity", "Which model are you?"),
    ("identity", "Who made you?"),
    ("identity", "Are you an AI?"),
    ("identity", "Tell me about yourself."),
    ("human", "Are you a real person?"),
    ("product", "are you ChatGPT?"),
    ("product", "Are you GPT-4?"),
    ("product", "so are you really Claude"),
    ("product", "Is this ChatGPT?"),
    ("abilities", "what can you do?"),
    ("abilities", "Wat can u do for me"),
    ("abilities", "How can you help me?"),
    ("abilities", "help"),
    ("abilities", "Which adapters do you have?"),
    ("online", "are you online?"),
    ("online", "Are you connected to the internet?"),
    ("online", "Do you send my photos to the cloud?"),
    ("online", "Do you work offline?"),
    ("attaching", "How do I attach an image?"),
    ("attaching", "Can you see images?"),
]

ABOUT_SOMETHING_ELSE = [
    "hi, what is the total?",
    "Hello, what is this?",
    "hello world in python",
    "Write hi in German",
    "good morning in French",
    "who are you looking at?",
    "Who are your parents' cousins to you?",
    "Who is this?",
    "What is this?",
    "what are you supposed to do with it?",
    "What is your favourite colour?",
    "What is her name?",
    "what can you do with lemons?",
    "What can you do about rust on a bike?",
    "What do you do when it rains?",
    "How can you help a choking person?",
    "Which model is this car?",
    "what model is this",
    "Who made this?",
    "Who built it?",
    "What is ChatGPT?",
    "Are you sure?",
    "Are you sure it is a cat?",
    "are they online?",
    "Is this online?",
    "Are the people in it real?",
    "How do I attach a file to an email?",
    "Can you see the dog?",
    "Can you read the sign?",
    "Do you see a cat?",
    "Help me write an email.",
    "How do I upload a photo to Instagram?",
    "thanks",
    "why?",
    "",
]

ABOUT_THE_IMAGE = ["Is this ChatGPT?", "Can you see images?", "Help me", "How do I attach a photo?"]


@pytest.mark.parametrize(("expected", "text"), ABOUT_THE_ASSISTANT)
def test_a_question_about_the_assistant_is_recognised(expected: Topic, text: str) -> None:
    found = topic(text, has_image=False)
    assert found is not None
    assert found[0] == expected


@pytest.mark.parametrize("has_image", [False, True])
@pytest.mark.parametrize("text", ABOUT_SOMETHING_ELSE)
def test_a_question_about_something_else_is_left_to_the_model(text: str, has_image: bool) -> None:
    assert topic(text, has_image=has_image) is None


@pytest.mark.parametrize("text", ABOUT_THE_IMAGE)
def test_with_an_image_only_plain_questions_are_about_the_assistant(text: str) -> None:
    assert topic(text, has_image=False) is not None
    assert topic(text, has_image=True) is None
    assert topic("hi", has_image=True) is not None
    assert topic("who are you?", has_image=True) is not None


def test_a_long_text_and_one_of_several_lines_are_no_small_talk() -> None:
    assert topic("hi " * 100, has_image=False) is None
    assert topic("hi\nwho are you?", has_image=False) is None


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    topic(text, has_image=True)


def said(text: str, profile: AssistantProfile = PROFILE) -> str:
    found = topic(text, has_image=False)
    assert found is not None
    return reply(*found, profile)


def test_the_reply_names_the_model_and_says_that_it_runs_here() -> None:
    text = said("who are you?")
    assert "tiny-vlm (Tiny-135M with a vision encoder)" in text
    assert "this device" in text


@pytest.mark.parametrize(
    ("question", "beginning"),
    [
        ("are you ChatGPT?", "No. I am edge-app"),
        ("are you Tiny-135M", None),
        ("are you human?", "I am a program"),
    ],
)
def test_another_product_and_a_person_are_denied(question: str, beginning: str | None) -> None:
    if beginning is None:
        assert topic(question, has_image=False) is None
    else:
        assert said(question).startswith(beginning)


def test_the_model_s_own_maker_s_name_is_not_denied() -> None:
    profile = AssistantProfile("edge", "SmolLM2-135M-Instruct", frozenset(), (), None, False)
    assert said("are you SmolLM2?", profile).startswith("In part.")


def test_the_abilities_name_the_adapters_and_how_to_attach_an_image() -> None:
    text = said("what can you do?")
    assert "- receipts: Reads receipts." in text
    assert "Ctrl+O" in text and "--image" in text
    many = tuple(AdapterFacts(f"a{number}", "Does it.", ()) for number in range(MOST_ADAPTERS + 3))
    assert "and 3 more" in said("what can you do?", AssistantProfile("m", "", frozenset(), many, None, False))


@pytest.mark.parametrize(
    ("endpoint", "offline", "sentence"),
    [
        (None, False, "No cloud is set up"),
        (
            "the cloud at api.example.org",
            False,
            "The cloud at api.example.org is set up; a question or an image goes",
        ),
        ("the cloud at api.example.org", True, "the app is offline"),
    ],
)
def test_what_leaves_this_device_is_told(endpoint: str | None, offline: bool, sentence: str) -> None:
    profile = AssistantProfile("m", "", frozenset(), (), endpoint, offline)
    assert sentence in said("are you online?", profile)
