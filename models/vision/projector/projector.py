"""The projector: the vision tower's features to image tokens, embeddings that the language model reads like words.

Each head classifies one property of the image (its object, its setting, a colour) and gives probabilities over words.
An image token is the mixture of the embeddings of these words. Image tokens are therefore close to embeddings of words,
and carry nothing beyond the vocabulary of the heads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.compiler import threads
from models.compiler.compile import compile_or_load
from models.compiler.cpu import KernelPath
from models.compiler.tvm_runtime import Library, aligned_zeros, as_tensor
from models.core.errors import UserError
from models.core.types import Progress, no_progress
from models.formats.float_matrix import FLOAT_BITS, FloatType, from_blocks
from models.packing.lora_layout import MAX_RANK
from models.packing.packed_model import PackedModel
from models.packing.tiles import CODE_BYTES, TILE_BYTES, TILE_INPUTS, TILE_ROWS
from models.vision.projector.heads import Places, ProjectorHead, ProjectorPart, check_vocabulary
from models.vision.projector.pooling import feature, map_of, pooled
from models.vision.tower import TowerFeatures

MAX_PARTS = 8
"""Projector parts of adapters that stay prepared, a few MB each; the least recently used are dropped first."""

GUESSES = 10
"""Labels of each head that are reported, most probable first."""

HIDDEN_STEP = 32
"""The language model's hidden size must be a multiple of this, two vectors of the kernel."""

_LENGTH_STEP = 64  # features are padded to a multiple of this, see models.vision.projector.projection.UNROLL
_NEVER = -1e30  # the logit of padding, so that its probability is 0

