"""Screens: windows, dialogs, terminals, code editors, web pages, telephones, tables, chats, desktops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from router.negatives.sketch import Colour, Kinds, Sketch


def theme(s: Sketch) -> tuple[Colour, Colour, Colour]:
    """Ground, ink and accent colour, light or dark."""
    accent = s.colour((0.4, 1), (0.4, 0.95))
    if s.chance(0.5):
        return s.colour((0, 0.1), (0.9, 1)), s.colour((0, 0.3), (0.05, 0.35)), accent
    return s.colour((0, 0.5), (0.05, 0.22)), s.colour((0, 0.2), (0.7, 1)), accent


def shade(colour: Colour, amount: int) -> Colour:
    """The colour moved away from its own end of the grey scale."""
    step = -amount if sum(colour) > 380 else amount
    red, green, blue = (min(max(part + step, 0), 255) for part in colour)
    return red, green, blue


def title_bar(s: Sketch, box: tuple[float, float, float, float], ground: Colour, ink: Colour) -> float:
    """Draws a window's frame; returns the top of its content."""
    left, top, right, bottom = box
    high = (bottom - top) * s.between(0.04, 0.09)
    s.draw.rectangle(box, fill=ground, outline=shade(ground, 60))
    s.draw.rectangle((left, top, right, top + high), fill=shade(ground, s.count(10, 40)))
    s.draw.text(
        (left + high * 4, top + high / 5), s.words(2).title(), fill=ink, font=s.font("sans", high * 0.6)
    )
    for button in range(3):
        colour = s.rng.choice([(237, 106, 94), (245, 191, 79), (97, 197, 84), ink])
        x = left + high * (0.3 + button) if s.chance(0.5) else right - high * (1 + button)
        s.draw.ellipse((x, top + high * 0.3, x + high * 0.4, top + high * 0.7), fill=colour)
    return top + high


def code_editor(s: Sketch) -> None:
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    side = width * s.between(0, 0.25)
    s.draw.rectangle((0, 0, side, height), fill=shade(ground, 15))
    size = width / s.count(45, 75)
    font, colours = (
        s.font("mono", size),
        [ink, accent, s.colour((0.3, 0.8), (0.5, 0.9)), s.colour((0.3, 0.8), (0.5, 0.9))],
    )
    top, depth, number = size, 0, s.count(1, 400)
    while top < height - size * 2:
        s.draw.text((side + 3, top), str(number), fill=shade(ground, 90), font=font)
        depth = min(max(depth + s.rng.choice([-1, 0, 0, 1]), 0), 5)
        x = side + size * (3 + 2 * depth)
        for _ in range(s.count(0, 6)):
            word = s.rng.choice(
                [s.word(), f"{s.word()}()", "=", "{", "return", f'"{s.word()}"', s.word("digits"), "#"]
            )
            s.draw.text((x, top), word, fill=s.rng.choice(colours), font=font)
            x += font.getlength(word + " ")
        if s.chance(0.4) and side > 40:
            s.draw.text((6, top), s.word(), fill=ink, font=font)
        top, number = top + size * 1.4, number + 1
    s.draw.rectangle((0, height - size * 1.6, width, height), fill=accent)


def dialog(s: Sketch) -> None:
    """A small window over a desktop or over nothing."""
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(s.colour((0, 0.8), (0.1, 1)))
    if s.chance(0.4):
        s.put(s.smooth_field(4)[..., None] * s.colour() + 30)
    left, top = width * s.between(0.03, 0.3), height * s.between(0.03, 0.3)
    right, bottom = width - width * s.between(0.03, 0.3), height - height * s.between(0.03, 0.3)
    inner = title_bar(s, (left, top, right, bottom), ground, ink)
    s.paragraph(
        (left + 12, inner + 10, right - 12, bottom - 50),
        s.font("sans", width / s.count(28, 45)),
        ink,
        s.script(),
        s.between(0.2, 0.9),
    )
    x = right
    for button in range(s.count(1, 3)):
        x -= width * 0.15
        s.draw.rounded_rectangle(
            (x, bottom - height * 0.1, x + width * 0.13, bottom - height * 0.03),
            5,
            fill=shade(ground, 30) if button else accent,
        )


