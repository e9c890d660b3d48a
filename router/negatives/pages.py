"""Pages and small printed things: letters, articles, scripts, handwriting, forms, tickets, cards, codes, puzzles."""

from __future__ import annotations

import math

import PIL.Image
import PIL.ImageDraw

from router.negatives.sketch import Kinds, Sketch


def letter(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    font, ink, script = (
        s.font(s.rng.choice(["serif", "sans", "mono"]), width / s.count(28, 55)),
        s.ink(),
        s.script(),
    )
    margin = width * s.between(0.06, 0.15)
    for line in range(s.count(2, 5)):
        s.draw.text(
            (margin if s.chance(0.8) else width * 0.6, margin + line * width / 30),
            s.words(2, script),
            fill=ink,
            font=font,
        )
    top = margin + width / 5
    for _ in range(s.count(1, 5)):
        bottom = min(top + height * s.between(0.1, 0.3), height - margin)
        top = s.paragraph((margin, top, width - margin, bottom), font, ink, script) + width / 40
    if s.chance(0.5):
        scrawl(s, margin, min(top, height * 0.85), width * 0.3, width / 18)


def columns(s: Sketch) -> None:
    """An article in columns with a headline, perhaps with grey boxes for pictures."""
    width, height = s.size
    s.ground(s.paper())
    ink, script, number = s.ink(), s.script(), s.count(2, 4)
    s.draw.text(
        (width * 0.05, height * 0.03),
        s.words(s.count(2, 5), script).upper(),
        fill=ink,
        font=s.font("serif", width / 16),
    )
    body, top = s.font("serif", width / s.count(50, 80)), height * s.between(0.12, 0.25)
    step = width * 0.9 / number
    for column in range(number):
        left = width * 0.05 + column * step
        start = top
        if s.chance(0.35):
            start = top + height * s.between(0.1, 0.3)
            s.draw.rectangle((left, top, left + step * 0.93, start - 4), fill=s.colour((0, 0.3), (0.3, 0.9)))
        s.paragraph((left, start, left + step * 0.93, height * 0.96), body, ink, script, s.between(0.7, 1))


def scrawl(s: Sketch, left: float, top: float, length: float, height: float) -> None:
    """One line of strokes that look like joined handwriting."""
    ink, x = s.colour((0.2, 1), (0, 0.5)), left
    while x < left + length:
        end, points = x + s.between(1, 4) * height, []
        while x < end:
            points.append((x, top + s.between(0, 1) ** 2 * s.rng.choice([-1, 1]) * height * 0.6))
            x += height * s.between(0.12, 0.4) * (1 if s.chance(0.85) else -0.6)
        if len(points) > 2:
            s.draw.line(s.curve(points, 5), fill=ink, width=max(int(height / 12), 1))
        x += height * 0.5


def handwriting(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    rows = s.count(3, 16)
    step = height / (rows + 1)
    ruled = s.chance(0.5)
    for row in range(1, rows + 1):
        if ruled:
            s.draw.line((0, row * step + step / 4, width, row * step + step / 4), fill=(170, 190, 220))
        scrawl(s, width * 0.06, row * step, width * s.between(0.3, 0.88), step * 0.55)


def strokes_script(s: Sketch) -> None:
    """Characters made of a few strokes each, in rows or columns, like East Asian print."""
    width, height = s.size
    s.ground(s.paper())
    ink, cell = s.ink(), width / s.count(8, 26)
    thick = max(int(cell / 12), 1)
    for row in range(int(height * 0.9 / cell)):
        for column in range(int(width * 0.9 / cell)):
            if s.chance(0.1):
                continue
            x, y = width * 0.05 + column * cell, height * 0.05 + row * cell
            for _ in range(s.count(3, 9)):
                u, v = s.between(0, 0.8) * cell, s.between(0, 0.8) * cell
                du, dv = s.rng.choice([(0.6, 0), (0, 0.6), (0.3, 0.4), (-0.3, 0.4), (0.75, 0.02)])
                s.draw.line(
                    (x + u, y + v, x + min(u + du * cell, 0.85 * cell), y + min(v + dv * cell, 0.85 * cell)),
                    fill=ink,
                    width=thick,
                )


def equations(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    ink = s.ink()
    top = height * 0.05
    while top < height * 0.85:
        size = width / s.count(10, 28)
        font, x = s.font("serif", size), width * s.between(0.05, 0.3)
        for _ in range(s.count(3, 8)):
            part = s.rng.choice([s.word("symbols"), s.word("digits"), "x", "f(t)", "+", "=", "−"])
            if s.chance(0.3):
                s.draw.text((x, top - size * 0.5), part, fill=ink, font=font)
                s.draw.line(
                    (x, top + size * 0.7, x + font.getlength(part), top + size * 0.7), fill=ink, width=2
                )
                s.draw.text((x, top + size * 0.8), s.word("symbols")[:3], fill=ink, font=font)
            else:
                s.draw.text((x, top), part, fill=ink, font=font)
                s.draw.text(
                    (x + font.getlength(part), top - size * 0.3),
                    s.word("digits")[:1],
                    fill=ink,
                    font=s.font("serif", size * 0.5),
                )
            x += font.getlength(part) + size
        top += size * s.between(2, 3.5)


def form(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    ink, line, font = s.ink(), s.colour((0, 0.6), (0.2, 0.8)), s.font("sans", width / s.count(30, 50))
    top = height * 0.06
    s.draw.text((width * 0.05, top), s.words(3).title(), fill=ink, font=s.font("sans", width / 20))
    top += height * 0.1
    while top < height * 0.92:
        step = height * s.between(0.05, 0.09)
        x = width * 0.05
        while x < width * 0.9:
            wide = width * s.between(0.15, 0.45)
            kind = s.count(0, 2)
            if kind == 0:
                s.draw.rectangle((x, top, min(x + wide, width * 0.95), top + step * 0.7), outline=line)
                s.draw.text((x + 3, top + 2), s.word(), fill=ink, font=font)
            elif kind == 1:
                for box in range(s.count(1, 4)):
                    s.draw.rectangle(
                        (x + box * step, top, x + box * step + step * 0.4, top + step * 0.4), outline=line
                    )
                s.draw.text((x + 4 * step, top), s.word(), fill=ink, font=font)
            else:
                s.draw.text((x, top), s.words(2), fill=ink, font=font)
                s.draw.line((x, top + step * 0.6, min(x + wide, width * 0.95), top + step * 0.6), fill=line)
            x += wide + width * 0.04
        top += step


def card(s: Sketch) -> None:
    """A business card, a pass, a ticket or a label: a coloured piece with a few lines, a box and perhaps a code."""
    width, height = s.size
    s.ground(s.colour((0, 0.4), (0.3, 1)))
    left, top = width * s.between(0.02, 0.12), height * s.between(0.02, 0.12)
    paper = s.colour((0, 0.5), (0.6, 1)) if s.chance(0.7) else s.colour((0.3, 1), (0.1, 0.5))
    ink = (20, 20, 30) if sum(paper) > 380 else (240, 240, 240)
    s.draw.rounded_rectangle((left, top, width - left, height - top), radius=s.count(0, 20), fill=paper)
    if s.chance(0.6):
        s.draw.rectangle((left, top, width - left, top + height * 0.2), fill=s.colour())
    photo = s.chance(0.4)
    if photo:
        s.draw.rectangle(
            (left * 1.5, height * 0.32, width * 0.32, height * 0.8), fill=s.colour((0.1, 0.5), (0.5, 0.9))
        )
        s.draw.ellipse(
            (width * 0.16, height * 0.4, width * 0.27, height * 0.6), fill=s.colour((0.2, 0.5), (0.4, 0.9))
        )
    x = width * (0.38 if photo else 0.15)
    for row in range(s.count(2, 6)):
        s.draw.text(
            (x, height * (0.3 + 0.09 * row)),
            s.words(s.count(1, 3), s.script()),
            fill=ink,
            font=s.font("sans", width / s.count(18, 34)),
        )
    if s.chance(0.5):
        bars(s, width * 0.5, height * 0.72, width * 0.35, height * 0.14, ink)


def bars(s: Sketch, left: float, top: float, width: float, height: float, ink: tuple[int, int, int]) -> None:
    x = left
    while x < left + width:
        thick = s.count(1, 4) * width / 150
        s.draw.rectangle((x, top, x + thick, top + height), fill=ink)
        x += thick + s.count(1, 4) * width / 150


def barcode(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    for _ in range(s.count(1, 3)):
        left, top = width * s.between(0.05, 0.2), height * s.between(0.05, 0.5)
        bars(s, left, top, width * s.between(0.5, 0.7), height * s.between(0.2, 0.45), (10, 10, 10))
        s.draw.text(
            (left, top - height * 0.05),
            s.word("digits") * 2,
            fill=(10, 10, 10),
            font=s.font("mono", width / 24),
        )


def matrix_code(s: Sketch) -> None:
    """A square of random cells with three corner marks, like a QR code."""
    width, height = s.size
    ink = s.ink() if s.chance(0.7) else s.colour((0.5, 1), (0.2, 0.6))
    s.ground(s.paper())
    side, cells = min(s.size) * s.between(0.4, 0.95), s.count(17, 45)
    x, y, step = (width - side) * s.rng.random(), (height - side) * s.rng.random(), side / cells
    for row in range(cells):
        for column in range(cells):
            if s.chance(0.5):
                s.draw.rectangle(
                    (x + column * step, y + row * step, x + (column + 1) * step, y + (row + 1) * step),
                    fill=ink,
                )
    for column, row in ((0, 0), (cells - 7, 0), (0, cells - 7)):
        for inset, colour in ((0, ink), (1, (255, 255, 255)), (2, ink)):
            a, b = x + (column + inset) * step, y + (row + inset) * step
            s.draw.rectangle((a, b, a + (7 - 2 * inset) * step, b + (7 - 2 * inset) * step), fill=colour)


def sheet_music(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    ink, staves = s.ink(), s.count(2, 9)
    gap = height / (staves * 12)
    for staff in range(staves):
        top = height * (staff + 0.3) / staves
        for line in range(5):
            s.draw.line((width * 0.04, top + line * gap, width * 0.96, top + line * gap), fill=ink)
        x = width * 0.1
        while x < width * 0.94:
            y = top + s.count(-1, 9) * gap / 2
            s.draw.ellipse(
                (x - gap * 0.7, y - gap / 2, x + gap * 0.7, y + gap / 2),
                fill=ink if s.chance(0.7) else None,
                outline=ink,
            )
            s.draw.line((x + gap * 0.7, y, x + gap * 0.7, y - gap * 3.5), fill=ink)
            x += gap * s.between(2, 6)
            if s.chance(0.15):
                s.draw.line((x, top, x, top + 4 * gap), fill=ink, width=2)


def crossword(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    cells = s.count(7, 17)
    side = min(s.size) * s.between(0.6, 0.95)
    x, y, step, font = (width - side) / 2, (height - side) / 2, side / cells, s.font("sans", side / cells / 2)
    for row in range(cells):
        for column in range(cells):
            box = (x + column * step, y + row * step, x + (column + 1) * step, y + (row + 1) * step)
            dark = s.chance(0.22)
            s.draw.rectangle(box, fill=(20, 20, 20) if dark else (255, 255, 255), outline=(40, 40, 40))
            if not dark and s.chance(0.35):
                s.draw.text(
                    (box[0] + step / 4, box[1] + step / 5), s.word()[0].upper(), fill=(20, 20, 60), font=font
                )


def board(s: Sketch) -> None:
    """A chessboard or draughtboard with pieces."""
    width, height = s.size
    s.ground(s.colour((0, 0.5), (0.2, 1)))
    side, cells = min(s.size) * s.between(0.7, 1), s.rng.choice([6, 8, 8, 8, 10])
    x, y, step = (width - side) / 2, (height - side) / 2, side / cells
    light, dark = s.colour((0, 0.3), (0.8, 1)), s.colour((0.1, 0.8), (0.2, 0.6))
    font, pieces = s.font("sans", step * 0.75), s.between(0, 0.6)
    letters = s.chance(0.6)
    for row in range(cells):
        for column in range(cells):
            a, b = x + column * step, y + row * step
            s.draw.rectangle((a, b, a + step, b + step), fill=light if (row + column) % 2 else dark)
            if s.chance(pieces):
                colour = s.rng.choice([(20, 20, 20), (245, 245, 245)])
                if letters:
                    s.draw.text((a + step / 8, b), s.rng.choice("♔♕♖♗♘♙♚♛♜♝♞♟"), fill=colour, font=font)
                else:
                    s.draw.ellipse(
                        (a + step / 6, b + step / 6, a + step * 0.83, b + step * 0.83),
                        fill=colour,
                        outline=(90, 90, 90),
                    )


def stamp(s: Sketch) -> None:
    """A seal or badge: rings with text around."""
    width, height = s.size
    s.ground(s.paper())
    ink, middle, radius = (
        s.colour((0.5, 1), (0.3, 0.8)),
        (width / 2, height / 2),
        min(s.size) * s.between(0.3, 0.48),
    )
    for share in (1, 0.95, s.between(0.5, 0.75)):
        box = (
            middle[0] - radius * share,
            middle[1] - radius * share,
            middle[0] + radius * share,
            middle[1] + radius * share,
        )
        s.draw.ellipse(box, outline=ink, width=s.count(1, 6))
    text, font = s.words(4).upper(), s.font("sans", radius / 6)
    for place, character in enumerate(text):
        turn = 2 * math.pi * place / len(text)
        tile = PIL.Image.new("L", (int(radius / 4), int(radius / 4)))
        PIL.ImageDraw.Draw(tile).text((4, 0), character, fill=255, font=font)
        tile = tile.rotate(-math.degrees(turn), expand=False)
        spot = middle[0] + radius * 0.82 * math.sin(turn), middle[1] - radius * 0.82 * math.cos(turn)
        s.image.paste(ink, (int(spot[0] - tile.width / 2), int(spot[1] - tile.height / 2)), tile)
    s.draw.text(
        (middle[0] - radius * 0.35, middle[1] - radius * 0.12),
        s.word().upper(),
        fill=ink,
        font=s.font("sans", radius / 4),
    )


PAGES = ((480, 640), (400, 600), (600, 480), (640, 420))
KINDS: Kinds = {
    kind.__name__: (kind, PAGES)
    for kind in (
        letter,
        columns,
        handwriting,
        strokes_script,
        equations,
        form,
        card,
        barcode,
        matrix_code,
        sheet_music,
        crossword,
        board,
        stamp,
    )
}
