"""Printed and written things: a book, a poem, a menu, a passport, a calendar, a puzzle, playing cards, road signs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter

from benchmarks.quality.router.unknown_kinds.easel import Easel


def book_page(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(380, 540, e.dice.choice(["#fffdf5", "#f7f1e3", "#ffffff"]))
    size = e.span(18, 30)
    draw.text((70, 40), e.sentence(3).upper(), fill="#222222", font=e.type(size * 0.8))
    draw.text((70, 120), e.sentence(1)[0].upper(), fill="#5a1a1a", font=e.type(size * 3.5))
    y = e.prose(draw, 70 + size * 3.5, 120, 600 - size * 3.5, 3, size, "#222222")
    e.prose(draw, 70, y, 620, int((980 - y) / size / 1.4), size, "#222222")
    draw.text((370, 1030), str(e.whole(1, 400)), fill="#222222", font=e.type(size))
    return e.finish(image)


def poem(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(420, 500, "#ffffff")
    font, y = e.type(e.span(22, 34)), e.span(60, 200)
    for line in range(e.whole(8, 18)):
        words = e.sentence(e.whole(3, 6))
        x = 420 - font.getlength(words) / 2
        draw.text((x, y), words, fill="#333333", font=font)
        y += 42 if line % 4 != 3 else 84
    return e.finish(image)


def two_page_photo(e: Easel) -> PIL.Image.Image:
    """An open book on a table, seen aslant."""
    pages = PIL.Image.new("RGB", (800, 560), "#efe8d8")
    draw = PIL.ImageDraw.Draw(pages)
    for x in (40, 440):
        e.prose(draw, x, 50, 320, 22, 15, "#332c22")
    draw.line((400, 0, 400, 560), fill="#a89b80", width=10)
    grain = e.numbers.normal(0, 9, (640, 860, 1)) + np.linspace(90, 150, 860)[None, :, None]
    table = PIL.Image.fromarray(np.clip(grain * np.array([1.0, 0.75, 0.5]), 0, 255).astype(np.uint8))
    shift = [e.span(0, 110) for _ in range(8)]
    corners = (
        -shift[0],
        -shift[1],
        -shift[2],
        560 + shift[3],
        800 + shift[4],
        560 + shift[5],
        800 + shift[6],
        -shift[7],
    )
    mask = PIL.Image.new("L", pages.size, 255)
    warped = pages.transform(table.size, PIL.Image.Transform.QUAD, corners, PIL.Image.Resampling.BICUBIC)
    table.paste(warped, (0, 0), mask.transform(table.size, PIL.Image.Transform.QUAD, corners))
    return table.filter(PIL.ImageFilter.GaussianBlur(e.span(0.4, 1.4))).resize((430, 320))


def menu(e: Easel) -> PIL.Image.Image:
    """A list of dishes with a heading; dark or light, without sums."""
    dark = e.dice.random() < 0.5
    image, draw = e.sheet(400, 560, "#1d2b24" if dark else "#fbf3e4")
    ink, font = "#f0e6c8" if dark else "#3b2a1a", e.type(26)
    draw.rectangle((30, 30, 770, 1090), outline=ink, width=4)
    for row, y in enumerate(range(90, 1020, 90)):
        words = e.sentence(e.whole(2, 4))
        draw.text((400 - font.getlength(words) / 2, y), words, fill=ink, font=font if row else e.type(48))
        if row % 3 == 2:
            draw.line((300, y + 60, 500, y + 60), fill=ink, width=3)
    return e.finish(image)


def identity_card(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(480, 300, "#e8eef4")
    for wave in range(0, 600, 14):
        points = [(x, wave + 10 * math.sin(x / 50 + wave)) for x in range(0, 960, 12)]
        draw.line(points, fill=e.dice.choice(["#c9d8e6", "#d8c9e0"]), width=2)
    draw.rectangle((0, 0, 960, 80), fill=e.pick())
    draw.rectangle((50, 130, 290, 440), fill="#c4ccd4")
    draw.ellipse((115, 180, 225, 310), fill="#e0b090")
    draw.pieslice((70, 310, 270, 560), 180, 360, fill="#445566")
    for row in range(5):
        draw.text((340, 130 + 70 * row), e.sentence(1).upper(), fill="#8090a0", font=e.type(18))
        draw.text((340, 150 + 70 * row), e.sentence(2), fill="#102030", font=e.type(30))
    draw.text(
        (50, 520), "P<" + "<".join(e.sentence(4).upper().split()) + "<<<<<<", fill="#102030", font=e.type(34)
    )
    return e.finish(image)


def boarding_pass(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(560, 240, "#f5f5f5")
    draw.rectangle((0, 0, 1120, 90), fill=e.pick())
    draw.line([(820, 90), (820, 480)], fill="#999999", width=3)
    for x, wide in ((40, 700), (850, 230)):
        for row in range(3):
            for column in range(max(wide // 230, 1)):
                draw.text(
                    (x + 230 * column, 120 + 110 * row),
                    e.sentence(1).upper(),
                    fill="#888888",
                    font=e.type(20),
                )
                code = "".join(e.dice.choices("ABCDEFGHKLMNPRSTUVWXYZ0123456789", k=e.whole(2, 4)))
                draw.text((x + 230 * column, 145 + 110 * row), code, fill="#111111", font=e.type(46))
    return e.finish(image)


def calendar(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(460, 420, "#ffffff")
    draw.rectangle((0, 0, 920, 150), fill=e.pick())
    draw.text(
        (40, 40), e.dice.choice(["March", "July", "October"]) + " 2031", fill="#ffffff", font=e.type(60)
    )
    start, one = e.whole(0, 6), e.type(34)
    for day in range(31):
        x, y = (day + start) % 7 * 128 + 20, (day + start) // 7 * 105 + 190
        if e.dice.random() < 0.15:
            draw.rectangle((x, y + 44, x + 108, y + 78), fill=e.pick())
        draw.rectangle((x - 8, y - 8, x + 114, y + 86), outline="#dddddd", width=2)
        draw.text((x, y), str(day + 1), fill="#333333", font=one)
    return e.finish(image)


def sudoku(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(380, 380, "#ffffff")
    for line in range(10):
        at = 20 + 80 * line
        draw.line((at, 20, at, 740), fill="#111111", width=8 if line % 3 == 0 else 2)
        draw.line((20, at, 740, at), fill="#111111", width=8 if line % 3 == 0 else 2)
    for cell in range(81):
        if e.dice.random() < 0.4:
            place = (48 + 80 * (cell % 9), 36 + 80 * (cell // 9))
            draw.text(place, str(e.whole(1, 9)), fill="#223355", font=e.type(46))
    return e.finish(image)


def word_search(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(420, 420, e.dice.choice(["#ffffff", "#fff8e1"]))
    font = e.type(34)
    for cell in range(15 * 15):
        draw.text(
            (40 + 52 * (cell % 15), 30 + 52 * (cell // 15)),
            e.dice.choice("ABDEFGHIKLMNORSTU"),
            fill="#222222",
            font=font,
        )
    for _ in range(e.whole(0, 5)):
        x, y = e.span(40, 400), e.span(40, 700)
        draw.rounded_rectangle((x, y, x + e.span(200, 400), y + 46), 23, outline=e.pick(), width=6)
    return e.finish(image)


def playing_cards(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(480, 320, e.dice.choice(["#14532d", "#7f1d1d", "#1e3a5f"]))
    for number in range(e.whole(2, 5)):
        x, y = 60 + 170 * number, e.span(60, 200)
        draw.rounded_rectangle((x, y, x + 220, y + 320), 22, fill="#ffffff", outline="#888888", width=2)
        red = e.dice.random() < 0.5
        draw.text(
            (x + 16, y + 10),
            e.dice.choice("A23456789JQK"),
            fill="#c00000" if red else "#111111",
            font=e.type(50),
        )
        for pip in range(e.whole(1, 6)):
            u, v = x + 80 + 70 * (pip % 2), y + 80 + 80 * (pip // 2)
            draw.polygon(
                [(u, v - 28), (u + 22, v), (u, v + 28), (u - 22, v)], fill="#c00000" if red else "#111111"
            )
    return e.finish(image)


def road_sign(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(420, 320, e.dice.choice(["#00609c", "#0a7a3c", "#f2c500"]))
    draw.rounded_rectangle((20, 20, 820, 620), 30, outline="#ffffff", width=10)
    for row in range(e.whole(2, 4)):
        y = 70 + 140 * row
        draw.polygon([(60, y + 40), (110, y), (110, y + 80)], fill="#ffffff")
        draw.text((150, y), e.sentence(2), fill="#ffffff", font=e.type(60))
        draw.text((700, y), str(e.whole(2, 240)), fill="#ffffff", font=e.type(60))
    return e.finish(image)


def whiteboard(e: Easel) -> PIL.Image.Image:
    """Marker strokes and a few boxes on a board that is lit from one side."""
    image, draw = e.sheet(560, 400, "#eceeee")
    for _ in range(e.whole(5, 14)):
        x, y = e.span(40, 900), e.span(40, 700)
        ink, points = e.dice.choice(["#1d4ed8", "#b91c1c", "#111111", "#15803d"]), [(x, y)]
        for _ in range(e.whole(6, 30)):
            points.append((points[-1][0] + e.span(2, 22), y + e.span(-24, 24)))
        draw.line(points, fill=ink, width=6, joint="curve")
        if e.dice.random() < 0.4:
            draw.rectangle((x - 20, y - 50, points[-1][0] + 20, y + 50), outline=ink, width=5)
    light = np.linspace(e.span(0.6, 0.9), 1.1, image.width)[None, :, None]
    lit = PIL.Image.fromarray(np.clip(np.asarray(image) * light, 0, 255).astype(np.uint8))
    return e.finish(lit.filter(PIL.ImageFilter.GaussianBlur(2)))


KINDS: Mapping[str, Callable[[Easel], PIL.Image.Image]] = {
    each.__name__: each
    for each in (
        book_page,
        poem,
        two_page_photo,
        menu,
        identity_card,
        boarding_pass,
        calendar,
        sudoku,
        word_search,
        playing_cards,
        road_sign,
        whiteboard,
    )
}
