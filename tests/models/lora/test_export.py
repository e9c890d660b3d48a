"""LoRAs written for other runtimes change the model as the adapter that they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.core.errors import UserError
from models.formats.gguf.gguf_file import GgufFile
from models.lora.export import GGUF_MODULES, write_gguf_lora, write_plain_peft
from models.lora.peft_format import PeftLora, read_peft

FIXTURES = Path(__file__).parents[2] / "fixtures" / "peft"
PLAIN = ("plain", "patterns", "one_layer")


def changes(lora: PeftLora) -> dict[str, NDArray[np.float32]]:
    names = {name.rpartition(".")[0] for name in lora.tensors}
    return {name: lora.tensors[f"{name}.B"] @ lora.tensors[f"{name}.A"] for name in names}


def in_llama_cpp_order(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Row by row: a head's rows i and i + d/2, which are rotated together, lie beside each other."""
    width = len(rows) // heads
    order = [
        head * width + place
        for head in range(heads)
        for pair in range(width // 2)
        for place in (pair, pair + width // 2)
    ]
    return rows[order]


@pytest.mark.parametrize("name", PLAIN)
def test_a_gguf_file_has_the_same_changes_in_llama_cpp_s_order(name: str, tmp_path: Path) -> None:
    lora = read_peft(FIXTURES / name, name)
    outputs = {key.rpartition(".")[0]: t.shape[0] for key, t in lora.tensors.items() if key.endswith(".B")}
    heads = {"q_proj": 4, "k_proj": 2}
    write_gguf_lora(tmp_path / "a.gguf", lora, heads=heads["q_proj"], kv_heads=heads["k_proj"], base="tiny")
    file = GgufFile(tmp_path / "a.gguf")
    assert (file.metadata["general.type"], file.metadata["adapter.type"]) == ("adapter", "lora")
    assert file.metadata["general.architecture"] == "llama"
    scale = float(file.metadata["adapter.lora.alpha"]) / lora.rank  # type: ignore[arg-type]
    assert len(file.tensors) == len(lora.tensors)
    for module, change in changes(lora).items():
        _, layer, role = module.split(".")
        stored = f"blk.{layer}.{GGUF_MODULES[role]}.weight"
        a, b = (file.floats(f"{stored}.lora_{part}") for part in "ab")
        assert b.shape == (outputs[module], lora.rank)
        expected = in_llama_cpp_order(change, heads[role]) if role in heads else change
        np.testing.assert_allclose(scale * (b @ a), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prefix", ["model.", "model.text_model."])
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_folder_reads_back_as_the_same_changes(name: str, prefix: str, tmp_path: Path) -> None:
    lora = read_peft(FIXTURES / name, name)
    write_plain_peft(tmp_path, lora, base="owner/base", prefix=prefix)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (
        *(lora.rank, lora.rank),
        "owner/base",
    )
    assert not {"rank_pattern", "alpha_pattern"} & config.keys()
    again = read_peft(tmp_path, name)
    assert again.tensors.keys() == lora.tensors.keys()
    for module, change in changes(again).items():
        np.testing.assert_allclose(change, changes(lora)[module], rtol=1e-6)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert all(key.startswith(f"base_model.model.{prefix}layers.") for key in stored)


def test_what_other_runtimes_cannot_run_is_refused(tmp_path: Path) -> None:
    lora = read_peft(FIXTURES / "plain", "x")
    magnitudes = {"layers.0.q_proj": np.ones(4, np.float32)}
    dora = PeftLora("x", 1, lora.rank, lora.tensors, magnitudes=magnitudes)
    with pytest.raises(UserError, match="DoRA"):
        write_gguf_lora(tmp_path / "a.gguf", dora, heads=4, kv_heads=2, base="tiny")
    with pytest.raises(UserError, match="DoRA"):
        write_plain_peft(tmp_path, dora, base="tiny", prefix="model.")
    with pytest.raises(UserError, match="changes nothing"):
        write_plain_peft(tmp_path, PeftLora("x", 1, 4, {}), base="tiny", prefix="model.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.train
@pytest.mark.parametrize("name", PLAIN)
def test_peft_runs_a_plain_folder_as_the_adapter_that_it_was_made_of(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch and peft are in the extra [train]")
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    write_plain_peft(tmp_path, read_peft(FIXTURES / name, name), base="tiny", prefix="model.")

    def logits(folder: Path | None) -> NDArray[np.float32]:
        torch.manual_seed(3)
        model = transformers.LlamaForCausalLM(config).eval()
        model = model if folder is None else peft.PeftModel.from_pretrained(model, str(folder)).eval()
        with torch.no_grad():
            found: NDArray[np.float32] = model(torch.arange(12)[None]).logits.numpy()
        return found

    original = logits(FIXTURES / name)
    assert np.abs(original - logits(None)).max() > 1e-3
    np.testing.assert_allclose(logits(tmp_path), original, rtol=1e-4, atol=1e-5)
