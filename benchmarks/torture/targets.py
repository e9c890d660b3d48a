"""What is fed with damaged inputs: every reader of something that comes from outside.

A reader may accept an input or refuse it with an error that is meant for the user. Everything else is a fault.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from benchmarks.torture.damage import damaged, json_objects
from benchmarks.torture.request_targets import (
    request_samples,
    schema_samples,
    stream_samples,
    use_request,
    use_schema,
    use_stream,
)
from edge_app.cloud.errors import EndedEarlyError, NotAStreamError, ReportedError, TooManyBytesError
from edge_app.serve.errors import ApiError
from models.core.errors import UserError
from models.formats.gguf.gguf_writer import TensorToWrite, write_gguf

MOST_PAGES = 3
"""Of a damaged document that are drawn."""


@dataclass(frozen=True)
class FuzzTarget:
    """A reader. inputs: what it is fed with. use: feeds it; the folder is empty and for this input alone.

    refusals: the errors that the user may get.
    """

    name: str
    inputs: Callable[[Path], st.SearchStrategy[bytes]]
    use: Callable[[bytes, Path], None]
    refusals: tuple[type[Exception], ...] = (UserError,)


def _picture() -> PIL.Image.Image:
    image = PIL.Image.new("RGB", (96, 64), "white")
    draw = PIL.ImageDraw.Draw(image)
    draw.rectangle((10, 10, 60, 50), fill="navy")
    draw.text((20, 20), "TOTAL 12.50", fill="white")
    return image


def _image_samples(_: Path) -> st.SearchStrategy[bytes]:
    samples = []
    for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "AVIF"):
        buffer = io.BytesIO()
        extra: dict[str, Any] = (
            {"save_all": True, "append_images": [_picture()]} if kind in ("GIF", "TIFF") else {}
        )
        _picture().save(buffer, kind, **extra)
        samples.append(buffer.getvalue())
    return damaged(samples)


def _use_image(data: bytes, folder: Path) -> None:
    from models.documents.pages import pages_of

    del folder
    for page, _ in zip(pages_of(data, "image"), range(MOST_PAGES), strict=False):
        page.picture()


def _pdf_samples(_: Path) -> st.SearchStrategy[bytes]:
    buffer = io.BytesIO()
    _picture().save(buffer, "PDF", save_all=True, append_images=[_picture()])
    return damaged([buffer.getvalue()])


def _use_pdf(data: bytes, folder: Path) -> None:
    from models.documents.pages import pages_of

    del folder
    for page, _ in zip(pages_of(data, "file.pdf"), range(MOST_PAGES), strict=False):
        page.text_layer()
        page.picture()


def _gguf_samples(scratch: Path) -> st.SearchStrategy[bytes]:
    path = scratch / "sample.gguf"
    values = np.arange(64 * 32, dtype=np.float32).reshape(64, 32)
    write_gguf(
        path,
        {
            "general.architecture": "llama",
            "llama.block_count": 1,
            "llama.rope.freq_base": 1e4,
            "tokenizer.ggml.tokens": ["a", "b", "c"],
            "tokenizer.ggml.token_type": [1, 1, 3],
        },
        [
            TensorToWrite("token_embd.weight", (64, 32), "F32", lambda: values.view(np.uint8)),
            TensorToWrite(
                "blk.0.attn_q.weight", (64, 32), "Q8_0", lambda: np.zeros((64, 34), dtype=np.uint8)
            ),
        ],
    )
    return damaged([path.read_bytes()])


def _use_gguf(data: bytes, folder: Path) -> None:
    from models.formats.gguf.gguf_file import GgufFile
    from models.formats.llama_sources import load_llama

    path = folder / "model.gguf"
    path.write_bytes(data)
    opened = GgufFile(path)
    for name, tensor in opened.tensors.items():
        if tensor.type in ("F32", "F16", "BF16"):
            opened.floats(name)
        else:
            opened.blocks(name)
    load_llama(path, "0" * 64)


def _safetensors_samples(_: Path) -> st.SearchStrategy[bytes]:
    tensors = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": np.ones((4, 32), np.float32),
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": np.ones((32, 4), np.float16),
    }
    return damaged([save_safetensors(tensors), save_safetensors({"a": np.zeros(3, np.int8)})])


def _use_safetensors(data: bytes, folder: Path) -> None:
    from models.formats.safetensors_file import SafetensorsFile
    from models.lora.peft_format import read_peft

    path = folder / "adapter_model.safetensors"
    path.write_bytes(data)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]})
    )
    opened = SafetensorsFile(path)
    for name in opened.tensors:
        opened.array(name)
    read_peft(folder, "damaged")


def _mlc_samples(_: Path) -> st.SearchStrategy[bytes]:
    shard = np.arange(64, dtype="<f4").tobytes()
    table = {
        "metadata": {"ParamSize": 1},
        "records": [
            {
                "dataPath": "params_shard_0.bin",
                "format": "raw-shard",
                "nbytes": len(shard),
                "md5sum": hashlib.md5(shard, usedforsecurity=False).hexdigest(),
                "records": [
                    {
                        "name": "model.norm.weight",
                        "shape": [64],
                        "dtype": "float32",
                        "format": "raw",
                        "nbytes": 256,
                        "byteOffset": 0,
                    }
                ],
            }
        ],
    }
    keys = ("records", "dataPath", "format", "nbytes", "md5sum", "name", "shape", "dtype", "byteOffset")
    words = ("raw-shard", "params_shard_0.bin", "float32", "uint32", "../x", "f32-to-bf16")
    return damaged([json.dumps(table).encode()]) | json_objects(keys, words)


def _use_mlc(data: bytes, folder: Path) -> None:
    from models.formats.mlc.package import MlcPackage

    (folder / "ndarray-cache.json").write_bytes(data)
    (folder / "params_shard_0.bin").write_bytes(np.arange(64, dtype="<f4").tobytes())
    (folder / "mlc-chat-config.json").write_text('{"model_type": "llama"}')
    package = MlcPackage(folder)
    for name in package.tensors:
        package.array(name)


def _archive_samples(_: Path) -> st.SearchStrategy[bytes]:
    files = {
        "adapter_config.json": b"{}",
        "adapter_model.safetensors": bytes(256),
        "adapter.toml": b"a = 1\n",
    }
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"adapter/{name}", content)
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"adapter/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return damaged([zipped.getvalue(), tarred.getvalue()])


def _use_archive(data: bytes, folder: Path) -> None:
    from adapters.install.archive import unpack

    path, target = folder / "adapter.zip", folder / "unpacked"
    path.write_bytes(data)
    target.mkdir()
    unpack(path, target)


TARGETS = (
    FuzzTarget("images", _image_samples, _use_image),
    FuzzTarget("pdf", _pdf_samples, _use_pdf),
    FuzzTarget("gguf", _gguf_samples, _use_gguf),
    FuzzTarget("safetensors", _safetensors_samples, _use_safetensors),
    FuzzTarget("mlc", _mlc_samples, _use_mlc),
    FuzzTarget("archives", _archive_samples, _use_archive),
    FuzzTarget(
        "streams",
        stream_samples,
        use_stream,
        (EndedEarlyError, NotAStreamError, ReportedError, TooManyBytesError),
    ),
    FuzzTarget("schemas", schema_samples, use_schema),
    FuzzTarget("requests", request_samples, use_request, (UserError, ApiError)),
)
