"""Screens: mail, a shop, a video player, a messenger, a file list, a login, a game, an error, a dashboard of tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import PIL.Image

from benchmarks.quality.router.unknown_kinds.easel import Easel


def _scheme(e: Easel) -> tuple[str, str, str]:
    """Ground, panel and ink."""
    return e.dice.choice(
        [
            ("#ffffff", "#f3f4f6", "#111827"),
            ("#0f172a", "#1e293b", "#e2e8f0"),
            ("#fafaf9", "#e7e5e4", "#292524"),
            ("#18181b", "#27272a", "#fafafa"),
        ]
    )


def mail(e: Easel) -> PIL.Image.Image:
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(640, 400, ground)
    draw.rectangle((0, 0, 220, 800), fill=panel)
    for row in range(8):
        draw.text((30, 60 + 60 * row), e.sentence(1), fill=ink, font=e.type(24))
    for row in range(10):
        y = 20 + 78 * row
        draw.ellipse((240, y, 290, y + 50), fill=e.pick())
        draw.text((310, y), e.sentence(2), fill=ink, font=e.type(24))
        draw.text((310, y + 28), e.sentence(5), fill="#8a8f98", font=e.type(20))
        draw.line((230, y + 64, 700, y + 64), fill=panel, width=2)
    e.prose(draw, 740, 60, 500, e.whole(6, 16), 24, ink)
    return e.finish(image)


def shop(e: Easel) -> PIL.Image.Image:
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(640, 440, ground)
    draw.rectangle((0, 0, 1280, 90), fill=e.pick())
    draw.rounded_rectangle((300, 22, 900, 68), 23, fill="#ffffff")
    for number in range(8):
        x, y = 30 + 312 * (number % 4), 120 + 370 * (number // 4)
        draw.rounded_rectangle((x, y, x + 284, y + 340), 16, fill=panel)
        draw.ellipse((x + 70, y + 30, x + 214, y + 180), fill=e.pick())
        draw.rectangle((x + e.span(60, 120), y + 90, x + e.span(160, 220), y + 170), fill=e.pick())
        draw.text((x + 20, y + 210), e.sentence(2), fill=ink, font=e.type(24))
        draw.text((x + 20, y + 250), f"{e.whole(3, 99)}.99", fill=ink, font=e.type(30))
        draw.rounded_rectangle((x + 150, y + 280, x + 264, y + 320), 12, fill=e.palette[0])
    return e.finish(image)


def video_player(e: Easel) -> PIL.Image.Image:
    image, draw = e.sheet(640, 360, "#000000")
    field = e.numbers.random((5, 8, 3)) * 255
    frame = PIL.Image.fromarray(field.astype(np.uint8)).resize((1280, 620), PIL.Image.Resampling.BICUBIC)
    image.paste(frame, (0, 0))
    draw.polygon([(590, 250), (590, 390), (710, 320)], fill="#ffffff")
    draw.rectangle((40, 650, 1240, 658), fill="#555555")
    draw.rectangle((40, 650, e.span(100, 1200), 658), fill="#ff0000")
    draw.text(
        (40, 672),
        f"{e.whole(0, 9)}:{e.whole(10, 59)} / {e.whole(10, 59)}:00   " + e.sentence(4),
        fill="#ffffff",
        font=e.type(26),
    )
    return e.finish(image)


def messenger(e: Easel) -> PIL.Image.Image:
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(300, 600, ground)
    draw.rectangle((0, 0, 600, 100), fill=e.pick())
    draw.ellipse((20, 20, 80, 80), fill="#dddddd")
    y = 130.0
    while y < 1050:
        own, lines = e.dice.random() < 0.5, e.whole(1, 4)
        x = 180 if own else 20
        draw.rounded_rectangle((x, y, x + 400, y + 30 + 34 * lines), 24, fill=e.palette[1] if own else panel)
        e.prose(draw, x + 20, y + 12, 360, lines, 24, ink if not own else "#202020")
        y += 60 + 34 * lines
    draw.rounded_rectangle((20, 1120, 580, 1180), 30, outline=ink, width=2)
    return e.finish(image)


def file_list(e: Easel) -> PIL.Image.Image:
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(600, 420, ground)
    draw.rectangle((0, 0, 1200, 70), fill=panel)
    for row in range(e.whole(6, 16)):
        y = 90 + 46 * row
        draw.rectangle((40, y, 70, y + 26), fill="#e8b84a")
        draw.text(
            (90, y),
            e.sentence(2).replace(" ", "_").lower() + e.dice.choice([".txt", ".pdf", "", ".png"]),
            fill=ink,
            font=e.type(24),
        )
        draw.text((760, y), f"{e.whole(1, 900)} KB", fill="#8a8f98", font=e.type(22))
        draw.text((960, y), f"0{e.whole(1, 9)}.1{e.whole(0, 2)}.2030", fill="#8a8f98", font=e.type(22))
    return e.finish(image)


def login(e: Easel) -> PIL.Image.Image:
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(560, 400, e.pick())
    left = e.whole(240, 400)
    draw.rounded_rectangle((left, 120, left + 440, 700), 26, fill=ground)
    draw.text((left + 60, 170), e.sentence(2), fill=ink, font=e.type(46))
    for y in (280, 390):
        draw.rounded_rectangle((left + 50, y, left + 390, y + 66), 10, fill=panel, outline="#9ca3af", width=2)
        draw.text((left + 70, y + 16), e.sentence(1), fill="#9ca3af", font=e.type(26))
    draw.rounded_rectangle((left + 50, 520, left + 390, 590), 10, fill=e.palette[2])
    return e.finish(image)


def stop_screen(e: Easel) -> PIL.Image.Image:
    """A system's failure on one plain colour."""
    image, draw = e.sheet(640, 400, e.dice.choice(["#0078d7", "#000082", "#000000", "#8b0000"]))
    draw.text((120, 120), e.dice.choice([":(", "!", "Oh no."]), fill="#ffffff", font=e.type(130))
    e.prose(draw, 120, 330, 900, e.whole(2, 8), 34, "#ffffff")
    return e.finish(image)


