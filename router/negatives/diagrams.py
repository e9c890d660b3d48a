"""Maps and diagrams: streets, contours, flow charts, trees, networks, circuits, heat maps, surfaces, plans."""

from __future__ import annotations

import math

import numpy as np

from router.negatives.sketch import Colour, Kinds, Point, Sketch


def street_map(s: Sketch) -> None:
    width, _ = s.size
    s.ground(s.colour((0, 0.15), (0.85, 1)) if s.chance(0.8) else s.colour((0, 0.4), (0.1, 0.25)))
    for _ in range(s.count(1, 5)):
        s.draw.polygon(
            s.blob(s.point(), s.between(0.1, 0.3) * width),
            fill=s.rng.choice([(190, 220, 175), (170, 205, 235), (235, 225, 205)]),
        )
    road, turn = s.rng.choice([(255, 255, 255), (250, 210, 120), (200, 200, 200)]), s.between(0, math.pi)
    for angle in (turn, turn + math.pi / 2, turn + s.between(0.3, 1)):
        for _ in range(s.count(3, 12)):
            x, y = s.point()
            dx, dy = math.cos(angle + s.between(-0.05, 0.05)), math.sin(angle + s.between(-0.05, 0.05))
            ends = (x - 900 * dx, y - 900 * dy, x + 900 * dx, y + 900 * dy)
            thick = s.count(2, 10)
            s.draw.line(ends, fill=(190, 185, 180), width=thick + 2)
            s.draw.line(ends, fill=road, width=thick)
    font = s.font("sans", width / s.count(35, 60))
    for _ in range(s.count(0, 15)):
        s.draw.text(s.point(), s.words(2, s.script()).title(), fill=(80, 80, 90), font=font)
    for _ in range(s.count(0, 6)):
        x, y = s.point()
        s.draw.polygon([(x, y), (x - 7, y - 16), (x + 7, y - 16)], fill=s.colour((0.6, 1), (0.6, 1)))


def contours(s: Sketch) -> None:
    """Height lines, plain or coloured between the lines."""
    field = s.smooth_field(s.count(3, 8))
    levels = s.count(5, 16)
    steps = np.floor(field * levels)
    edge = (np.diff(steps, axis=0, append=steps[-1:]) != 0) | (
        np.diff(steps, axis=1, append=steps[:, -1:]) != 0
    )
    pixels = np.empty((*field.shape, 3), np.float32)
    if s.chance(0.5):
        low, high = np.array(s.colour((0.2, 0.9), (0.3, 0.9))), np.array(s.colour((0, 0.4), (0.8, 1)))
        pixels[:] = low + (steps / levels)[..., None] * (high - low)
    else:
        pixels[:] = s.paper()
    pixels[edge] = s.ink()
    s.put(pixels)


def regions(s: Sketch) -> None:
    """A map of areas in a few colours: the cells around random points, on water."""
    width, height = s.size
    points = s.noise.random((s.count(8, 45), 2)) * (height, width)
    y, x = np.mgrid[0:height, 0:width]
    wave = s.smooth_field(10) * 30
    nearest = np.argmin([(y - a + wave) ** 2 + (x - b + wave) ** 2 for a, b in points], axis=0)
    shades = s.count(3, 8)
    low, high = np.array(s.colour((0, 0.5), (0.8, 1))), np.array(s.colour((0.5, 1), (0.3, 0.8)))
    tint = s.noise.integers(shades, size=len(points))[nearest][..., None] / (shades - 1)
    pixels = (
        low + tint * (high - low)
        if s.chance(0.6)
        else np.array([s.colour((0.2, 0.7), (0.6, 1)) for _ in points])[nearest]
    )
    border = (np.diff(nearest, axis=0, append=nearest[-1:]) != 0) | (
        np.diff(nearest, axis=1, append=nearest[:, -1:]) != 0
    )
    pixels = pixels.astype(np.float32)
    pixels[border] = s.rng.choice([(255, 255, 255), (60, 60, 60)])
    if s.chance(0.7):
        pixels[s.smooth_field(4) < s.between(0.3, 0.5)] = s.rng.choice([(255, 255, 255), (170, 205, 235)])
    s.put(pixels)


def arrow(s: Sketch, start: Point, end: Point, colour: Colour, thick: int = 2) -> None:
    s.draw.line((*start, *end), fill=colour, width=thick)
    turn = math.atan2(end[1] - start[1], end[0] - start[0])
    wings = [(end[0] - 9 * math.cos(turn + side), end[1] - 9 * math.sin(turn + side)) for side in (-0.4, 0.4)]
    s.draw.polygon([end, *wings], fill=colour)


