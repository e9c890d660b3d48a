"""Terminals: commands and their output, programs with panes, conversations."""

from __future__ import annotations

from router.negatives.screens import WIDE, shade, title_bar
from router.negatives.sketch import Kinds, Sketch


def terminal(s: Sketch) -> None:
    width, height = s.size
    ground = s.colour((0, 0.6), (0, 0.2)) if s.chance(0.8) else s.paper()
    ink = shade(ground, 190)
    s.ground(ground)
    top = title_bar(s, (0, 0, width, height), ground, ink) if s.chance(0.6) else 4
    size = width / s.count(40, 75)
    font, last = s.font("mono", size), height * s.between(0.2, 1)
    colours = [ink, ink, ink, s.colour((0.4, 0.9), (0.6, 1)), s.colour((0.4, 0.9), (0.6, 1))]
    while top < last:
        x = 4.0
        for _ in range(s.count(0, 9)):
            word = s.rng.choice(
                [s.word(), s.word("digits"), f"./{s.word()}", f"--{s.word()}", "$", "[OK]", "│"]
            )
            s.draw.text((x, top), word, fill=s.rng.choice(colours), font=font)
            x += font.getlength(word + " ")
        top += size * 1.25


def text_interface(s: Sketch) -> None:
    """A program in a terminal: bars above and below, framed panes, lists with a chosen row, much of it empty."""
    width, height = s.size
    dark = s.chance(0.75)
    ground = s.colour((0, 0.3), (0.03, 0.16)) if dark else s.colour((0, 0.1), (0.85, 1))
    ink, accent = shade(ground, s.count(120, 220)), s.colour((0.3, 1), (0.3, 0.9))
    margin = s.count(2, 12) if s.chance(0.6) else 0
    s.ground(s.rng.choice([(255, 255, 255), (0, 0, 0), s.paper()]))
    box = (margin, margin, width - margin, height - margin)
    s.draw.rounded_rectangle(box, margin, fill=ground, outline=shade(ground, 50))
    size = width / s.count(30, 95)
    font, top = s.font("mono", size), margin + 3.0
    if s.chance(0.6):
        for number, colour in enumerate([(237, 106, 94), (245, 191, 79), (97, 197, 84)]):
            x = margin + size * (1 + 1.3 * number)
            s.draw.ellipse((x, top + size * 0.3, x + size * 0.8, top + size * 1.1), fill=colour)
        top += size * 1.8
    for y in (top, height - margin - size * 1.5):
        if s.chance(0.75):
            s.draw.rectangle((margin, y, width - margin, y + size * 1.4), fill=shade(ground, s.count(10, 50)))
            x = margin + size
            for _ in range(s.count(1, 7)):
                text = s.words(s.count(1, 3))
                s.draw.text((x, y), text, fill=s.rng.choice([ink, accent]), font=font)
                x += font.getlength(text) + size * s.between(1, 8)
    top += size * 2
    columns = s.count(1, 3)
    step = (width - 2 * margin) / columns
    for column in range(columns):
        left, low = margin + column * step + size / 2, top + s.between(0, 0.3) * height
        right, bottom = (
            left + step - size,
            min(low + s.between(0.2, 0.9) * height, height - margin - size * 2),
        )
        if bottom - low < size * 2:
            continue
        if s.chance(0.5):
            s.draw.rectangle((left, low, right, bottom), outline=s.rng.choice([accent, shade(ground, 60)]))
        if s.chance(0.2):
            s.draw.rectangle((left + size, low + size, left + step / 2, (low + bottom) / 2), fill=s.colour())
            low = (low + bottom) / 2
        chosen = s.count(0, 12)
        for row in range(s.count(0, int((bottom - low) / size / 1.3))):
            y, text = low + size * (0.3 + 1.3 * row), s.words(s.count(0, 6))
            if row == chosen:
                s.draw.rectangle((left + 2, y, right - 2, y + size * 1.3), fill=accent)
            while text and font.getlength(text) > right - left - size:
                text = text[:-1]
            s.draw.text((left + size / 2, y), text, fill=ink if s.chance(0.8) else accent, font=font)


def text_chat(s: Sketch) -> None:
    """A conversation in a terminal: lines of text under names, a field to type in, keys below, much of it empty."""
    width, height = s.size
    ground = s.colour((0, 0.3), (0.03, 0.18)) if s.chance(0.8) else s.colour((0, 0.1), (0.85, 1))
    ink, accent = shade(ground, s.count(90, 210)), s.colour((0.3, 1), (0.4, 0.9))
    s.ground(ground)
    size = width / s.count(40, 110)
    font, last = s.font("mono", size), height - size * 5
    s.draw.rectangle((0, 0, width, size * 1.6), fill=shade(ground, s.count(5, 35)))
    s.draw.text((size, 0), s.words(2), fill=ink, font=font)
    s.draw.text((width * s.between(0.4, 0.7), 0), s.words(4), fill=shade(ground, 110), font=font)
    top = size * 2 + s.between(0, 0.6) * height
    while top < last and s.chance(0.9):
        if s.chance(0.15):
            right, bottom = size * s.between(10, 30), min(top + size * s.between(4, 12), last)
            s.draw.rectangle((size * 2, top, right, bottom), fill=s.colour())
            s.draw.rectangle(((size * 2 + right) / 2, top, right, bottom), fill=s.colour())
            top = bottom
        for _ in range(s.count(1, 4)):
            if top < last:
                colour = s.rng.choice([ink, ink, accent, shade(ground, 110)])
                s.draw.text((size * s.count(1, 3), top), s.words(s.count(1, 14)), fill=colour, font=font)
                top += size * 1.3
        top += size * 1.3
    edge = s.rng.choice([accent, shade(ground, 60)])
    s.draw.rectangle((size / 2, height - size * 4.2, width - size / 2, height - size * 2), outline=edge)
    s.draw.text((size, height - size * 3.8), s.words(s.count(0, 4)), fill=ink, font=font)
    x = size
    s.draw.rectangle((0, height - size * 1.6, width, height), fill=shade(ground, 20))
    for _ in range(s.count(2, 8)):
        s.draw.text((x, height - size * 1.5), f"^{s.word()[0]}", fill=accent, font=font)
        s.draw.text((x + size * 2, height - size * 1.5), s.word().title(), fill=ink, font=font)
        x += size * s.count(6, 9)


KINDS: Kinds = {kind.__name__: (kind, WIDE) for kind in (terminal, text_interface, text_chat)}
