"""The images of a training as the language model reads them: features, own heads, tiles, and the text in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adapters.store.manifest import PromptPolicy
from adapters.training.data import OCR_FILE, TrainingRow
from adapters.training.images.features import FeatureCache, load_training_image
from adapters.training.images.tiled_images import TiledImages
from adapters.training.options import Options, Progress, Workplace, heads_file, recipe_of
from adapters.training.own_heads.heads import MAX_WORDS, OwnHeadResult, find_facts, make_heads, sharpened
from adapters.training.own_heads.heads_cache import keep_heads, kept_heads
from adapters.training.token_rows import TrainingImage
from models.core.errors import UserError
from models.families.parts import Parts
from models.ocr.prompt_text import as_prompt_lines
from models.ocr.reader import OcrCache, TextReader
from models.vision.projector.heads import ProjectorHead, ProjectorPart
from models.vision.tiled.tile_encoder import TileEncoder
from models.vision.tower import TowerFeatures
from models.vision.vision_encoder import VisionEncoder


@dataclass(frozen=True)
class ImageInputs:
    """The images as input of the language model, by TrainingRow.view, and the heads that they were seen with."""

    seen: Mapping[str, TrainingImage]
    heads: tuple[OwnHeadResult, ...] = ()
    part: ProjectorPart | None = None


def projector_inputs(
    rows: Sequence[TrainingRow],
    learnt_rows: Sequence[TrainingRow],
    parts: Parts,
    options: Options,
    place: Workplace,
    progress: Progress,
    resume: bool,
) -> ImageInputs:
    """The inputs of a model with a projector: features, and the adapter's own heads, fitted on the learnt rows."""
    features = extract_features(rows, parts, place, progress)
    recipe = recipe_of(rows, [options.own_head, options.seed])
    heads = kept_heads(heads_file(place), recipe) if resume else None
    if heads is None:
        tokenizer = parts.language.tokenizer
        heads = make_heads(
            find_facts(learnt_rows), features, tokenizer, options.own_head, options.seed, progress
        )
        keep_heads(heads_file(place), recipe, heads)
    part = projector_part([each.head for each in heads if each.head], rows, options)
    texts = read_texts(rows, PromptPolicy(options.ocr, chart_ranks=options.chart_ranks), place, progress)
    return ImageInputs(encode_images(features, texts, parts, part, heads), tuple(heads), part)


def tile_inputs(
    rows: Sequence[TrainingRow],
    _learnt_rows: Sequence[TrainingRow],
    parts: Parts,
    options: Options,
    place: Workplace,
    progress: Progress,
    _resume: bool,
) -> ImageInputs:
    """The inputs of a model that looks at tiles. It has no heads. Raises UserError when some are asked for."""
    assert isinstance(parts.vision, TileEncoder), "checked by train"
    if options.own_head == "yes":
        raise UserError(f"{place.files.name} has no image heads; leave --own-head away.")
    tower = place.files.digests.get("mmproj", place.files.digest)
    seen = TiledImages(parts.vision, tower, place.cache_dir).of(rows, progress)
    texts = read_texts(rows, PromptPolicy(options.ocr, chart_ranks=options.chart_ranks), place, progress)
    return ImageInputs(
        {view: replace(image, text=texts.get(image.digest, "")) for view, image in seen.items()}
    )


def extract_features(
    rows: Sequence[TrainingRow], parts: Parts, place: Workplace, progress: Progress
) -> dict[str, TowerFeatures]:
    """The tower's features of every image, by digest; computed once and cached."""
    if not isinstance(parts.vision, VisionEncoder):
        raise UserError(
            f"{place.files.name} has no vision encoder with a projector, which this training needs; choose a model "
            "that has one."
        )
    tower, _ = parts.vision.load()
    cache = FeatureCache(tower, place.files.digests["vision_tower"], place.cache_dir)

    def tell(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            progress(f"looked at {done} of {total} images")

    return cache.of(rows, tell)


def projector_part(
    heads: Sequence[ProjectorHead], rows: Sequence[TrainingRow], options: Options
) -> ProjectorPart | None:
    """The adapter's part of the projector; None without own heads.

    Own heads replace the model's. They are added to the model's when some type of question has so many answers that it
    needs the model's general heads, and no text is read.
    """
    if not heads:
        return None
    closed = {head.name for head in heads}
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row.type, set()).add(row.answer)
    is_open = any(len(said) > MAX_WORDS for kind, said in answers.items() if kind not in closed)
    return ProjectorPart(None if is_open and options.ocr == "never" else (), tuple(heads))


def read_texts(
    rows: Sequence[TrainingRow], reads: PromptPolicy, place: Workplace, progress: Progress
) -> dict[str, str]:
    """The text in the images as prompts have it, by digest. What is read is cached."""
    if reads.ocr == "never":
        return {}
    cache, reader = OcrCache(place.cache_dir / OCR_FILE), TextReader(place.threads)
    texts: dict[str, str] = {}
    images = {row.digest: row for row in rows}
    for done, (digest, row) in enumerate(images.items(), 1):
        page = cache.get(digest) or cache.read(load_training_image(row), reader)
        if reads.ocr == "always" or page.looks_like_document:
            texts[digest] = as_prompt_lines(page, reads.prompt_format, chart_ranks=reads.chart_ranks)
        if done % 50 == 0 or done == len(images):
            cache.save()
            progress(f"read {done} of {len(images)} images")
    return texts


def encode_images(
    features: Mapping[str, TowerFeatures],
    texts: Mapping[str, str],
    parts: Parts,
    part: ProjectorPart | None,
    heads: Sequence[OwnHeadResult],
) -> dict[str, TrainingImage]:
    """Every image as input of the language model, by digest.

    The image tokens of an own head come from cross-validation, by a head that was not fitted on the image: on its own
    training images a head is more certain than on other images.
    """
    assert isinstance(parts.vision, VisionEncoder), "checked by extract_features"
    _, projector = parts.vision.load()
    kept = [each for each in heads if each.head is not None]
    seen = {}
    for digest, each in features.items():
        made = projector.tokens(each, part)
        rows, at = made.embeddings.copy(), len(made.embeddings)
        for result in reversed(kept):
            assert result.head is not None
            at -= result.head.slots
            if digest in result.shares:
                rows[at : at + result.head.slots] = mixtures(result.head, result.shares[digest], parts)
        guesses = made.heads.get(parts.words_head or "", made.guesses)
        seen[digest] = TrainingImage(digest, rows, guesses, texts.get(digest, ""))
    return seen


def mixtures(head: ProjectorHead, shares: NDArray[np.float32], parts: Parts) -> NDArray[np.float32]:
    """A head's image tokens for probabilities float32 [words], as the projector makes them: float32 [slots, hidden]."""
    shares = sharpened(shares, head.sharpness)
    return np.stack(
        [shares @ parts.embedding(head.tokens[:, slot].astype(np.int64)) for slot in range(head.slots)]
    ).astype(np.float32)
