"""What questions say about images: labelled questions of both kinds."""

from __future__ import annotations

import pytest

from edge_app.turns.images.image_references import about_this_image, is_about_several, named, needs_image

NAMES = ("cat.jpg", "IMG_1234.png", "coffee.jpg")
"""Three images were shown; the question is about the last one if it names none."""

NAMED = {
    "What is in the first photo?": 0,
    "what was in the 1st pic": 0,
    "Describe the first image again.": 0,
    "and the second one?": 1,
    "The second?": 1,
    "And what about the first?": 0,
    "Tell me more about photo 2": 1,
    "What is shown in image #1?": 0,
    "What colour was the car in picture one?": 0,
    "Is the previous image brighter?": 1,
    "What was in the photo before?": 1,
    "What did the picture I sent earlier show?": 1,
    "What is in the last photo?": 2,
    "Go back to IMG_1234.png: what is it?": 1,
    "And cat.jpg?": 0,
    "What is the total on the first receipt?": 0,
    "What does the third chart show?": 2,
    "What is in the most recent picture?": 2,
}

UNNAMED = (
    "What is this?",
    "What is the first word on the sign?",
    "Which is the second one from the left?",
    "Is it 2 metres tall?",
    "Is there a cat in it?",
    "What is the first thing you see?",
    "Who took the last train?",
    "Who was the first?",
    "What is the photo 3.5 about?",
    "What happened before the photo was taken?",
    'What does "the first photo" mean?',
    "What is on the other side?",
)

SEVERAL = (
    "compare them",
    "Compare the two photos.",
    "Can you compare?",
    "which of the two is older",
    "Which of them is bigger?",
    "What is the difference between the photos?",
    "what's the difference?",
    "spot the differences",
    "What do they have in common?",
    "Are they the same?",
    "Are these the same animal?",
    "Which one is older?",
    "Which photo is better?",
    "which is bigger",
    "What is in these pictures?",
    "Describe both images.",
    "Is it bigger than the one in the first photo?",
    "Is this the same dog as in the previous picture?",
    "How do the first photo and the second one differ?",
    "How are they different?",
    "Which of these photos is the sharpest?",
    "Is the dog in photo 1 older than the dog in photo 2?",
    "Do both pictures show a dog?",
    "Summarise all three images.",
)

NOT_SEVERAL = (
    "What is this?",
    "What is the difference between a cat and a dog?",
    "Compare it to a dog.",
    "What is the same in German?",
    "What is in the first photo?",
    "And its colour?",
    "Are you sure?",
    "Which animal is this?",
    "Which is the capital of France?",
    "Are both animals brown?",
    "How many of the cells are red?",
    "Is it bigger than a horse?",
    "Do they look happy?",
    "Which of these cells is the largest?",
    "Which is longer, a mile or a yard?",
    "Which is the number of white cells?",
    "Are there any of those small ones?",
    "Compare these bars.",
    "Are these cells different from healthy ones?",
    "What is the difference between the two bars?",
    "Add all of them up.",
    "How many pictures hang on the wall?",
)

NEEDED = (
    "What is in this photo?",
    "what's in this pic",
    "Describe this image.",
    "Describe the picture.",
    "describe the image in detail please",
    "What is in the attached image?",
    "Read the text in this screenshot",
    "Who is the man in the picture?",
    "What colour is the car in the photo?",
    "How many people are in the photo?",
    "Is there a dog in the image?",
    "What does the picture show?",
    "What is the photo about?",
    "Caption this photo",
    "What breed is the dog in this picture?",
    "Where was this photo taken?",
    "Look at the picture I attached and tell me the total.",
    "What do you see in the image?",
    "Summarise the attached screenshot.",
    "what are these pictures of",
    "Is this image real?",
    "In the photo, what is the woman holding?",
    "Can you describe the photo for me?",
    "Write a caption for this photo.",
    "What's wrong with this picture?",
    "When was the photo taken?",
    "Which bird is in that picture?",
    "whats the text in the screenshot",
    "Extract the date from the attached scan.",
    "Do you like this picture?",
    "Would you say the person in the photo is old?",
    "what is the main colour of the image",
    "Can you see the dog in the photo?",
    "Give me the date on the scan.",
    "Translate the text in this image",
    "Give me a one sentence description of the image.",
    "I attached a photo, what is it?",
    "Please identify the bird in the photo.",
    "does the picture have a dog in it",
    "Is the man in the photo smiling?",
    "Here is a photo. What is it?",
    "What does the code in this screenshot do?",
    "can u tell me what this picture shows?",
    "Extract the total from the image.",
)

