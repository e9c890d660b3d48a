"""The workload of the benchmarks, and the same workload in the peer's formats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.__main__ import main
from benchmarks.speed import peer, workload
from benchmarks.speed.assistant_worker import StageTimes
from benchmarks.speed.peer import write_lora_gguf
from models.core.errors import UserError
from models.core.images import load_image
from models.formats.gguf.gguf_file import GgufFile
from models.lora.peft_format import read_peft
from models.ocr.reader import may_be_page
from models.packing.llama_shape import LlamaShape

SHAPE = LlamaShape(
    hidden=64,
    intermediate=96,
    layers=2,
    heads=2,
    kv_heads=1,
    head_dim=32,
    vocab=128,
    epsilon=1e-5,
    head_bits=0,
    **{f"{role}_bits": 4 for role in ("q", "k", "v", "o", "gate", "up", "down")},
)


def test_photos_differ_by_seed_and_are_photos() -> None:
    one, two = workload.photo(1, 160, 120), workload.photo(2, 160, 120)
    assert one != two and one == workload.photo(1, 160, 120)
    with PIL.Image.open(io.BytesIO(one)) as image:
        assert image.format == "JPEG" and image.size == (160, 120)


def test_receipts_differ_by_seed_and_are_pages_of_text() -> None:
    one, two = workload.till_receipt(1), workload.till_receipt(2)
    assert one != two and one == workload.till_receipt(1)
    assert may_be_page(load_image(one, "receipt.png"))


def test_the_written_peft_folder_reads_back_as_the_adapter(tmp_path: Path) -> None:
    adapter = workload.adapter(SHAPE, "a", 0, rank=4)
    workload.write_peft(adapter, tmp_path / "peft")
    back = read_peft(tmp_path / "peft", "a")
    assert back.rank == 4 and back.tensors.keys() == adapter.tensors.keys()
    for name, tensor in adapter.tensors.items():
        np.testing.assert_allclose(back.tensors[name], tensor, atol=1e-4)


def test_the_peers_adapter_file_holds_the_same_tensors(tmp_path: Path) -> None:
    adapter = workload.adapter(SHAPE, "a", 0, rank=4)
    write_lora_gguf(tmp_path / "a.gguf", adapter)
    file = GgufFile(tmp_path / "a.gguf")
    assert file.metadata["adapter.lora.alpha"] == 4.0
    assert file.metadata["general.architecture"] == "llama"
    assert len(file.tensors) == len(adapter.tensors)
    for name, held in (("q_proj.A", "attn_q.weight.lora_a"), ("down_proj.B", "ffn_down.weight.lora_b")):
        expected = adapter.tensors[f"layers.1.{name}"].astype(np.float16)
        np.testing.assert_array_equal(file.floats(f"blk.1.{held}"), expected)


def test_help_says_how_to_get_the_peer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert peer.PEER in capsys.readouterr().out


def test_a_peer_that_does_not_exist_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(peer.PEER, "/nowhere/python")
    with pytest.raises(UserError, match=r"/nowhere/python does not exist"):
        peer.python()


def test_stages_are_timed_from_their_first_event_to_the_next_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 10.0, 12.0])
    monkeypatch.setattr("benchmarks.speed.assistant_worker.time.perf_counter", lambda: next(clock))
    times = StageTimes()
    times("pack", "", 0, 10)
    times("pack", "", 5, 10)
    times("compile", "", 0, None)
    times("compile", "", 1, 1)
    times("compile", "", 0, None)
    times("compile", "", 1, 1)
    assert times.seconds == {"pack": 3.0, "compile": 3.0}
