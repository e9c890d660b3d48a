"""Maps, diagrams, drawings and patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import PIL.Image
import PIL.ImageColor
import PIL.ImageDraw
import PIL.ImageFilter

from benchmarks.quality.router.unknown_kinds.easel import Easel


def _rough(e: Easel, size: int, power: float) -> np.ndarray:
    """A random landscape by its spectrum, [size, size], mean 0 and deviation 1."""
    wave = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    wave[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(e.numbers.standard_normal((size, size))) / wave**power).real
    return np.asarray((field - field.mean()) / field.std())


def _coloured(e: Easel, index: np.ndarray) -> PIL.Image.Image:
    """Whole numbers as colours of the palette."""
    table = np.array([PIL.ImageColor.getrgb(each) for each in e.palette], np.uint8)
    return PIL.Image.fromarray(table[index % len(table)])


def island_map(e: Easel) -> PIL.Image.Image:
    height = _rough(e, 360, e.span(1.5, 2.2))
    steps = np.digitize(height, [-0.3, 0, 0.1, 0.8, 1.6])
    table = np.array(
        [(90, 150, 200), (130, 185, 225), (240, 225, 170), (170, 200, 130), (130, 160, 100), (150, 130, 110)],
        np.uint8,
    )
    image = PIL.Image.fromarray(table[steps]).resize((460, 420))
    draw = PIL.ImageDraw.Draw(image)
    for _ in range(e.whole(3, 9)):
        x, y = e.span(20, 400), e.span(20, 400)
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#222222")
        draw.text((x + 6, y - 7), e.sentence(1), fill="#222222", font=e.type(13))
    return image


def town_map(e: Easel) -> PIL.Image.Image:
    """Ring roads, radial streets and a river."""
    image, draw = e.sheet(480, 420, "#f2efe9")
    river = [
        (x, 420 + 200 * math.sin(x / 200 + e.whole(0, 1)) + e.span(-20, 20)) for x in range(-20, 1000, 40)
    ]
    draw.line(river, fill="#a5c8e4", width=60, joint="curve")
    x, y = e.span(300, 660), e.span(250, 600)
    for turn in np.arange(0, 2 * math.pi, e.span(0.3, 0.7)):
        draw.line(
            (x, y, x + 900 * math.cos(turn), y + 900 * math.sin(turn)), fill="#ffffff", width=e.whole(6, 16)
        )
    for ring in range(90, 700, e.whole(80, 130)):
        draw.ellipse(
            (x - ring, y - ring, x + ring, y + ring),
            outline=e.dice.choice(["#ffffff", "#f6cf65", "#ffffff"]),
            width=e.whole(6, 16),
        )
    for _ in range(60):
        u, v = e.span(0, 940), e.span(0, 820)
        draw.rectangle((u, v, u + e.span(8, 40), v + e.span(8, 40)), fill="#d9d0c9")
    return e.finish(image)


def star_chart(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(420, 420, "#0b1030")
    stars = [(e.span(40, 800), e.span(40, 800)) for _ in range(e.whole(40, 120))]
    for ring in (130, 260, 390):
        draw.ellipse((420 - ring, 420 - ring, 420 + ring, 420 + ring), outline="#2c3a6e", width=2)
    for x, y in stars:
        r = e.span(1, 7)
        draw.ellipse((x - r, y - r, x + r, y + r), fill="#ffffff")
    for start in range(0, 30, 6):
        group = sorted(stars[start : start + 5], key=lambda star: star[0])
        draw.line(group, fill="#7f8fd0", width=3)
    return e.finish(image)


def class_diagram(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(560, 420, "#ffffff")
    boxes = [(60 + 370 * (n % 3), 50 + 400 * (n // 3)) for n in range(6) if e.dice.random() < 0.85]
    fill = e.dice.choice(["#ffffff", "#fff9c4", "#e3f2fd"])
    for (x, y), (u, v) in pairwise(boxes):
        draw.line([(x + 130, y + 100), (x + 130, v + 100), (u + 130, v + 100)], fill="#444444", width=3)
    for x, y in boxes:
        draw.rectangle((x, y, x + 260, y + 250), fill=fill, outline="#444444", width=3)
        draw.text((x + 60, y + 10), e.sentence(1).title(), fill="#111111", font=e.type(28))
        draw.line((x, y + 50, x + 260, y + 50), fill="#444444", width=3)
        for row in range(e.whole(2, 5)):
            draw.text((x + 12, y + 62 + 34 * row), f"+ {e.sentence(1)}: int", fill="#333333", font=e.type(22))
    return e.finish(image)


def mind_map(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(560, 420, e.dice.choice(["#ffffff", "#fdf6e3"]))
    branches = e.whole(4, 8)
    for branch in range(branches):
        turn, colour = 2 * math.pi * branch / branches, e.pick()
        x, y = 560 + 340 * math.cos(turn), 420 + 270 * math.sin(turn)
        for t in np.linspace(0, 1, 30):
            u, v = 560 + (x - 560) * t, 420 + (y - 420) * t + 30 * math.sin(math.pi * t)
            r = 10 - 6 * t
            draw.ellipse((u - r, v - r, u + r, v + r), fill=colour)
        draw.rounded_rectangle(
            (x - 100, y - 32, x + 100, y + 32), 30, outline=colour, width=5, fill="#ffffff"
        )
        draw.text((x - 60, y - 16), e.sentence(1), fill="#222222", font=e.type(28))
    draw.ellipse((400, 340, 720, 500), fill=e.palette[0])
    return e.finish(image)


def sets_diagram(e: Easel) -> PIL.Image.Image:
    """Overlapping rings with names, as in set theory."""
    image = PIL.Image.new("RGB", (460, 400), "#ffffff")
    for number in range(e.whole(2, 3)):
        layer = PIL.Image.new("RGBA", image.size)
        turn = 2.1 * number
        x, y = 230 + 70 * math.cos(turn), 200 + 70 * math.sin(turn)
        fill = (*PIL.ImageColor.getrgb(e.palette[number]), 110)
        draw = PIL.ImageDraw.Draw(layer)
        draw.ellipse((x - 110, y - 110, x + 110, y + 110), fill=fill, outline=(60, 60, 60, 255), width=2)
        draw.text(
            (x - 30 + 60 * math.cos(turn), y + 60 * math.sin(turn)),
            e.sentence(1),
            fill=(20, 20, 20, 255),
            font=e.type(18),
        )
        image.paste(layer, (0, 0), layer)
    return image


def animal(e: Easel) -> PIL.Image.Image:
    """A cartoon cat's or bear's head."""
    image, draw = e.sheet(360, 360, e.pick())
    fur, x, y, r = e.dice.choice(["#d9a066", "#8f8f8f", "#5a3d2b", "#f5deb3"]), 360, 390, e.span(180, 260)
    for side in (-1, 1):
        ear = [
            (x + side * r * 0.9, y - r * 0.3),
            (x + side * r * 0.8, y - r * 1.3),
            (x + side * r * 0.2, y - r * 0.85),
        ]
        draw.polygon(ear, fill=fur, outline="#222222")
    draw.ellipse((x - r, y - r, x + r, y + r * 0.85), fill=fur, outline="#222222", width=6)
    for side in (-1, 1):
        u = x + side * r * 0.4
        draw.ellipse((u - 34, y - 90, u + 34, y - 10), fill="#ffffff", outline="#222222", width=4)
        draw.ellipse((u - 12, y - 65, u + 12, y - 30), fill="#111111")
        for whisker in (-20, 10, 40):
            draw.line((x + side * 40, y + 60, x + side * r, y + 50 + whisker), fill="#222222", width=4)
    draw.polygon([(x - 24, y + 20), (x + 24, y + 20), (x, y + 52)], fill="#d46a6a")
    return e.finish(image)


def robot(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(340, 440, e.dice.choice(["#ffffff", "#eef2ff", "#fde68a"]))
    body = e.pick()
    draw.rounded_rectangle((200, 100, 480, 320), 30, fill=body, outline="#222222", width=6)
    draw.rectangle((180, 360, 500, 640), fill=e.pick(), outline="#222222", width=6)
    for x in (250, 370):
        draw.ellipse((x, 170, x + 60, 230), fill="#ffffff", outline="#222222", width=6)
    draw.line((340, 100, 340, 40), fill="#222222", width=8)
    draw.ellipse((320, 10, 360, 50), fill="#d00000")
    for x, reach in ((180, -100), (500, 100)):
        draw.line((x, 400, x + reach, e.span(350, 600)), fill="#222222", width=20)
    for x in (230, 400):
        draw.rectangle((x, 640, x + 50, 800), fill=body, outline="#222222", width=6)
    return e.finish(image)


def flowers(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(440, 360, e.dice.choice(["#cfe8ff", "#ffffff", "#fff3f3"]))
    draw.rectangle((0, 640, 880, 720), fill="#6aa84f")
    for _ in range(e.whole(2, 6)):
        x, y, r = e.span(80, 800), e.span(160, 460), e.span(40, 90)
        draw.line((x, y, x + e.span(-40, 40), 680), fill="#38761d", width=12)
        colour = e.pick()
        for petal in range(7):
            u, v = x + r * math.cos(petal * 0.9), y + r * math.sin(petal * 0.9)
            draw.ellipse((u - r * 0.6, v - r * 0.6, u + r * 0.6, v + r * 0.6), fill=colour, outline="#444444")
        draw.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill="#f1c232")
    return e.finish(image)


def monogram(e: Easel) -> PIL.Image.Image:
    """A company's mark: large letters in a form."""
    image, draw = e.sheet(360, 260, e.dice.choice(["#ffffff", "#ffffff", e.palette[0]]))
    form, colour = e.whole(0, 2), e.palette[1]
    if form == 0:
        draw.ellipse((220, 40, 500, 320), outline=colour, width=26)
    elif form == 1:
        draw.polygon([(360, 30), (510, 180), (360, 330), (210, 180)], fill=colour)
    else:
        draw.rounded_rectangle((200, 60, 520, 300), 70, fill=colour)
    draw.text((290, 100), e.sentence(1)[:2].upper(), fill=e.palette[2], font=e.type(110))
    draw.text((150, 380), e.sentence(2).upper(), fill=colour, font=e.type(56))
    return e.finish(image)


