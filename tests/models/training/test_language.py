"""The model being trained, on a tiny made-up Llama: packing, saving, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra [train]: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="training needs the extra [train]: pip install -e '.[train]'")

import torch

from models.formats.llama_weights import LlamaConfig, LlamaLayer, LlamaWeights
from models.formats.quantization import QuantizedMatrix, quantise
from models.lora.peft_format import read_peft
from models.training import base
from models.training.examples import TrainingConversation, pack
from models.training.language import TorchLanguageModel
from models.training.precision import compute_dtype

pytestmark = pytest.mark.train

CONFIG = LlamaConfig(
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=32,
    vocab_size=40,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    max_position_embeddings=128,
    tie_word_embeddings=True,
)


def tiny() -> LlamaWeights:
    rng = np.random.default_rng(1)

    def matrix(outputs: int, inputs: int) -> QuantizedMatrix:
        return quantise(rng.normal(0, 0.2, (outputs, inputs)).astype(np.float32), 8)

    ones = np.ones(64, np.float32)
    layers = [
        LlamaLayer(
            q=matrix(64, 64), k=matrix(32, 64), v=matrix(32, 64), o=matrix(64, 64), gate=matrix(96, 64),
            up=matrix(96, 64), down=matrix(64, 96), attention_norm=ones, mlp_norm=ones,
        )
        for _ in range(2)
    ]  # fmt: skip
    return LlamaWeights(CONFIG, matrix(40, 64), layers, ones, None, "0" * 64)


def conversation(seed: int, length: int = 9) -> TrainingConversation:
    rng = np.random.default_rng(seed)
    tokens = (-1, -2, *(int(i) for i in rng.integers(0, 40, length)))
    learn = tuple(index > 5 for index in range(len(tokens)))
    return TrainingConversation(tokens, learn, rng.normal(0, 0.2, (2, 64)).astype(np.float32))


class Repeating:
    """A sampler of which step n is always the same."""

    def draw(self, step: int) -> list[TrainingConversation]:
        return [conversation(step), conversation(step + 100)]

    def held_out(self) -> list[TrainingConversation]:
        return [conversation(999)]


def new_language() -> TorchLanguageModel:
    torch.manual_seed(5)
    return TorchLanguageModel(tiny(), rank=4, alpha=8)


def test_the_loss_hardly_depends_on_the_type_it_is_computed_in() -> None:
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(5)
        language = TorchLanguageModel(tiny(), rank=4, alpha=8, dtype=dtype)
        loss = language.loss(pack([conversation(1)], language.embedding))
        loss.backward()
        assert all(parameter.dtype == torch.float32 for parameter in language.parameters())
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=0.03)


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ("AVX512", torch.bfloat16), ("AVX2", torch.float32), ("DEFAULT", torch.float32), ("NEON", torch.float32),
    ],
)  # fmt: skip
def test_bfloat16_is_for_processors_that_multiply_it(
    monkeypatch: pytest.MonkeyPatch, capability: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert compute_dtype() == dtype


def test_packed_conversations_do_not_see_one_another() -> None:
    language = new_language()
    alone = [float(language.loss(pack([conversation(i)], language.embedding)).detach()) for i in (1, 2)]
    together = float(language.loss(pack([conversation(1), conversation(2)], language.embedding)).detach())
    assert together == pytest.approx(sum(alone) / 2, rel=0.01)


def test_an_interrupted_training_ends_with_the_same_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CHECKPOINT_EVERY", 2)
    whole, first, second = new_language(), new_language(), new_language()
    sampler: base.ConversationSampler = Repeating()  # type: ignore[assignment]
    base.train(whole, sampler, 6, tmp_path / "whole.pt", resume=False)

    class Interrupted(Repeating):
        def draw(self, step: int) -> list[TrainingConversation]:
            if step == 5:
                raise KeyboardInterrupt
            return super().draw(step)

    stopped: base.ConversationSampler = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        base.train(first, stopped, 6, tmp_path / "parts.pt", resume=False)
    base.train(second, sampler, 6, tmp_path / "parts.pt", resume=True)
    for name, value in whole.state().items():
        assert torch.equal(second.state()[name], value), name
    assert any(bool(value.any()) for name, value in whole.state().items() if "lora_B" in name)


def test_a_saved_adapter_is_what_the_engine_reads(tmp_path: Path) -> None:
    language = new_language()
    with torch.no_grad():
        for value in language.state().values():
            value.normal_(0, 0.1)
    language.save_adapter(tmp_path / "lora")
    read = read_peft(tmp_path / "lora", "trained")
    assert read.rank == 4
    for index in range(2):
        for path in ("self_attn.q_proj", "mlp.down_proj"):
            role = path.split(".")[1]
            stored = language.state()
            a = stored[f"base_model.model.model.layers.{index}.{path}.lora_A.weight"].numpy()
            b = stored[f"base_model.model.model.layers.{index}.{path}.lora_B.weight"].numpy()
            assert np.allclose(read.tensors[f"layers.{index}.{role}.A"], a, atol=1e-3)
            assert np.allclose(read.tensors[f"layers.{index}.{role}.B"], b * 2, atol=2e-3)
