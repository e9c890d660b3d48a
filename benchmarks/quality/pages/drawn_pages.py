"""Draws letters and screens with known contents, and asks questions about them. Names and numbers come from a seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.quality.pages.drawing import (
    FIRST_NAMES,
    Canvas,
    CanvasPage,
    money,
    person_name,
    phone_number,
    written_date,
)
from models.core.types import Image

_FIRMS = (
    "Harbour Water",
    "Northfield Library",
    "Greenway Dental",
    "Maple Insurance",
    "Orbit Energy",
    "Tern Bank",
)
_STREETS = ("Hill Road", "Mill Lane", "Station Street", "Church Walk", "Park Avenue")
_TOWNS = ("Easton", "Northfield", "Springvale", "Aldwick", "Porthaven")
_FILES = ("report.pdf", "budget.xlsx", "holiday.jpg", "notes.txt", "backup.zip", "thesis.docx")
_PROGRAMS = ("Backup Manager", "Photo Studio", "Mail Client", "Music Player", "Disk Cleaner")
_ERRORS = ("The disk is full.", "The server does not respond.", "The file is in use.", "Access is denied.")
_HEADLINES = (
    "New bridge opens to traffic",
    "Library extends its opening hours",
    "Local team wins the cup",
    "Bakery moves to the old station",
)
_ITEMS = ("Account", "Display", "Network", "Privacy", "Sound", "Updates", "Language", "Storage")


@dataclass(frozen=True)
class PageQuestion:
    """A question about a page. group: "letter", "screen" or "receipt"."""

    group: str
    image: Image
    question: str
    answer: str


def drawn_questions(seed: int, pages: int, each: int) -> list[PageQuestion]:
    """Questions about pages of all kinds in turn. pages: how many are drawn. each: at most so many questions a page."""
    dice = random.Random(seed)
    kinds: tuple[tuple[str, Callable[[random.Random], CanvasPage]], ...] = (
        ("letter", _letter),
        ("screen", _error_window),
        ("letter", _invoice),
        ("screen", _article),
        ("screen", _settings_window),
        ("letter", _note),
        ("screen", _message),
    )
    found = []
    for number in range(pages):
        group, draw = kinds[number % len(kinds)]
        page = draw(dice)
        pixels = np.asarray(page.picture)
        image = Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), f"{group} {number}")
        questions = dice.sample(sorted(page.answers), min(each, len(page.answers)))
        found += [PageQuestion(group, image, question, page.answers[question]) for question in questions]
    return found


def _letter(dice: random.Random) -> CanvasPage:
    firm, writer, reader, phone, date = (
        dice.choice(_FIRMS),
        person_name(dice),
        person_name(dice),
        phone_number(dice),
        written_date(dice),
    )
    mail = f"office@{firm.split()[0].lower()}.example"
    page = Canvas(760, 980)
    page.write(firm, size=32)
    page.write(f"{dice.randint(1, 90)} {dice.choice(_STREETS)}, {dice.choice(_TOWNS)}")
    page.write(f"Phone: {phone}")
    page.write(f"E-mail: {mail}", step=60)
    page.write(date, x=480, step=50)
    page.write(f"Dear {reader},", step=50)
    for line in (
        "thank you for your visit last week. We have looked at your",
        "request and are glad to tell you that it has been accepted.",
        "You need not do anything else. If there is a question, please",
        "call us at the number above.",
    ):
        page.write(line)
    page.y += 40
    page.write("Yours sincerely,", step=70)
    page.write(writer)
    page.write(dice.choice(("Head of Services", "Customer Manager", "Director")))
    return CanvasPage(
        page.picture,
        {
            "What is the phone number?": phone,
            "Who signed the letter?": writer,
            "Which e-mail address is given?": mail,
            "What is the date of the letter?": date,
            "Who is the letter addressed to?": reader,
            "Which organisation sent this letter?": firm,
        },
    )


def _invoice(dice: random.Random) -> CanvasPage:
    firm, number, date, due, amount = (
        dice.choice(_FIRMS),
        f"{dice.randint(10000, 99999)}",
        written_date(dice),
        written_date(dice),
        money(dice),
    )
    customer = f"C-{dice.randint(1000, 9999)}"
    page = Canvas(720, 760)
    page.write(firm, size=30)
    page.write("INVOICE", size=26, step=60)
    for label, value in (
        ("Invoice number", number),
        ("Invoice date", date),
        ("Customer", customer),
        ("Due date", due),
    ):
        page.at(label, 40, page.y)
        page.write(value, x=300)
    page.y += 40
    for item in dice.sample(("Water meter", "Repair", "Inspection", "Annual fee", "Delivery"), 3):
        page.at(item, 40, page.y)
        page.write(money(dice), x=560)
    page.y += 20
    page.at("Amount due", 40, page.y, 24)
    page.write(amount, x=560, size=24, step=70)
    page.write("Please pay by bank transfer within 14 days.")
    return CanvasPage(
        page.picture,
        {
            "What is the invoice number?": number,
            "When was the invoice issued?": date,
            "When is the payment due?": due,
            "How much has to be paid?": amount,
            "What is the customer number?": customer,
        },
    )


def _note(dice: random.Random) -> CanvasPage:
    writer, reader, room, hour = (
        dice.choice(FIRST_NAMES),
        dice.choice(FIRST_NAMES),
        str(dice.randint(101, 499)),
        f"{dice.randint(8, 18)}:{dice.choice(('00', '15', '30', '45'))}",
    )
    page = Canvas(640, 460, "#fffbe0")
    for line in (
        f"Hello {reader},",
        "",
        f"the meeting starts at {hour} in room {room}.",
        "Please bring the signed papers and a pen.",
        "",
        "See you there,",
        writer,
    ):
        page.write(line, size=24)
    return CanvasPage(
        page.picture,
        {
            "When does the meeting start?": hour,
            "In which room is the meeting?": room,
            "Who wrote this note?": writer,
            "Who is this note for?": reader,
        },
    )


def _window(title: str, width: int, height: int) -> Canvas:
    page = Canvas(width, height, "#f3f3f3")
    page.draw.rectangle((0, 0, width, 40), fill="#2b4a78")
    page.at(title, 16, 8, 20, "white")
    page.y = 70
    return page


def _error_window(dice: random.Random) -> CanvasPage:
    program, error, code = (
        dice.choice(_PROGRAMS),
        dice.choice(_ERRORS),
        f"0x{dice.randint(0x80000000, 0x8FFFFFFF):08X}",
    )
    file = dice.choice(_FILES)
    buttons = dice.sample(("Retry", "Cancel", "Ignore", "Help"), 3)
    chosen = dice.choice(buttons)
    page = _window(program, 640, 320)
    page.write(error, x=60, size=24)
    page.write(f"Error code: {code}", x=60)
    page.write(f"File: {file}", x=60)
    for place, button in enumerate(buttons):
        x, is_chosen = 60 + 180 * place, button == chosen
        page.draw.rectangle(
            (x, 250, x + 150, 294), fill="#0067c0" if is_chosen else "#e0e0e0", outline="#808080"
        )
        page.at(button, x + 45, 260, 20, "white" if is_chosen else "black")
    return CanvasPage(
        page.picture,
        {
            "What is the error message?": error,
            "What is the error code?": code,
            "Which file is named?": file,
            "Which program shows this window?": program,
            "Which button is highlighted?": chosen,
        },
    )


def _article(dice: random.Random) -> CanvasPage:
    headline, writer, date = dice.choice(_HEADLINES), person_name(dice), written_date(dice)
    address = f"www.{dice.choice(_TOWNS).lower()}-news.example"
    page = Canvas(900, 640)
    page.draw.rectangle((0, 0, 900, 48), fill="#dddddd")
    page.at(address, 60, 12)
    page.y = 80
    page.write(headline, size=36)
    page.write(f"By {writer}", ink="#444444")
    page.write(f"Published: {date}", ink="#444444", step=60)
    for line in (
        "The decision was made after a long discussion in the town hall.",
        "Many people came to listen, and some brought their own plans.",
        "The mayor thanked everyone for the work of the last months.",
    ):
        page.write(line)
    page.draw.rectangle((640, 520, 860, 590), fill="#1a7f37")
    page.at("Subscribe", 695, 542, 22, "white")
    return CanvasPage(
        page.picture,
        {
            "What is the headline?": headline,
            "Who wrote the article?": writer,
            "When was this published?": date,
            "What is the address of the web page?": address,
            "What does the green button say?": "Subscribe",
        },
    )


def _settings_window(dice: random.Random) -> CanvasPage:
    program, version = (
        dice.choice(_PROGRAMS),
        f"{dice.randint(1, 9)}.{dice.randint(0, 20)}.{dice.randint(0, 9)}",
    )
    user, language = person_name(dice), dice.choice(("English", "Danish", "Polish", "Italian"))
    page = _window(f"Settings - {program}", 820, 480)
    for place, item in enumerate(dice.sample(_ITEMS, 6)):
        page.at(item, 24, 70 + 48 * place)
    page.draw.line((190, 40, 190, 480), fill="#909090")
    for label, value in (
        ("User", user),
        ("Language", language),
        ("Version", version),
        ("Licence", "Home edition"),
    ):
        page.at(f"{label}:", 230, page.y)
        page.write(value, x=420, step=62)
    return CanvasPage(
        page.picture,
        {
            "Which version is installed?": version,
            "Which language is selected?": language,
            "What is the name of the user?": user,
            "Which licence is shown?": "Home edition",
        },
    )


def _message(dice: random.Random) -> CanvasPage:
    sender, receiver, date = person_name(dice), person_name(dice), written_date(dice)
    subject = dice.choice(
        ("Travel plans", "Your order has shipped", "Garden party", "Minutes of the meeting")
    )
    file = dice.choice(_FILES)
    page = _window("Inbox", 780, 460)
    for label, value in (
        ("From", sender),
        ("To", receiver),
        ("Subject", subject),
        ("Sent", date),
        ("Attachment", file),
    ):
        page.write(f"{label}: {value}")
    page.y += 24
    for line in (
        "Hi,",
        "here is what we talked about yesterday.",
        "Let me know whether it is fine with you.",
    ):
        page.write(line)
    return CanvasPage(
        page.picture,
        {
            "Who sent this message?": sender,
            "Who received this message?": receiver,
            "What is the subject?": subject,
            "When was this sent?": date,
            "What is the name of the attached file?": file,
        },
    )
