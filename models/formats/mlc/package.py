"""Reads the files of an MLC package: mlc-chat-config.json, the table of tensors, and the shards that hold them.

The table is tensor-cache.json, in older packages ndarray-cache.json. Everything that it says of a shard, its size, its
md5 and the place of each tensor, is checked before a tensor is used. Source: the tensor cache of TVM's runtime.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.core.files import read_json
from models.formats.float_matrix import widen_bfloat16

CONFIG_FILE = "mlc-chat-config.json"
TABLE_FILES = ("tensor-cache.json", "ndarray-cache.json")

_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.bin")
_MD5 = re.compile(r"[0-9a-f]{32}")
_DTYPES = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "uint32": "<u4"}
_NARROWED = "f32-to-bf16"  # a format in which float32, and only that, is stored as bfloat16


def is_mlc_package(path: Path) -> bool:
    """Whether this is a folder with mlc-chat-config.json."""
    return (path / CONFIG_FILE).is_file()


@dataclass(frozen=True)
class MlcTensor:
    """An entry of the table. type: "float32" and so on, as it is stored. start, end: in bytes of the shard."""

    name: str
    shape: tuple[int, ...]
    type: str
    shard: str
    start: int
    end: int


class MlcPackage:
    """An opened package. A tensor is read from the mapped shards when one of the methods returns it.

    settings: the content of mlc-chat-config.json.
    """

    def __init__(self, path: Path) -> None:
        """Read the table and check the shards. Raises UserError when a file is missing, damaged or not supported."""
        self.path = path
        self.settings: Mapping[str, Any] = read_json(path / CONFIG_FILE)
        table = next((path / name for name in TABLE_FILES if (path / name).exists()), path / TABLE_FILES[0])
        records = read_json(table).get("records")
        if not isinstance(records, list):
            raise _damaged(table, "it has no list of records")
        tensors: dict[str, MlcTensor] = {}
        self._shards: dict[str, NDArray[np.uint8]] = {}
        for record in records:
            name = _shard_name(table, record)
            if name in self._shards:
                raise _damaged(table, f"it names {name} twice")
            self._shards[name] = _open_shard(path / name, table, record)
            for entry in record["records"]:
                tensor = _tensor(table, entry, name, len(self._shards[name]))
                if tensor.name in tensors:
                    raise _damaged(table, f"it has the tensor {tensor.name!r} twice")
                tensors[tensor.name] = tensor
        self.tensors: Mapping[str, MlcTensor] = MappingProxyType(tensors)

    def array(self, name: str) -> NDArray[Any]:
        """The tensor in its own type and shape, mapped read-only. bfloat16 comes as uint16 bit patterns."""
        tensor = self.tensors[name]
        raw = self._shards[tensor.shard][tensor.start : tensor.end]
        values: NDArray[Any] = np.frombuffer(raw, _DTYPES[tensor.type]).reshape(tensor.shape)
        return values

    def floats(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """A tensor of floating-point numbers as a float32 copy. rows: those of the first dimension that are read."""
        tensor = self.tensors[name]
        if tensor.type == "uint32":
            raise UserError(f"{self.path} stores {name} as uint32; floating-point numbers are needed there")
        values = self.array(name)[rows]
        return widen_bfloat16(values) if tensor.type == "bfloat16" else values.astype(np.float32)


def _shard_name(table: Path, record: Any) -> str:
    """The file of a shard's record, which has no path in it."""
    match record:
        case {"dataPath": str(name), "nbytes": int(), "md5sum": str(), "records": list()}:
            pass
        case _:
            raise _damaged(table, "a record lacks dataPath, nbytes, md5sum or records")
    if not _SHARD_NAME.fullmatch(name):
        raise UserError(
            f"{table} names the file {name!r}, which is no shard in its folder; it is not trusted"
        )
    if record.get("format", "raw-shard") != "raw-shard":
        raise UserError(f"{table} has a shard in the format {record['format']!r}, which is not supported")
    return name


def _open_shard(path: Path, table: Path, record: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The bytes of a shard, mapped read-only, of the size and md5 that its record says."""
    try:
        size = path.stat().st_size
        if size != record["nbytes"] or not size:
            raise UserError(
                f"{path} has {size} bytes where {table.name} says {record['nbytes']}; get it again"
            )
        content = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); the package is incomplete") from None
    digest = hashlib.md5(content.data, usedforsecurity=False).hexdigest()
    if not _MD5.fullmatch(record["md5sum"]) or digest != record["md5sum"]:
        raise UserError(f"{path} does not have the md5 that {table.name} says; it is damaged, get it again")
    return content


def _tensor(table: Path, entry: Any, shard: str, size: int) -> MlcTensor:
    """The checked entry of one tensor. size: of the shard, bytes."""
    match entry:
        case {
            "name": str(name),
            "shape": list(shape),
            "dtype": str(kind),
            "byteOffset": int(start),
            "nbytes": int(count),
        }:
            pass
        case _:
            raise _damaged(table, "the entry of a tensor lacks name, shape, dtype, byteOffset or nbytes")
    if kind == "float32" and entry.get("format") == _NARROWED:
        kind = "bfloat16"
    if kind not in _DTYPES:
        raise UserError(f"{table} stores {name!r} as {kind}, which is not supported")
    if not shape or not all(type(number) is int and number > 0 for number in shape):
        raise _damaged(table, f"the shape of {name!r} is {shape}")
    if not 0 <= start <= start + count <= size:
        raise _damaged(table, f"{name!r} lies outside of its shard")
    if count != prod(shape) * np.dtype(_DTYPES[kind]).itemsize:
        raise _damaged(table, f"{name!r} has {count} bytes, which is not what its shape {shape} needs")
    return MlcTensor(name, tuple(shape), kind, shard, start, start + count)


def _damaged(table: Path, what: str) -> UserError:
    return UserError(f"{table} is not a readable table of tensors: {what}; get the package again")