def national_flag(e: Easel) -> PIL.Image.Image:
    """Diagonals and a star over a field."""
    image, draw = e.sheet(420, 270, e.palette[0])
    draw.polygon([(0, 540), (840, 0), (840, 540)], fill=e.palette[1])
    draw.line((0, 540, 840, 0), fill=e.palette[2], width=e.whole(20, 90))
    x, y, r = e.span(150, 300), e.span(100, 250), e.span(60, 120)
    star = [
        (
            x + r * (1 if n % 2 == 0 else 0.4) * math.sin(n * math.pi / 5),
            y - r * (1 if n % 2 == 0 else 0.4) * math.cos(n * math.pi / 5),
        )
        for n in range(10)
    ]
    draw.polygon(star, fill=e.palette[3])
    return e.finish(image)


def fractal(e: Easel) -> PIL.Image.Image:
    y, x = np.mgrid[-1.3:1.3:300j, -1.9:1.9:400j]
    z, c = x + 1j * y, complex(e.span(-0.9, 0.3), e.span(0.1, 0.7))
    count = np.zeros(z.shape, int)
    for _ in range(40):
        inside = np.abs(z) < 2
        z = np.where(inside, z * z + c, z)
        count += inside
    return _coloured(e, count // e.whole(1, 4))


def marble(e: Easel) -> PIL.Image.Image:
    field = _rough(e, 320, e.span(1.2, 2))
    y, x = np.mgrid[0:320, 0:320]
    wave = 0.5 + 0.5 * np.sin(x / e.span(8, 40) + y / 60 + 3 * field)
    low, high = (np.array(PIL.ImageColor.getrgb(each)) for each in e.palette[:2])
    return PIL.Image.fromarray((low + wave[..., None] * (high - low)).astype(np.uint8))


def brick_wall(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(420, 320, "#c9c2b8")
    for row in range(0, 640, 52):
        for x in range(-60 if row // 52 % 2 else 0, 840, 120):
            shade = e.numbers.integers(-25, 25)
            colour = (165 + shade, 80 + shade, 60 + shade)
            draw.rectangle((x, row, x + 112, row + 44), fill=tuple(int(each) for each in colour))
    return e.finish(image)


def static(e: Easel) -> PIL.Image.Image:
    """Noise of a television, of a dark sensor, or of scattered pixels."""
    kind = e.whole(0, 2)
    if kind == 0:
        pixels = e.numbers.choice([0, 255], (240, 320, 1)).repeat(3, 2)
    elif kind == 1:
        pixels = e.numbers.poisson(e.span(3, 40), (240, 320, 3)) * 3
    else:
        pixels = np.full((240, 320, 3), 128)
        pixels[e.numbers.random((240, 320)) < 0.2] = 255
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).resize(
        (480, 360), PIL.Image.Resampling.NEAREST
    )


def hexagons(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(400, 400, "#ffffff")
    r = e.span(20, 70)
    for row in range(int(800 / r / 1.5) + 2):
        for column in range(int(800 / r / 1.73) + 2):
            x, y = (column + row % 2 / 2) * r * 1.732, row * r * 1.5
            corners = [
                (x + r * math.sin(n * math.pi / 3), y + r * math.cos(n * math.pi / 3)) for n in range(6)
            ]
            draw.polygon(corners, fill=e.pick(), outline="#333333")
    return e.finish(image)


def near_black(e: Easel) -> PIL.Image.Image:
    """A covered lens: black or one dull colour, with a faint glow."""
    y, x = np.mgrid[0:300, 0:400]
    glow = np.exp(-np.hypot(x - e.span(0, 400), y - e.span(0, 300)) / e.span(20, 150))
    tint = np.array([e.span(0, 60) for _ in range(3)])
    pixels = e.span(0, 30) + glow[..., None] * tint + e.numbers.normal(0, 2, (300, 400, 3))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def empty_page(e: Easel) -> PIL.Image.Image:
    """Paper with nothing on it, perhaps a fold or a page number."""
    image, draw = e.sheet(340, 460, e.dice.choice(["#ffffff", "#fdfdf8", "#f0ead6"]))
    if e.dice.random() < 0.5:
        draw.text((320, 860), str(e.whole(1, 300)), fill="#555555", font=e.type(26))
    if e.dice.random() < 0.5:
        draw.line((0, 460, 680, 460 + e.span(-20, 20)), fill="#e4dfd0", width=8)
    return e.finish(image)


KINDS: Mapping[str, Callable[[Easel], PIL.Image.Image]] = {
    each.__name__: each
    for each in (
        island_map,
        town_map,
        star_chart,
        class_diagram,
        mind_map,
        sets_diagram,
        animal,
        robot,
        flowers,
        monogram,
        national_flag,
        fractal,
        marble,
        brick_wall,
        static,
        hexagons,
        near_black,
        empty_page,
    )
}