ORDINARY = (
    "How do I take a good photo?",
    "What is the best photo format?",
    "How big is an image file?",
    "What is image processing?",
    "Who painted the Mona Lisa?",
    "Write a poem about a photo.",
    "Translate: What is in this photo?",
    'How do you say "What is in this picture?" in French?',
    "What is the big picture?",
    "Which camera makes the best pictures?",
    "Can you see images?",
    "How do I attach an image?",
    "How do I run this docker image?",
    "Write HTML that shows the picture in the middle.",
    "What is the difference between a photo and a picture?",
    "How do I resize images in Python?",
    "Who took the first photo?",
    "When was the first photograph taken?",
    "Who wrote The Picture of Dorian Gray?",
    "What does a screenshot show?",
    "Explain the image format PNG.",
    "Why are old photos yellow?",
    "How do I delete this photo album?",
    "How do I take a screenshot on a Mac?",
    "Tell me a joke about photographers.",
    "What is a mental image?",
    "Is a picture worth a thousand words?",
    "How can I print photos at home?",
    "How do I make the photo brighter?",
    "My photos are blurred, what can I do?",
    "What is the image of a linear map?",
    "Give me tips for the photo contest.",
    "Who is in charge of image rights?",
    "Explain the picture frame market.",
    "Where are photos stored on my phone?",
    "Give it a shot.",
    "How can I fix the red eyes in the photo?",
    "Write a text that goes with the man in the photo.",
    "Is writing on the picture frame allowed?",
    "What is the average price of the image rights?",
    "I want to frame this picture I painted, which frame fits?",
    "Who is in the photo Lunch atop a Skyscraper?",
    "Should I smile in my passport photo?",
    "How do I remove the background in the photo editor?",
    "Is there a frog in the picture of the swamp by Monet?",
    "How do I get the photo from my phone to my laptop?",
    "How much does this scanner cost?",
    "What is a good caption for a beach photo?",
)


@pytest.mark.parametrize("question", NAMED)
def test_the_image_that_a_question_names_is_found(question: str) -> None:
    assert named(question, NAMES, current=2) == {NAMED[question]}
    assert not is_about_several(question, named(question, NAMES, current=2), current=2)


@pytest.mark.parametrize("question", UNNAMED)
def test_a_question_without_a_reference_names_no_image(question: str) -> None:
    assert named(question, NAMES, current=2) == frozenset()


def test_the_other_of_two_is_the_one_that_is_not_in_question() -> None:
    assert named("What is in the other picture?", NAMES[:2], current=1) == {0}
    assert named("What is in the other picture?", NAMES[:2], current=0) == {1}
    assert named("And the other one?", NAMES, current=2) == {1}


def test_the_other_image_that_comes_with_the_question_is_that_one() -> None:
    assert named("And this other photo, what is in it?", NAMES[:2], current=1, new=1) == {1}
    assert named("And the other photo, what is in it?", NAMES[:2], current=1, new=1) == {1}
    assert named("And in this second photo?", NAMES, current=2, new=1) == {2}
    for question in ("Is it bigger than the last one?", "Is this one bigger than the other one?"):
        assert is_about_several(question, named(question, NAMES[:2], current=1, new=1), current=1, new=1)