def empty_screen(s: Sketch) -> None:
    """One dark or light ground with a bar or two, a line of text or a field, and nothing else."""
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    font = s.font(s.rng.choice(["mono", "sans"]), width / s.count(25, 80))
    for _ in range(s.count(1, 3)):
        y = s.rng.choice([0, 0.03, 0.5, 0.85, 0.94, s.rng.random()]) * height
        kind = s.count(0, 2)
        if kind == 0:
            s.draw.rectangle((0, y, width, y + height * 0.06), fill=s.rng.choice([accent, shade(ground, 30)]))
        elif kind == 1:
            s.draw.rectangle(
                (width * 0.02, y, width * 0.98, y + height * 0.1), outline=shade(ground, 70), width=2
            )
        s.draw.text((width * s.between(0.01, 0.5), y + 2), s.words(s.count(1, 8)), fill=ink, font=font)


def web_page(s: Sketch) -> None:
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    bar = height * s.between(0.06, 0.14)
    s.draw.rectangle((0, 0, width, bar), fill=accent if s.chance(0.6) else shade(ground, 20))
    font = s.font("sans", width / s.count(40, 70))
    for link in range(s.count(2, 7)):
        s.draw.text((width * (0.08 + 0.12 * link), bar * 0.3), s.word().title(), fill=ink, font=font)
    top = bar
    if s.chance(0.5):
        top += height * s.between(0.15, 0.35)
        s.draw.rectangle((0, bar, width, top), fill=s.colour((0.1, 0.8), (0.3, 1)))
        s.draw.text((width * 0.1, bar + 20), s.words(3).title(), fill=ink, font=s.font("sans", width / 14))
    across = s.count(1, 4)
    step = width / across
    while top < height:
        high = height * s.between(0.15, 0.4)
        for column in range(across):
            left = column * step + 8
            middle = top + 8 + high * s.between(0.1, 0.6) * s.chance(0.7)
            if middle > top + 8:
                s.draw.rectangle(
                    (left, top + 8, left + step - 16, middle), fill=s.colour((0, 0.6), (0.3, 0.95))
                )
            s.paragraph(
                (left, middle + 4, left + step - 16, top + high), font, ink, "latin", s.between(0.5, 1)
            )
        top += high


def phone(s: Sketch) -> None:
    """A telephone's screen: tiles of apps, a list, or messages."""
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    font = s.font("sans", width / s.count(16, 26))
    s.draw.text((8, 4), f"{s.count(0, 23)}:{s.count(10, 59)}", fill=ink, font=font)
    kind, top = s.count(0, 2), height * 0.08
    if kind == 0:
        columns = s.count(3, 5)
        step = width / columns
        while top < height - step:
            for column in range(columns):
                if s.chance(0.9):
                    x = column * step + step * 0.15
                    s.draw.rounded_rectangle(
                        (x, top, x + step * 0.7, top + step * 0.7), step * 0.15, fill=s.colour()
                    )
                    s.draw.ellipse(
                        (x + step * 0.2, top + step * 0.2, x + step * 0.5, top + step * 0.5), fill=s.colour()
                    )
            top += step * 1.2
        return
    while top < height * 0.92:
        high = height * s.between(0.05, 0.12)
        if kind == 1:
            s.draw.ellipse((10, top, 10 + high * 0.7, top + high * 0.7), fill=s.colour())
            s.draw.text((high + 16, top), s.words(2).title(), fill=ink, font=font)
            s.draw.line((high, top + high * 0.9, width, top + high * 0.9), fill=shade(ground, 30))
        else:
            own = s.chance(0.5)
            left = width * (0.3 if own else 0.04)
            s.draw.rounded_rectangle(
                (left, top, left + width * 0.66, top + high), 12, fill=accent if own else shade(ground, 30)
            )
            s.paragraph((left + 8, top + 3, left + width * 0.6, top + high), font, ink)
        top += high * 1.2


