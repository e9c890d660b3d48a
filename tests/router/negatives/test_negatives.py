"""The pictures that image heads are fitted against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from router.negatives import FAMILIES, draw_negatives
from router.negatives.__main__ import main
from router.negatives.rephotograph import photographed
from router.negatives.sketch import SCRIPTS, Sketch, load_font


def test_a_seed_gives_the_same_pictures_and_another_seed_others() -> None:
    first, again, other = (
        {name: np.asarray(image) for name, image in draw_negatives(seed, 1)} for seed in (0, 0, 1)
    )
    assert list(first) == list(again) == list(other)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    changed = [name for name in first if not np.array_equal(first[name], other[name])]
    assert len(changed) > 0.9 * len(first)


def test_there_are_many_kinds_and_pictures_of_one_kind_differ() -> None:
    assert sum(len(kinds) for kinds in FAMILIES.values()) >= 50
    for name, (draw, sizes) in FAMILIES["drawings"].items():
        pictures = []
        for number in range(3):
            sketch = Sketch(f"{name} {number}", sizes)
            draw(sketch)
            pictures.append(sketch.image.tobytes())
        assert len(set(pictures)) == 3, name


def test_the_command_writes_a_picture_of_every_kind(tmp_path: Path) -> None:
    main([str(tmp_path / "out"), "--seed", "3", "--each", "1"])
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == sum(len(kinds) for kinds in FAMILIES.values())
    for file in files:
        with PIL.Image.open(file) as image:
            assert image.mode == "RGB"
            assert min(image.size) >= 64


def test_a_photographed_picture_is_another_of_about_its_size() -> None:
    sketch = Sketch("page", [(300, 200)])
    sketch.draw.rectangle((20, 20, 100, 100), fill="red")
    photo = photographed(sketch)
    assert np.allclose(photo.size, sketch.size, rtol=0.2)
    assert not np.array_equal(np.asarray(photo.resize(sketch.size)), np.asarray(sketch.image))


@pytest.mark.parametrize("script", [*SCRIPTS, "latin", "digits"])
def test_words_are_of_the_script_that_was_asked_for(script: str) -> None:
    word = Sketch("words", [(100, 100)]).word(script)
    if script in SCRIPTS:
        assert set(word) <= set(SCRIPTS[script])
    else:
        assert word.isdigit() == (script == "digits")


def test_a_font_is_found_whatever_the_system_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OSError("no such font")

    load_font.cache_clear()
    monkeypatch.setattr("PIL.ImageFont.truetype", missing)
    monkeypatch.setattr("PIL.ImageFont.load_default", lambda size: f"built in, {size}")
    try:
        assert load_font("serif", 3, 20) == "built in, 20"
    finally:
        load_font.cache_clear()