def test_an_image_that_was_not_shown_is_not_named() -> None:
    assert named("What is in the fourth photo?", NAMES, current=2) == frozenset()
    assert named("What is in the previous photo?", NAMES[:1], current=0) == frozenset()


def test_numbers_count_the_images_of_a_question_that_brings_several() -> None:
    assert named("What is in image 2?", NAMES, current=2, new=2) == {2}
    assert named("What is in the first one?", NAMES, current=2, new=2) == {1}
    assert named("What is in the first one?", NAMES, current=2, new=1) == {0}


@pytest.mark.parametrize(
    ("question", "position"),
    [
        ("Image 1 and image 2: what is in the second one?", 1),
        ("What is in image 1 and image 2, the first one?", 0),
        ("the second?", 1),
    ],
)
def test_an_order_chooses_among_the_images_that_came_with_the_question(question: str, position: int) -> None:
    found = named(question, NAMES[:2], current=1, new=2)
    assert found == {position}
    assert not is_about_several(question, found, current=1, new=2)


def test_a_comparison_by_number_and_order_stays_one() -> None:
    question = "Compare image 1 and image 2: is the second one bigger?"
    assert named(question, NAMES[:2], current=1, new=2) == {0, 1}


@pytest.mark.parametrize("question", SEVERAL)
def test_a_comparison_is_about_several_images(question: str) -> None:
    assert is_about_several(question, named(question, NAMES, current=2), current=2)


def test_the_smallest_of_a_new_image_is_a_thing_in_it() -> None:
    question = "Which one is the smallest?"
    assert is_about_several(question, frozenset(), current=1, new=0)
    assert not is_about_several(question, frozenset(), current=1, new=1)
    assert is_about_several("Which photo is sharper?", frozenset(), current=1, new=1)


@pytest.mark.parametrize("question", NOT_SEVERAL)
def test_other_questions_are_about_one_image(question: str) -> None:
    assert not is_about_several(question, named(question, NAMES, current=2), current=2)


@pytest.mark.parametrize("question", NEEDED)
def test_a_question_about_an_attached_image_needs_one(question: str) -> None:
    assert needs_image(question)


@pytest.mark.parametrize("question", ORDINARY)
def test_an_ordinary_question_needs_no_image(question: str) -> None:
    assert not needs_image(question)


def test_the_photo_that_was_talked_about_needs_no_attachment() -> None:
    assert not needs_image("Who is in the photo?", ["I sold a photo yesterday.", "Congratulations!"])
    assert needs_image("Who is in this photo?", ["I sold a photo yesterday.", "Congratulations!"])
    assert needs_image("Who is in the photo?", ["Hello.", "Hello! How can I help?"])


def test_a_long_text_is_not_searched() -> None:
    assert not needs_image("Summarise: " + "she looked at it for a while " * 10 + "in this photo")


@pytest.mark.parametrize(
    ("question", "reduced"),
    [
        ("What is in the first image?", "What is in this image?"),
        ("What is the total of the previous receipt?", "What is the total of this receipt?"),
        ("Who won the second world war?", "Who won the second world war?"),
        ("What is in this photo?", "What is in this photo?"),
    ],
)
def test_the_place_of_an_image_is_no_part_of_what_is_asked(question: str, reduced: str) -> None:
    assert about_this_image(question) == reduced


@pytest.mark.parametrize(
    ("question", "shown", "reduced"),
    [
        ("What is the total on page 2?", 3, "What is the total on this page?"),
        ("What does the page no. 3 say?", 3, "What does this page say?"),
        ("What is in Image two?", 2, "What is in this Image?"),
        ("What is the total on page 2?", 1, "What is the total on page 2?"),
        ("What is on page 12?", 3, "What is on page 12?"),
        ("Image 1 and image 2: what is in the last one?", 2, "Image 1 and image 2: what is in the last one?"),
    ],
)
def test_so_is_the_number_of_an_image_that_was_shown(question: str, shown: int, reduced: str) -> None:
    assert about_this_image(question, shown) == reduced
