"""Reads the tensors of a PyTorch checkpoint (.pth) without PyTorch and without running anything in it.

Both formats of torch.save are read: the zip archive, and the older sequence of pickles followed by raw storages. A
pickle is a program. Every instruction is therefore checked against a list before the pickle is run, and only three
names may be imported, which stand for classes of this module. torch.load(weights_only=True) would do the same, but
PyTorch takes 200 MB and more than a second, and this is needed once, when the vision tower is packed.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.float_matrix import widen_bfloat16

MAX_DIMENSIONS: Final = 16
LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL: Final = 1001

# What torch.save's protocol 2 needs. Only GLOBAL imports, only REDUCE calls and only BUILD sets attributes, and their
# operands are the names that _allowed_name returns.
_ALLOWED_INSTRUCTIONS: Final = frozenset({
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND",
    "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE",
    "BUILD", "BINPERSID",
})  # fmt: skip
_STORAGE_DTYPES: Final = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


# Tuples, since a pickle's BUILD could change a frozen dataclass after it was checked.
class _StorageType(NamedTuple):
    name: str


class _Storage(NamedTuple):
    kind: str
    key: str
    length: int

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(_STORAGE_DTYPES[self.kind])


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Stands for torch._utils._rebuild_tensor_v2. It has no attribute that a pickle could change."""

    __slots__ = ()

    def __call__(
        self, storage: object, offset: object, shape: object, strides: object, *_: object
    ) -> _Tensor:
        if not isinstance(storage, _Storage) or not _is_count(offset):
            raise pickle.UnpicklingError("a tensor without a storage")
        sizes, steps = _counts(shape), _counts(strides)
        if len(sizes) != len(steps) or len(sizes) > MAX_DIMENSIONS:
            raise pickle.UnpicklingError(f"a tensor with sizes {sizes} and strides {steps}")
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        if 0 not in sizes and last >= storage.length:
            raise pickle.UnpicklingError(f"a tensor that reaches past its {storage.length} numbers")
        if 0 in sizes and offset > storage.length:
            raise pickle.UnpicklingError("an empty tensor outside of its storage")
        return _Tensor(storage, offset, sizes, steps)


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by name, read-only, in the checkpoint's types (bfloat16 as float32).

    Raises UserError when the file is missing, damaged, or holds anything but tensors by name.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check that it exists and is a file"
        ) from None
    try:
        read = _read_zip if content[:4] == b"PK\x03\x04" else _read_legacy
        tensors, storage = read(content)
        return {name: _materialise(tensor, storage) for name, tensor in tensors.items()}
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is not a checkpoint of plain tensors: {error}; it is not opened") from None


Storages = Callable[[_Storage], NDArray[Any]]


def _read_legacy(content: bytes) -> tuple[Mapping[str, _Tensor], Storages]:
    """Five pickles (magic, version, machine, tensors, storage keys), then the length and bytes of each storage."""
    magic, position = _load(content, 0)
    if magic != LEGACY_MAGIC:
        raise pickle.UnpicklingError("it is in neither of the two formats of torch.save")
    version, position = _load(content, position)
    machine, position = _load(content, position)
    if (
        version != LEGACY_PROTOCOL
        or not isinstance(machine, dict)
        or machine.get("little_endian") is not True
    ):
        raise pickle.UnpicklingError("it was written by another version or on a big-endian machine")
    tensors, position = _load_tensors(content, position)
    keys, position = _load(content, position)
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in known for key in keys):
        raise pickle.UnpicklingError("its list of storages does not match its tensors")
    arrays: dict[str, NDArray[Any]] = {}
    for key in keys:
        storage = known[key]
        count = int.from_bytes(content[position : position + 8], "little")
        position += 8
        end = position + count * storage.dtype.itemsize
        if count != storage.length or end > len(content):
            raise pickle.UnpicklingError(f"storage {key!r} does not have the length that its tensors need")
        arrays[key] = np.frombuffer(content, storage.dtype, count, position)
        position = end
    return tensors, lambda storage: _known(arrays, storage.key)