def table(s: Sketch) -> None:
    """A table or a spreadsheet."""
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    rows, columns = s.count(5, 28), s.count(3, 10)
    high, wide = height / rows, width / columns
    font, striped, lines = s.font("sans", min(high * 0.6, wide / 4)), s.chance(0.5), s.chance(0.7)
    for row in range(rows):
        fill = accent if row == 0 else shade(ground, 12) if striped and row % 2 else ground
        s.draw.rectangle((0, row * high, width, (row + 1) * high), fill=fill)
        for column in range(columns):
            text = s.word() if row == 0 or column == 0 else s.word("digits")
            if s.chance(0.9):
                s.draw.text((column * wide + 4, row * high + high / 6), text, fill=ink, font=font)
            if lines:
                s.draw.rectangle(
                    (column * wide, row * high, (column + 1) * wide, (row + 1) * high),
                    outline=shade(ground, 50),
                )


def desktop(s: Sketch) -> None:
    """Several windows over a background."""
    width, height = s.size
    s.put(wallpaper(s))
    for _ in range(s.count(1, 4)):
        ground, ink, accent = theme(s)
        left, top = s.between(0, 0.5) * width, s.between(0, 0.5) * height
        right, bottom = left + s.between(0.3, 0.6) * width, top + s.between(0.3, 0.6) * height
        inner = title_bar(s, (left, top, right, bottom), ground, ink)
        if s.chance(0.4):
            s.draw.rectangle((left, inner, left + (right - left) * 0.25, bottom), fill=accent)
            left += (right - left) * 0.27
        s.paragraph(
            (left + 6, inner + 6, right - 6, bottom - 6),
            s.font("sans", width / s.count(45, 70)),
            ink,
            "latin",
            s.between(0.3, 1),
        )
    s.draw.rectangle((0, height * 0.95, width, height), fill=(30, 30, 40))


def wallpaper(s: Sketch) -> NDArray[np.floating]:
    low, high = np.array(s.colour()), np.array(s.colour())
    share = s.smooth_field(s.count(2, 5))[..., None]
    return np.asarray(share * low + (1 - share) * high)


def panel(s: Sketch) -> None:
    """A page of settings or a player: switches, sliders, buttons."""
    width, height = s.size
    ground, ink, accent = theme(s)
    s.ground(ground)
    font, top = s.font("sans", width / s.count(25, 45)), height * 0.05
    while top < height * 0.93:
        s.draw.text((width * 0.06, top), s.words(s.count(1, 3)).title(), fill=ink, font=font)
        left, kind = width * s.between(0.4, 0.75), s.count(0, 2)
        if kind == 0:
            s.draw.rounded_rectangle(
                (left, top, left + 44, top + 20), 10, fill=accent if s.chance(0.5) else shade(ground, 70)
            )
            s.draw.ellipse((left + 22, top + 2, left + 40, top + 18), fill=(250, 250, 250))
        elif kind == 1:
            end, knob = width * 0.95, s.rng.random()
            s.draw.line((left, top + 10, end, top + 10), fill=shade(ground, 80), width=4)
            x = left + (end - left) * knob
            s.draw.line((left, top + 10, x, top + 10), fill=accent, width=4)
            s.draw.ellipse((x - 8, top + 2, x + 8, top + 18), fill=accent)
        else:
            s.draw.rounded_rectangle(
                (left, top, left + width * 0.2, top + height * 0.05),
                4,
                fill=shade(ground, 30),
                outline=shade(ground, 80),
            )
        top += height * s.between(0.06, 0.12)


WIDE = ((640, 400), (640, 480), (640, 360), (600, 600))
TALL = ((300, 640), (340, 600))
KINDS: Kinds = {
    "phone": (phone, TALL),
    **{
        kind.__name__: (kind, WIDE)
        for kind in (
            empty_screen,
            code_editor,
            dialog,
            web_page,
            table,
            desktop,
            panel,
        )
    },
}