def flow_chart(s: Sketch) -> None:
    width, height = s.size
    s.ground(s.paper())
    ink, font = s.ink(), s.font("sans", width / s.count(30, 45))
    columns, rows, plain = s.count(1, 4), s.count(2, 5), s.chance(0.4)
    middle = {
        (c, r): ((c + 0.5) * width / columns, (r + 0.5) * height / rows)
        for c in range(columns)
        for r in range(rows)
        if s.chance(0.8)
    }
    w, h, fill = width / columns * 0.35, height / rows * 0.28, s.colour((0.05, 0.5), (0.8, 1))
    for (c, r), (x, y) in middle.items():
        for other in ((c + 1, r), (c, r + 1)):
            if other in middle and s.chance(0.85):
                arrow(
                    s,
                    (x, y),
                    (
                        middle[other][0] - (w if other[0] > c else 0),
                        middle[other][1] - (h if other[1] > r else 0),
                    ),
                    ink,
                )
    for x, y in middle.values():
        colour, kind = (
            (255, 255, 255) if plain else fill if s.chance(0.6) else s.colour((0.1, 0.6), (0.8, 1)),
            s.count(0, 3),
        )
        if kind == 0:
            s.draw.polygon([(x, y - h), (x + w, y), (x, y + h), (x - w, y)], fill=colour, outline=ink)
        elif kind == 1:
            s.draw.ellipse((x - w, y - h, x + w, y + h), fill=colour, outline=ink)
        else:
            s.draw.rounded_rectangle((x - w, y - h, x + w, y + h), s.count(0, 9), fill=colour, outline=ink)
            if kind == 3:
                s.draw.line((x - w, y - h / 3, x + w, y - h / 3), fill=ink)
        s.draw.text((x - w * 0.6, y - h * 0.3), s.word(), fill=ink, font=font)


def tree(s: Sketch) -> None:
    """An organisation chart or a family tree, from the top or from the left."""
    width, height = s.size
    s.ground(s.paper())
    ink, fill, sideways, deep = s.ink(), s.colour((0, 0.6), (0.7, 1)), s.chance(0.4), s.count(3, 4)
    font = s.font("sans", min(s.size) / s.count(30, 45))

    def place(low: float, high: float, level: int) -> Point:
        along, down = (low + high) / 2, (level + 0.5) / deep
        spot = (down * width, along * height) if sideways else (along * width, down * height)
        if level + 1 < deep:
            children = s.count(1 + (level == 0), 4)
            for child in range(children):
                part = (high - low) / children
                end = place(low + child * part, low + (child + 1) * part, level + 1)
                bend = ((spot[0] + end[0]) / 2, spot[1]) if sideways else (spot[0], (spot[1] + end[1]) / 2)
                other = (bend[0], end[1]) if sideways else (end[0], bend[1])
                s.draw.line([spot, bend, other, end], fill=ink, width=2)
        w, h = width * 0.05, height * 0.03
        s.draw.rectangle((spot[0] - w, spot[1] - h, spot[0] + w, spot[1] + h), fill=fill, outline=ink)
        s.draw.text((spot[0] - w * 0.8, spot[1] - h * 0.7), s.word(), fill=ink, font=font)
        return spot

    place(0.02, 0.98, 0)


def network(s: Sketch) -> None:
    """Discs joined by lines."""
    s.ground(s.paper() if s.chance(0.75) else s.colour((0, 0.5), (0.05, 0.25)))
    nodes, line = [s.point(20) for _ in range(s.count(6, 40))], s.colour((0, 0.4), (0.4, 0.8))
    for node in nodes:
        for other in sorted(nodes, key=lambda each: math.dist(node, each))[1 : s.count(2, 4)]:
            s.draw.line((*node, *other), fill=line, width=s.count(1, 3))
    palette, labels, font = (
        [s.colour() for _ in range(s.count(1, 5))],
        s.chance(0.5),
        s.font("sans", s.size[0] / 45),
    )
    for x, y in nodes:
        r = s.between(0.008, 0.035) * s.size[0]
        s.draw.ellipse((x - r, y - r, x + r, y + r), fill=s.rng.choice(palette), outline=(60, 60, 60))
        if labels:
            s.draw.text((x + r, y - r), s.word(), fill=(90, 90, 90), font=font)


def circuit(s: Sketch) -> None:
    width, _ = s.size
    ground = s.ground(s.paper() if s.chance(0.7) else (20, 70, 45))
    ink = s.ink() if ground[0] > 100 else (220, 200, 120)
    step, thick = width / s.count(6, 14), s.count(1, 3)
    for _ in range(s.count(8, 30)):
        x, y = round(s.point()[0] / step) * step, round(s.point()[1] / step) * step
        u, v = (x + step * s.count(1, 4), y) if s.chance(0.5) else (x, y + step * s.count(1, 4))
        s.draw.line((x, y, u, v), fill=ink, width=thick)
        a, b, r, kind = (x + u) / 2, (y + v) / 2, step / 4, s.count(0, 4)
        if kind == 0:
            s.draw.rectangle((a - r, b - r / 2, a + r, b + r / 2), fill=s.paper(), outline=ink, width=thick)
        elif kind == 1:
            s.draw.ellipse((a - r, b - r, a + r, b + r), fill=s.paper(), outline=ink, width=thick)
        elif kind == 2:
            s.draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=ink)
        elif kind == 3:
            s.draw.polygon([(a - r, b - r), (a + r, b), (a - r, b + r)], outline=ink)