EmbeddingRows = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the embeddings, float32 [n, hidden], of token ids, int64 [n]."""

Guess = tuple[str, float]


@dataclass(frozen=True)
class ImageTokens:
    """One image for the language model, as embeddings and in words.

    embeddings: float32 [tokens, hidden].
    heads: the most probable (label, probability) of each head, best first, by the head's name.
    guesses: those of the first head.
    probability: 0..1, of the best label of the first head. With an adapter's own heads, the smallest of their best
        labels' probabilities.
    """

    embeddings: NDArray[np.float32]
    heads: Mapping[str, tuple[Guess, ...]]
    guesses: tuple[Guess, ...]
    probability: float


def packed_embedding(model: PackedModel) -> EmbeddingRows:
    """The embedding rows of a packed language model, as float32 (tiles, see models.packing.packed_model)."""
    if (kind := model.shape.float_type) is not None:
        return _float_rows(model.sections["embedding"], kind, model.shape.hidden)
    tables = [_tile_rows(model.sections[name], model.shape.hidden) for name in model.shape.tables]

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        first, *others = [table(ids) for table in tables]
        return sum(others, first)

    return rows


def _tile_rows(section: NDArray[np.uint8], hidden: int) -> EmbeddingRows:
    tiles = section.reshape(-1, hidden // TILE_INPUTS, TILE_BYTES[8])

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = tiles[ids // TILE_ROWS]  # uint8 [n, hidden / TILE_INPUTS, bytes of a tile]
        lane = ids % TILE_ROWS
        number = np.arange(len(ids))
        # Codes lie in chunks of 16 rows x 4 inputs; a code of 0..255 stands for (code - 128) times the row's scale.
        codes = chosen[..., : CODE_BYTES[8]].reshape(*chosen.shape[:2], TILE_INPUTS // 4, TILE_ROWS, 4)
        own = codes[number, :, :, lane].reshape(*chosen.shape[:2], TILE_INPUTS).astype(np.float32) - 128
        scales = np.ascontiguousarray(chosen[..., CODE_BYTES[8] :]).view(np.float16)
        scale = scales[number, :, lane].astype(np.float32)
        return (own * scale[..., None]).reshape(len(ids), hidden)

    return rows


def _float_rows(section: NDArray[np.uint8], kind: FloatType, hidden: int) -> EmbeddingRows:
    blocks = section.reshape(-1, hidden * TILE_ROWS * FLOAT_BITS[kind] // 8)

    def rows(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        chosen = from_blocks(kind, blocks[ids // TILE_ROWS], TILE_ROWS, hidden).values
        return chosen.reshape(len(ids), TILE_ROWS, hidden)[np.arange(len(ids)), ids % TILE_ROWS]

    return rows


class Projector:
    """The heads of one model. One thread must make all calls, since heads have buffers that calls overwrite."""

    def __init__(
        self,
        heads: Sequence[ProjectorHead],
        embedding: EmbeddingRows,
        vocab_size: int,
        library: Library,
        thread_count: int,
    ) -> None:
        """embedding: of the language model; the rows of the heads' words are copied."""
        self._embedding, self._vocab_size = embedding, vocab_size
        self._function = library["project"]
        self._threads = thread_count
        self._heads = self._prepare(heads)
        self.hidden = self._heads[0].out.shape[1]
        self._parts: OrderedDict[ProjectorPart, list[_RunningHead]] = OrderedDict()

    def _prepare(self, heads: Sequence[ProjectorHead]) -> list[_RunningHead]:
        """Pack heads for the kernel. They share one table of the embeddings of all their words."""
        wanted = np.unique(np.concatenate([head.tokens.reshape(-1) for head in heads]))
        wanted = wanted[wanted >= 0].astype(np.int64)
        rows = self._embedding(wanted)
        if rows.shape[1] % HIDDEN_STEP:
            raise ValueError(f"the hidden size must be a multiple of {HIDDEN_STEP}, not {rows.shape[1]}")
        table = aligned_zeros((len(wanted) + 1, rows.shape[1]), np.float32)  # row 0: the token -1
        table[1:] = rows
        # Several heads may use the tower's classifier, which is packed once.
        packed: dict[tuple[int, float], NDArray[np.float32]] = {}
        for head in heads:
            key = (id(head.weight), _scale(head))
            if key not in packed:
                packed[key] = _pack_weight(head)
        return [
            _RunningHead.prepare(head, packed[id(head.weight), _scale(head)], wanted, table) for head in heads
        ]

    @classmethod
    def load(
        cls,
        heads: Sequence[ProjectorHead],
        embedding: EmbeddingRows,
        vocab_size: int,
        path: KernelPath,
        cache_dir: Path,
        thread_count: int,
        progress: Progress = no_progress,
    ) -> Projector:
        """heads: from models.vision.projector.projector_file. The kernel comes from cache_dir or is compiled now.

        progress: receives the stage "compile".
        """
        build = "models.vision.projector.projection:projector_module"
        library = compile_or_load("projector", build, {}, path, cache_dir, progress)
        return cls(heads, embedding, vocab_size, library, thread_count)

    @property
    def length(self) -> int:
        """The number of image tokens of an image without an adapter."""
        return sum(running.head.slots for running in self._heads)

    def tokens(self, features: TowerFeatures, part: ProjectorPart | None = None) -> ImageTokens:
        """The image tokens, in the order of the heads.

        features: must include the maps (VisionTower.features) if a head reads them.
        part: an adapter's changes to the projector. Raises UserError when it does not fit this projector.
        """
        threads.use_threads(self._threads)
        heads = self._heads if part is None else self._with_part(part)
        lora = part.lora if part else {}
        embeddings = np.empty((sum(running.head.slots for running in heads), self.hidden), np.float32)
        guesses: dict[str, tuple[Guess, ...]] = {}
        at = 0
        for running in heads:
            head = running.head
            running.run(
                self._function, features, lora.get(f"heads.{head.name}.A"), lora.get(f"heads.{head.name}.B")
            )
            embeddings[at : at + head.slots] = running.out
            guesses[head.name] = running.guesses()
            at += head.slots
        first = guesses[heads[0].head.name]
        own = [guesses[head.name] for head in part.heads] if part else []
        return ImageTokens(embeddings, guesses, first, min(each[0][1] for each in own or [first]))

    def _with_part(self, part: ProjectorPart) -> list[_RunningHead]:
        """The heads that run with an adapter's part, prepared now or kept from before. Raises UserError."""
        if part not in self._parts:
            kept = self._kept(part)
            for head in part.heads:
                check_vocabulary(head, self._vocab_size, "The adapter's projector")
            self._parts[part] = [*kept, *(self._prepare(part.heads) if part.heads else ())]
        self._parts.move_to_end(part)
        while len(self._parts) > MAX_PARTS:
            self._parts.popitem(last=False)
        return self._parts[part]

    def _kept(self, part: ProjectorPart) -> list[_RunningHead]:
        """The model's heads that the part keeps. Raises UserError when it was made for another projector."""
        base = {running.head.name: running for running in self._heads}
        names = list(base) if part.keep is None else list(part.keep)
        for name in names:
            if name not in base:
                raise UserError(
                    f"The adapter keeps a head {name}, which this model's projector does not have."
                )
        for head in part.heads:
            if head.name in names:
                raise UserError(
                    f"The adapter has a head {head.name} and keeps the model's head of that name."
                )
        for tensor in part.lora:
            if tensor not in {f"heads.{name}.{side}" for name in names for side in "AB"}:
                raise UserError(
                    f"The adapter has a tensor {tensor}, but no such head of the model's is kept."
                )
        return [base[name] for name in names]


def head_inputs(head: ProjectorHead, features: TowerFeatures) -> list[NDArray[np.float32]]:
    """The inputs of a head, which concatenate to float32 [features]."""
    parts = [feature(features, name) for name in head.features]
    return [*parts, seen_places(head.places, features)] if head.places else parts


def seen_places(places: Places, features: TowerFeatures) -> NDArray[np.float32]:
    """relu(W x + b) at every position of a map, pooled: float32 [places.size]."""
    hidden = map_of(features, places.map) @ places.weight.T + places.bias  # [positions, hidden]
    return pooled(np.maximum(hidden, 0), places.cells, places.pooling)


def _scale(head: ProjectorHead) -> float:
    """The factor s / t of the logits z. softmax(s z / t) is softmax(z / t) to the power s, normalised."""
    return head.sharpness / head.temperature


