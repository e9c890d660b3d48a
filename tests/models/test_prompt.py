"""A prompt's atoms become token ids and image rows without mixing images up."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.prompt import EncodedImage, ImageNumbers, Prompt

ROWS = 3


def encoded(count: int) -> list[EncodedImage]:
    """Images in the order in which they were encoded; the number of an image is in all of its rows."""
    numbers = ImageNumbers()
    images = []
    for number in range(count):
        embeddings = np.full((ROWS, 4), number, np.float32) + np.arange(ROWS, dtype=np.float32)[:, None] / 10
        images.append(EncodedImage(numbers.take(ROWS), embeddings, ()))
    return images


@given(st.permutations(range(4)), st.integers(0, 15), st.integers(1, 20))
def test_every_row_is_the_one_its_atom_stands_for_whatever_was_encoded_first(
    shown: list[int], start: int, length: int
) -> None:
    images = encoded(4)
    atoms = [atom for number in shown for atom in (7, *images[number].atoms)]
    prompt = Prompt(atoms, tuple(images[number] for number in shown))
    tokens, rows = prompt.inputs(start, start + length)
    meant = {atom: image.embeddings[row] for image in images for row, atom in enumerate(image.atoms)}
    for token, atom in zip(tokens, atoms[start : start + length], strict=True):
        if atom < 0:
            assert rows is not None
            assert np.array_equal(rows[-token - 1], meant[atom])
        else:
            assert token == atom


def test_text_alone_comes_without_rows() -> None:
    tokens, rows = Prompt([5, 6, 7], ()).inputs(1, 3)
    assert (tokens.tolist(), rows) == ([6, 7], None)