def platform_game(e: Easel) -> PIL.Image.Image:
    """Pixel art: platforms, coins and a player."""
    cells = np.zeros((24, 36, 3), np.uint8)
    cells[:] = PIL.ImageColor.getrgb(e.dice.choice(["#5c94fc", "#1a1a2e", "#87ceeb"]))
    for _ in range(e.whole(4, 9)):
        y, x = e.whole(6, 22), e.whole(0, 30)
        cells[y, x : x + e.whole(3, 9)] = PIL.ImageColor.getrgb(e.pick())
    cells[21:] = PIL.ImageColor.getrgb("#8b5a2b")
    for _ in range(e.whole(3, 9)):
        cells[e.whole(3, 18), e.whole(1, 34)] = (255, 215, 0)
    x = e.whole(3, 30)
    cells[17:21, x : x + 2] = (220, 40, 40)
    return PIL.Image.fromarray(cells).resize((576, 384), PIL.Image.Resampling.NEAREST)


def tiles(e: Easel) -> PIL.Image.Image:
    """Large figures in boxes, without any chart."""
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(640, 400, ground)
    for number in range(e.whole(4, 9)):
        x, y = 30 + 410 * (number % 3), 40 + 250 * (number // 3)
        draw.rounded_rectangle((x, y, x + 380, y + 210), 20, fill=panel)
        draw.text((x + 30, y + 25), e.sentence(2), fill="#8a8f98", font=e.type(26))
        draw.text((x + 30, y + 80), str(e.whole(1, 99999)), fill=ink, font=e.type(76))
    return e.finish(image)


def source_listing(e: Easel) -> PIL.Image.Image:
    """A program's text with a margin of numbers; one colour a line."""
    ground, panel, ink = _scheme(e)
    image, draw = e.sheet(520, 520, ground)
    draw.rectangle((0, 0, 70, 1040), fill=panel)
    font = e.type(24)
    for row in range(e.whole(14, 30)):
        y = 20 + 34 * row
        draw.text((16, y), str(row + 1), fill="#8a8f98", font=font)
        text = e.dice.choice(
            [
                "for (int i = 0; i < n; i++) {",
                "}",
                f"let {e.sentence(1)} = {e.whole(0, 9)};",
                f"// {e.sentence(4)}",
                f"call({e.sentence(1)});",
            ]
        )
        draw.text(
            (100 + 40 * e.whole(0, 4), y),
            text,
            fill=e.dice.choice([ink, ink, "#22a06b", "#c2410c"]),
            font=font,
        )
    return e.finish(image)


KINDS: Mapping[str, Callable[[Easel], PIL.Image.Image]] = {
    each.__name__: each
    for each in (
        mail,
        shop,
        video_player,
        messenger,
        file_list,
        login,
        stop_screen,
        platform_game,
        tiles,
        source_listing,
    )
}
