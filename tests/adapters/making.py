"""Makes small adapters, and a fake model for tests that need no more of it than its log-probabilities."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from adapters.install.installer import CheckedAdapter, Installer
from adapters.install.trust import Publishers
from adapters.store.adapter_store import AdapterStore
from adapters.store.manifest import MANIFEST_FILE, AdapterManifest, Example, write_manifest
from models.adapter_weights import AdapterWeights
from models.core.errors import UserError
from models.core.files import file_digest
from models.core.types import Image, Message, Sampling, Token
from models.engine import FeatureSizes
from models.hub.store import BaseDigests
from models.vision.tower import TowerFeatures
from tests.models.tiny_directory import HIDDEN, INNER, KV_WIDTH, LAYERS, WIDTH

MODEL, BASE_DIGEST, EARLIER_BASE_DIGEST = "tiny", "1" * 64, "0" * 64
SHAPES = {
    "self_attn.q_proj": (WIDTH, HIDDEN), "self_attn.v_proj": (KV_WIDTH, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip
Tensors = dict[str, NDArray[Any]]


def tensors(rank: int = 4, seed: int = 1, layers: int = LAYERS) -> Tensors:
    """Random LoRA tensors, float32, with peft's names, for the model of tests.models.tiny_directory."""
    rng = np.random.default_rng(seed)
    made: Tensors = {}
    for layer in range(layers):
        for module, (outputs, inputs) in SHAPES.items():
            path = f"base_model.model.model.layers.{layer}.{module}"
            made[f"{path}.lora_A.weight"] = rng.normal(0, 0.3, (rank, inputs)).astype(np.float32)
            made[f"{path}.lora_B.weight"] = rng.normal(0, 0.3, (outputs, rank)).astype(np.float32)
    return made


def write_peft(folder: Path, stored: Tensors | None = None, rank: int = 4, **config: object) -> Path:
    """Writes a folder as peft saves it. config: further fields of adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [module.rpartition(".")[2] for module in SHAPES]
    fields = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets, **config}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    safetensors.numpy.save_file(stored or tensors(rank), folder / "adapter_model.safetensors")
    return folder


def write_adapter(folder: Path, stored: Tensors | None = None, **changes: Any) -> Path:
    """As write_peft, with a manifest. changes: fields of the manifest, such as version."""
    write_peft(folder, stored)
    manifest = AdapterManifest(
        name="plants",
        version="1.0",
        description="Names plants by their leaves",
        base_model=MODEL,
        base_digest=BASE_DIGEST,
        tasks=("species",),
        examples=(Example("Which plant is this?", "an oak", "species"),),
    )
    return write_manifest_for(folder, replace(manifest, **changes))


def write_manifest_for(folder: Path, manifest: AdapterManifest) -> Path:
    """Writes the manifest into the folder, with the hashes of the files in it."""
    names = {file.name for file in folder.iterdir()} - {MANIFEST_FILE}
    digests = {name: file_digest(folder / name) for name in names}
    (folder / MANIFEST_FILE).write_bytes(write_manifest(replace(manifest, files=digests)))
    return folder


def zipped(folder: Path, archive: Path, top: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, f"{top}{file.name}")
    return archive


def tarred(folder: Path, archive: Path, top: str = "") -> Path:
    with tarfile.open(archive, "w:gz") as packed:
        for file in sorted(folder.iterdir()):
            packed.add(file, f"{top}{file.name}")
    return archive


@dataclass(frozen=True)
class FakePacker:
    """Returns adapters unchanged."""

    def pack(self, weights: AdapterWeights) -> AdapterWeights:
        return weights


class FakeModel:
    """Its log-probabilities depend on the LoRA as those of a model do: not at all when B is zero."""

    name = "edge-vlm-135m"
    has_vision = True
    adapters = FakePacker()
    feature_sizes = FeatureSizes(text=HIDDEN, image=1408)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        adapter: AdapterWeights | None = None,
        use_words: bool = True,
    ) -> Iterator[Token]:
        del sampling, use_words
        self.asked.append(messages[0].text)
        values = adapter.lora.tensors.items() if adapter else ()
        for name, tensor in values:
            if name.endswith(".A") and tensor.shape[1] not in (HIDDEN, INNER):
                raise UserError(f"The adapter does not fit this model: {name} is {list(tensor.shape)}.")
        effect = float(
            sum(np.abs(tensor).sum(dtype=np.float64) for name, tensor in values if name.endswith(".B"))
        )
        return iter([Token(1, "a", -1.0 - effect if effect < 1e20 else float("nan"))])

    def image_features(self, image: Image) -> TowerFeatures:
        raise NotImplementedError

    def token_embeddings(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        return ids, np.eye(256, HIDDEN, dtype=np.float32)[ids % HIDDEN]

    def close(self) -> None:
        pass


class FakeModels:
    def __init__(self) -> None:
        self.model = FakeModel()

    def base_for(self, published: str) -> str:
        del published
        return MODEL

    def base_of(self, model: str, digest: str) -> str:
        del digest
        return model

    def base_digests(self, name: str) -> BaseDigests:
        if name != MODEL:
            raise UserError(f"There is no model named {name!r}.")
        return BaseDigests(BASE_DIGEST, frozenset((BASE_DIGEST, EARLIER_BASE_DIGEST)))

    def load(self, name: str) -> FakeModel:
        assert name == MODEL
        return self.model

    def router_features(self, base: FakeModel) -> FakeModel:
        return base


def make_installer(
    directory: Path, confirm: Callable[[CheckedAdapter], bool] = lambda _: True, models: Any = None
) -> Installer:
    """An installer into the directory. Its trusted publishers are in publishers.json beside it."""
    publishers = Publishers(directory.with_name("publishers.json"))
    return Installer(AdapterStore(directory), models or FakeModels(), publishers, confirm)