def heat_map(s: Sketch) -> None:
    """A matrix of coloured cells, with or without numbers and names."""
    width, height = s.size
    s.ground((255, 255, 255))
    columns, rows = s.count(4, 24), s.count(4, 20)
    left, top, right, bottom = (
        (width * 0.14, height * 0.06, width * 0.9, height * 0.88) if s.chance(0.7) else (0, 0, width, height)
    )
    hues, field, font = (
        (s.colour((0.6, 1), (0.2, 0.6)), s.colour((0, 0.6), (0.8, 1))),
        s.noise.random((rows, columns)),
        s.font("sans", width / 50),
    )
    numbers = s.chance(0.3)
    for row in range(rows):
        for column in range(columns):
            share = field[row, column]
            colour = tuple(round(a + (b - a) * share) for a, b in zip(*hues, strict=True))
            x, y = left + (right - left) * column / columns, top + (bottom - top) * row / rows
            s.draw.rectangle(
                (
                    x,
                    y,
                    left + (right - left) * (column + 1) / columns,
                    top + (bottom - top) * (row + 1) / rows,
                ),
                fill=colour,
            )
            if numbers:
                s.draw.text((x + 2, y + 2), f"{share:.1f}"[1:], fill=(20, 20, 20), font=font)
        s.draw.text((left * 0.1, top + (bottom - top) * row / rows), s.word(), fill=(60, 60, 60), font=font)


def surface(s: Sketch) -> None:
    """A wire mesh of a function of two variables."""
    width, height = s.size
    ground = s.ground(s.paper())
    n, field = s.count(14, 34), s.smooth_field(s.count(3, 5))
    tall, low, high = height * s.between(0.2, 0.6), s.colour(), s.colour((0.3, 1), (0.4, 1))

    def spot(i: float, j: float) -> Point:
        z = field[int(j / n * (height - 1)), int(i / n * (width - 1))]
        return width * (0.5 + 0.42 * (i - j) / n), height * (0.4 + 0.25 * (i + j) / n) - z * tall + tall / 2

    filled, ink = s.chance(0.7), s.ink()
    for i in range(n - 1):
        for j in range(n - 1):
            z = field[int(j / n * (height - 1)), int(i / n * (width - 1))]
            colour = tuple(round(a + (b - a) * float(z)) for a, b in zip(low, high, strict=True))
            s.draw.polygon(
                [spot(i, j), spot(i + 1, j), spot(i + 1, j + 1), spot(i, j + 1)],
                fill=colour if filled else ground,
                outline=ink,
            )


def floor_plan(s: Sketch) -> None:
    width, height = s.size
    ground = s.ground(s.paper() if s.chance(0.7) else (30, 70, 140))
    ink = (30, 30, 30) if sum(ground) > 500 else (230, 240, 255)
    rooms, font = [(width * 0.06, height * 0.06, width * 0.94, height * 0.94)], s.font("sans", width / 45)
    for _ in range(s.count(3, 10)):
        rooms.sort(key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        left, top, right, bottom = rooms.pop()
        share = s.between(0.3, 0.7)
        if right - left > bottom - top:
            cut = left + (right - left) * share
            rooms += [(left, top, cut, bottom), (cut, top, right, bottom)]
        else:
            cut = top + (bottom - top) * share
            rooms += [(left, top, right, cut), (left, cut, right, bottom)]
    for left, top, right, bottom in rooms:
        s.draw.rectangle((left, top, right, bottom), outline=ink, width=s.count(2, 6))
        s.draw.text((left + 12, (top + bottom) / 2), s.word(), fill=ink, font=font)
        if s.chance(0.6):
            s.draw.arc((right - 30, bottom - 30, right + 30, bottom + 30), 180, 270, fill=ink, width=2)
            s.draw.line((right - 30, bottom, right, bottom), fill=s.paper(), width=5)


def transit_map(s: Sketch) -> None:
    width, _ = s.size
    s.ground(s.paper())
    font = s.font("sans", width / 48)
    for _ in range(s.count(2, 8)):
        x, y = s.point(20)
        path = [(x, y)]
        for _ in range(s.count(3, 8)):
            turn, length = s.count(0, 7) * math.pi / 4, s.between(0.08, 0.25) * width
            x, y = x + length * math.cos(turn), y + length * math.sin(turn)
            path.append((x, y))
        s.draw.line(path, fill=s.colour((0.6, 1), (0.5, 1)), width=s.count(4, 9), joint="curve")
        for u, v in path:
            s.draw.ellipse((u - 6, v - 6, u + 6, v + 6), fill=(255, 255, 255), outline=(20, 20, 20), width=2)
            s.draw.text((u + 8, v - 4), s.word().title(), fill=(40, 40, 40), font=font)


SIZES = ((640, 480), (560, 560), (480, 600), (640, 400))
KINDS: Kinds = {
    kind.__name__: (kind, SIZES)
    for kind in (
        street_map,
        contours,
        regions,
        flow_chart,
        tree,
        network,
        circuit,
        heat_map,
        surface,
        floor_plan,
        transit_map,
    )
}