def _read_zip(content: bytes) -> tuple[Mapping[str, _Tensor], Storages]:
    """An archive of <name>/data.pkl and an uncompressed <name>/data/<key> for each storage."""
    with _damaged_archive():
        archive = zipfile.ZipFile(io.BytesIO(content))
    members = {info.filename: info for info in archive.infolist()}
    roots = [
        name.removesuffix("data.pkl")
        for name in members
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(roots) != 1 or len(members) != len(archive.infolist()):
        raise pickle.UnpicklingError("its archive does not hold exactly one data.pkl")
    root = roots[0]

    def member(name: str) -> bytes:
        info = members.get(root + name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise pickle.UnpicklingError(f"its archive has no plain member {name!r}")
        if info.file_size > len(content):
            raise pickle.UnpicklingError(f"its member {name!r} is longer than the file")
        with _damaged_archive():
            return archive.read(info)

    if root + "byteorder" in members and member("byteorder") != b"little":
        raise pickle.UnpicklingError("it was written on a big-endian machine")
    tensors, _ = _load_tensors(member("data.pkl"), 0)
    arrays: dict[str, NDArray[Any]] = {}

    def storage_array(storage: _Storage) -> NDArray[Any]:
        if storage.key not in arrays:
            raw = member(f"data/{storage.key}")
            if len(raw) != storage.length * storage.dtype.itemsize:
                raise pickle.UnpicklingError(
                    f"storage {storage.key!r} does not have the length that its tensors need"
                )
            arrays[storage.key] = np.frombuffer(raw, storage.dtype)
        return arrays[storage.key]

    return tensors, storage_array


@contextmanager
def _damaged_archive() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile raises exceptions of many types on a damaged archive
        raise pickle.UnpicklingError(f"its archive is damaged ({type(error).__name__})") from None


def _known(arrays: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
    if key not in arrays:
        raise pickle.UnpicklingError(f"storage {key!r} is missing")
    return arrays[key]


def _materialise(tensor: _Tensor, storage: Storages) -> NDArray[Any]:
    """The tensor as a read-only view, so that no shape takes more memory than the file has bytes."""
    numbers = storage(tensor.storage)[tensor.offset :]
    if tensor.storage.kind == "BFloat16Storage":
        numbers = widen_bfloat16(numbers)
    strides = tuple(step * numbers.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)


def _load_tensors(content: bytes, position: int) -> tuple[Mapping[str, _Tensor], int]:
    """The tensors in the pickle at position, by name, and the pickle's end."""
    tensors, end = _load(content, position)
    if not isinstance(tensors, dict):
        raise pickle.UnpicklingError("its content is no dictionary of tensors")
    storages: dict[str, _Storage] = {}
    for name, tensor in dict.items(tensors):  # not tensors.items, which BUILD could have replaced
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise pickle.UnpicklingError(f"its entry {str(name)[:80]!r} is no tensor")
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise pickle.UnpicklingError(f"storage {tensor.storage.key!r} is described in two ways")
    return dict(dict.items(tensors)), end


def _load(content: bytes, position: int) -> tuple[Any, int]:
    """Check the instructions of the pickle at position, then run it. Returns its value and its end."""
    end = _check_instructions(content, position)
    try:
        return _StrictUnpickler(io.BytesIO(content[position:end])).load(), end
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle raises exceptions of many types
        raise pickle.UnpicklingError(f"its pickle is damaged ({type(error).__name__})") from None


def _check_instructions(content: bytes, position: int) -> int:
    """Raise UnpicklingError for an instruction that is not allowed. Returns the pickle's end."""
    stream = io.BytesIO(content)
    stream.seek(position)
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name not in _ALLOWED_INSTRUCTIONS:
                raise pickle.UnpicklingError(f"its pickle uses {instruction.name}")
            if instruction.name == "LONG_BINPUT" and int(argument or 0) > len(content):
                raise pickle.UnpicklingError("its pickle needs too much memory")
            if instruction.name == "GLOBAL":
                _allowed_name(*str(argument).split(" ", 1))
    except ValueError as error:
        raise pickle.UnpicklingError(f"its pickle is damaged ({error})") from None
    return stream.tell()


def _allowed_name(module: str, name: str) -> Any:
    """The value of a name that a pickle imports. Nothing is imported. Raises UnpicklingError."""
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _RebuildTensor()
    if module == "torch" and name in _STORAGE_DTYPES:
        return _StorageType(name)
    raise pickle.UnpicklingError(
        f"it imports {module[:80]}.{name[:80]}, which a checkpoint of tensors does not need"
    )


class _StrictUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing and accepts only storages as persistent objects."""

    def find_class(self, module: str, name: str) -> Any:
        return _allowed_name(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(kind), str(key), str(), int(count)) if _is_count(count):
                return _Storage(kind, key, count)
            case ("storage", _StorageType(kind), str(key), str(), int(count), None) if _is_count(count):
                return _Storage(kind, key, count)
        raise pickle.UnpicklingError("it refers to something that is no storage")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 48


def _counts(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(_is_count(value) for value in values):
        raise pickle.UnpicklingError("a tensor whose sizes are not numbers")
    return values