def _pack_weight(head: ProjectorHead) -> NDArray[np.float32]:
    """weight [words, inputs] times the scale as [blocks][length][16], zero-padded."""
    words, inputs = head.weight.shape
    length, blocks = -(-inputs // _LENGTH_STEP) * _LENGTH_STEP, -(-words // 16)
    padded = np.zeros((blocks * 16, inputs), np.float32)
    np.multiply(head.weight, np.float32(_scale(head)), out=padded[:words])
    packed: NDArray[np.float32] = aligned_zeros((blocks, length, 16), np.float32)
    packed[:, :inputs] = padded.reshape(blocks, 16, inputs).transpose(0, 2, 1)
    return packed


@dataclass
class _RunningHead:
    """A head in the kernel's layout, with its own buffers.

    feature: float32 [length], the padded input. shares: float32 [16 * blocks], the mixture's probabilities.
    out: float32 [slots, hidden]. scalars: length, blocks. before, after: kernel arguments around the LoRA's.
    """

    head: ProjectorHead
    feature: NDArray[np.float32]
    shares: NDArray[np.float32]
    out: NDArray[np.float32]
    scalars: tuple[int, int]
    before: tuple[object, ...] = field(repr=False)
    after: tuple[object, ...] = field(repr=False)

    @classmethod
    def prepare(
        cls,
        head: ProjectorHead,
        weights: NDArray[np.float32],
        wanted: NDArray[np.int64],
        table: NDArray[np.float32],
    ) -> _RunningHead:
        """weights: from `_pack_weight`. table: a row of zeros, then the embeddings of the sorted token ids `wanted`."""
        blocks, length, _ = weights.shape
        words, hidden = len(head.labels), table.shape[1]
        bias = aligned_zeros(blocks * 16, np.float32)
        bias[:words] = head.bias * _scale(head)
        bias[words:] = _NEVER
        rows = aligned_zeros((head.slots, blocks * 16), np.int32)
        rows[:, :words] = np.where(head.tokens < 0, 0, np.searchsorted(wanted, head.tokens) + 1).T
        feature = aligned_zeros(length, np.float32)
        shares = aligned_zeros(blocks * 16, np.float32)
        out = aligned_zeros((head.slots, hidden), np.float32)
        return cls(
            head=head,
            feature=feature,
            shares=shares,
            out=out,
            scalars=(length, blocks),
            before=(as_tensor(feature), as_tensor(weights), as_tensor(bias)),
            after=(as_tensor(shares), as_tensor(rows), as_tensor(table), as_tensor(out)),
        )

    def run(
        self,
        function: Callable[..., object],
        features: TowerFeatures,
        a: NDArray[np.float32] | None,
        b: NDArray[np.float32] | None,
    ) -> None:
        """Compute `shares` and `out` for an image. a, b: the LoRA as in `_lora`."""
        np.concatenate(head_inputs(self.head, features), out=self.feature[: self.head.weight.shape[1]])
        rank, low, high = self._lora(a, b)
        middle = as_tensor(aligned_zeros(rank + 1, np.float32))
        slots, hidden = self.out.shape
        function(*self.scalars, rank, slots, hidden, *self.before, low, high, middle, *self.after)

    def guesses(self) -> tuple[Guess, ...]:
        """The most probable labels of the latest run. The sharpness of the mixture is undone for them."""
        shares = self.shares[: len(self.head.labels)]
        if self.head.sharpness != 1:
            shares = shares ** np.float32(1 / self.head.sharpness)
            shares /= shares.sum()
        best = np.argsort(-shares, kind="stable")[:GUESSES]
        return tuple((self.head.labels[index], float(shares[index])) for index in best)

    def _lora(
        self, a: NDArray[np.float32] | None, b: NDArray[np.float32] | None
    ) -> tuple[int, object, object]:
        """(rank, A [rank, length], B [rank, 16 * blocks]) as the kernel reads them, with the scale folded into B.

        a: float32 [rank, inputs], b: float32 [words, rank]; both None for no LoRA, which is rank 0.
        Raises UserError when they do not fit the head.
        """
        length, blocks = self.scalars
        if a is None and b is None:
            nothing = (as_tensor(aligned_zeros(16, np.float32)) for _ in range(2))
            return (0, *nothing)
        words, inputs = self.head.weight.shape
        rank = len(a) if a is not None else 0
        fits = a is not None and b is not None and a.shape == (rank, inputs) and b.shape == (words, rank)
        if a is None or b is None or not fits or not 1 <= rank <= MAX_RANK:
            raise UserError(
                f"The adapter's LoRA of the projector head {self.head.name} does not fit: "
                f"A must be [rank, {inputs}] and B [{words}, rank], rank 1 to {MAX_RANK}."
            )
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise UserError(f"The adapter's LoRA of the projector head {self.head.name} is not finite.")
        low = aligned_zeros((rank, length), np.float32)
        low[:, :inputs] = a
        high = aligned_zeros((rank, blocks * 16), np.float32)
        high[:, :words] = b.T * _scale(self.head)
        return rank, as_tensor(low), as_tensor(high)
