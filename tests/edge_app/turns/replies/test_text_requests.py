"""Requests to read all text in an image are told from questions about a part of it, from a list labelled by hand."""

from __future__ import annotations

import pytest

from edge_app.turns.replies.text_requests import LONGEST, asks_for_all_text

ALL_TEXT = """
Read the text in this screenshot
Read the text.
read text
Read this
read it to me
Read this to me, please.
Read out everything that is written here.
What does it say?
what does this say
What does the page say?
What does the sign say?
What does the text say?
What is written here?
what's written on it?
What is written on the note?
What text is in this image?
Which words are on the poster?
What's the text in this picture?
OCR this
ocr
OCR
Run OCR on this image.
do ocr on it
Please transcribe this.
Transcribe the letter, word for word.
Transcribe all the text in the image
Could you please transcribe the text of this page for me?
Would you be so kind as to read me the text on this page?
Copy all the text from the screenshot
Copy out the whole text please
Extract the text
Extract all text from this image.
extract every word on the receipt
Please extract the full text of this document verbatim.
Give me all the text
give me the text in the picture
Show me the text
Type out the text for me
Write down what is written in the photo
Write out all the words you can see
read me all the words on the paper
Read everything on the screen
Read all of it aloud
read all the writing
Read the page
Read the whole document to me
Can you read this?
Can you read the text in the photo?
can u read this pls
I need the text of this scan.
I'd like you to read the letter aloud.
What does the letter say?
Tell me what it says.
Tell me what the note says
Tell me what is written in this picture
Convert this image to text
Turn this screenshot into text.
image to text
All text
the full text please
Get the text from this picture
Recognise the text in this image
List all the words in the picture
Now read the text in the second image.
And what does this one say?
Read the words
What are the words on this sign?
What can you read in this image?
Return the text exactly as written.
Please read the text line by line
"""

OTHER = """
What is the total?
Read the date
Read the total
Read the first line
Read me the heading.
read the 1st paragraph
Read the number on the ticket
Read the price of the milk
Read aloud the text of the dialogue box
What does the man say?
What does the woman in the picture say?
What does the button say?
What does the dog say?
What does the headline say?
What does it say about refunds?
What does it say at the top?
What does the second line say?
What does the big word at the top say?
What does the error message say?
What is written in the red message?
What is written above the door?
What is written on the button?
What is the text on the green button?
What is the text about?
What text colour is used?
What does it mean?
What does this do?
What is this?
What is in this picture?
What is on the page?
Who wrote this text?
Summarise the text
Summarize this page
Translate the text into German
Read the text and translate it
Read the text and tell me who wrote it.
Read the text backwards
How do I extract text from an image in Python?
How many words are in this image?
Is there any text in this image?
Is the text readable?
Count the lines of text
Transcribe the stack trace
OCR the table headers
Extract the company, date and total
Extract the date
Extract all dates
Copy the phone number
Copy the address from the letter
List the items
List everything I bought
List everything
Give me the price
Give me the title of the page
Give me everything
Show me the picture
Show everything
Tell me the story
Tell me what is in the picture
Describe the picture
Write a letter
Write a text
Write a note to my teacher
Print the total
Read between the lines
Read my mind
Which language is the text in?
What font is the text?
I cannot make out the heading without my glasses; what does it say?
What is the name on the card?
Read the digit
Read the clock
Read the chart
Read the graph
Which number is written here?
What letter is this?
What does the sender say?
What does the doctor write?
Get the menu
Scan this for viruses
Show me this
Type a poem
Copy this style
words
what does the cashier say
"""


@pytest.mark.parametrize("question", ALL_TEXT.strip().splitlines())
def test_all_text_is_asked_for(question: str) -> None:
    assert asks_for_all_text(question)


@pytest.mark.parametrize("question", ["", *OTHER.strip().splitlines()])
def test_something_else_is_asked_for(question: str) -> None:
    assert not asks_for_all_text(question)


@pytest.mark.parametrize(
    "question", ["READ THE TEXT!!!", "  read\n the   text ", "Please, can you read it? Thanks."]
)
def test_case_punctuation_and_courtesies_do_not_count(question: str) -> None:
    assert asks_for_all_text(question)


def test_a_long_question_is_no_request() -> None:
    assert not asks_for_all_text("please " * LONGEST + "read the text")
