"""Checkpoints: both formats of torch.save are read without PyTorch, and no pickle runs anything else."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.core.errors import UserError
from models.formats.torch_checkpoint import LEGACY_MAGIC, LEGACY_PROTOCOL, read_checkpoint
from models.hub.store import ModelFiles

MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(
    key: str,
    length: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *,
    offset: int = 0,
    kind: str = "FloatStorage",
    legacy: bool = False,
) -> bytes:
    """The instructions that torch.save writes for one tensor."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    storage += integer(length) + (b"N" if legacy else b"") + b"tQ"
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return rebuild + b"(" + storage + integer(offset) + integers(shape) + integers(strides) + hooks + b"tR"


def state_dict(entries: dict[str, bytes]) -> bytes:
    body = b"".join(text(name) + instructions for name, instructions in entries.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + body + b"u}" + text("_metadata") + b"}sb."


def zip_bytes(program: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("model/data.pkl", program)
        archive.writestr("model/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"model/data/{key}", content)
    return buffer.getvalue()


def legacy_bytes(program: bytes, storages: dict[str, tuple[int, bytes]]) -> bytes:
    heads = b"".join(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, MACHINE))
    keys = pickle.dumps(sorted(storages), 2)
    tail = b"".join(struct.pack("<q", storages[key][0]) + storages[key][1] for key in sorted(storages))
    return heads + program + keys + tail


VALUES = np.arange(12, dtype="<f4")


def simple(legacy: bool) -> bytes:
    entries = {
        "weight": tensor("0", 12, (3, 4), (4, 1), legacy=legacy),
        "turned": tensor("0", 12, (4, 2), (1, 4), offset=4, legacy=legacy),
        "count": tensor("1", 1, (), (), kind="LongStorage", legacy=legacy),
        "half": tensor("2", 2, (2,), (1,), kind="HalfStorage", legacy=legacy),
        "brain": tensor("3", 2, (2,), (1,), kind="BFloat16Storage", legacy=legacy),
        "empty": tensor("0", 12, (0, 3), (3, 1), legacy=legacy),
    }
    contents = {
        "0": (12, VALUES.tobytes()),
        "1": (1, struct.pack("<q", 7)),
        "2": (2, np.array([0.5, -2], "<f2").tobytes()),
        "3": (2, bytes.fromhex("803f00c0")),
    }
    program = state_dict(entries)
    if legacy:
        return legacy_bytes(program, contents)
    return zip_bytes(program, {key: content for key, (_, content) in contents.items()})


def read(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    path.write_bytes(content)
    return read_checkpoint(path)


def refusal(path: Path, content: bytes) -> str:
    with pytest.raises(UserError) as caught:
        read(path, content)
    return str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_back_with_shapes_strides_and_types(tmp_path: Path, legacy: bool) -> None:
    tensors = read(tmp_path / "a.pth", simple(legacy))
    assert list(tensors) == ["weight", "turned", "count", "half", "brain", "empty"]
    np.testing.assert_array_equal(tensors["weight"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(tensors["turned"], VALUES.reshape(3, 4)[1:].T)
    assert (tensors["count"].shape, int(tensors["count"])) == ((), 7)
    np.testing.assert_array_equal(tensors["half"], [0.5, -2])
    np.testing.assert_array_equal(tensors["brain"], [1.0, -2.0])
    assert tensors["brain"].dtype == np.float32
    assert tensors["empty"].shape == (0, 3)


def test_a_plain_dictionary_serves_as_well(tmp_path: Path) -> None:
    program = b"\x80\x02}" + text("w") + tensor("0", 12, (12,), (1,)) + b"s."
    np.testing.assert_array_equal(
        read(tmp_path / "a", zip_bytes(program, {"0": VALUES.tobytes()}))["w"], VALUES
    )


class Malicious:
    """Unpickling this writes a file, if it is let."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call = call
        self.arguments = arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_not_run(
    tmp_path: Path, protocol: int, legacy: bool
) -> None:
    mark = tmp_path / "mark"
    calls = [
        Malicious(os.system, f"touch {mark}"),
        Malicious(eval, f"open({str(mark)!r}, 'w')"),
        Malicious(exec, f"open({str(mark)!r}, 'w')"),
        Malicious(open, str(mark), "w"),
        Malicious(getattr, "", "join"),
    ]
    for call in calls:
        for value in (call, OrderedDict(weight=call)):
            program = pickle.dumps(value, protocol)
            content = legacy_bytes(program, {}) if legacy else zip_bytes(program, {})
            assert "not opened" in refusal(tmp_path / "a.pth", content)
            assert not mark.exists()


def test_a_malicious_head_of_the_older_format_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Malicious(os.system, f"touch {mark}"), 2)
    assert "not opened" in refusal(tmp_path / "a.pth", content)
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v3\n.",
        b"\x80\x02ctorch\nload\n.",
        b"\x80\x02ctorch.storage\nFloatStorage\n.",
        b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",
    ],
    ids=str,
)
def test_names_and_instructions_outside_of_the_list_are_refused(tmp_path: Path, program: bytes) -> None:
    assert "not opened" in refusal(tmp_path / "a.pth", zip_bytes(program, {}))


def build(instructions: bytes, state: bytes) -> bytes:
    return state_dict({"w": instructions + state + b"b"})


def test_a_tensor_cannot_be_changed_after_it_was_checked(tmp_path: Path) -> None:
    """BUILD sets attributes; on what the allowed names give there must be none to set."""
    good = tensor("0", 12, (12,), (1,))
    slots = b"N}" + text("shape") + integers((1 << 20,)) + b"s\x86"
    attributes = b"}" + text("shape") + integers((1 << 20,)) + b"s"
    fields = b"(" + integer(0) + integers((1 << 20,)) + b"t"
    storage = {"0": VALUES.tobytes()}
    for state in (slots, attributes, fields):
        assert "not opened" in refusal(tmp_path / "a.pth", zip_bytes(build(good, state), storage))
        function = b"ctorch._utils\n_rebuild_tensor_v2\n"
        program = state_dict({"w": function + state + b"b"})
        assert "not opened" in refusal(tmp_path / "a.pth", zip_bytes(program, storage))


def test_methods_that_a_pickle_puts_on_the_dictionary_are_not_called(tmp_path: Path) -> None:
    entry = text("w") + tensor("0", 12, (12,), (1,))
    program = b"\x80\x02ccollections\nOrderedDict\n)R(" + entry + b"u}" + text("items") + text("x") + b"sb."
    tensors = read(tmp_path / "a.pth", zip_bytes(program, {"0": VALUES.tobytes()}))
    np.testing.assert_array_equal(tensors["w"], VALUES)


@pytest.mark.parametrize(
    "entry",
    [
        tensor("0", 12, (13,), (1,)),
        tensor("0", 12, (3, 4), (5, 1)),
        tensor("0", 12, (3,), (1,), offset=10),
        tensor("0", 12, (3,), (-1,), offset=5),
        tensor("0", 12, (-3,), (1,)),
        tensor("0", 12, (3,), (1, 1)),
        tensor("0", 12, (0,), (1,), offset=13),
        tensor("0", 11, (11,), (1,)),
        tensor("0", 13, (13,), (1,)),
        tensor("0", 24, (24,), (1,), kind="HalfStorage") + b"0",
        tensor("missing", 12, (12,), (1,)),
        tensor("../data.pkl", 12, (12,), (1,)),
        tensor("0", 12, (12,), (1,), kind="UntypedStorage"),
        text("no tensor"),
        b"N",
    ],
    ids=lambda entry: str(entry[-60:]),
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(tmp_path: Path, entry: bytes) -> None:
    content = zip_bytes(state_dict({"w": entry}), {"0": VALUES.tobytes()})
    assert "not opened" in refusal(tmp_path / "a.pth", content)


def test_a_stride_of_zero_costs_no_memory(tmp_path: Path) -> None:
    huge = tensor("0", 12, (1 << 20, 1 << 20), (0, 0))
    tensors = read(tmp_path / "a.pth", zip_bytes(state_dict({"w": huge}), {"0": VALUES.tobytes()}))
    assert tensors["w"].shape == (1 << 20, 1 << 20)
    assert not tensors["w"].flags.writeable


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    content = zip_bytes(state_dict({}), {"0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    assert "no plain member" in refusal(tmp_path / "a.pth", content)


def test_a_memo_of_absurd_size_is_refused(tmp_path: Path) -> None:
    program = b"\x80\x02}r" + struct.pack("<I", (1 << 32) - 1) + b"."
    assert "memory" in refusal(tmp_path / "a.pth", zip_bytes(program, {}))


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"PK\x03\x04 but no archive", b"random text", pickle.dumps({"a": 1}, 2)]
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes) -> None:
    assert str(tmp_path) in refusal(tmp_path / "a.pth", content)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "absent.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cut_short_is_refused(tmp_path: Path, legacy: bool) -> None:
    whole = simple(legacy)
    for length in range(0, len(whole) - 1, 23):
        refusal(tmp_path / "a.pth", whole[:length])


@settings(max_examples=200)
@given(
    legacy=st.booleans(),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=5),
)
def test_a_damaged_checkpoint_is_read_or_refused(
    tmp_path: Path, legacy: bool, edits: list[tuple[float, bytes]]
) -> None:
    content = bytearray(simple(legacy))
    for place, replacement in edits:
        start = int(place * (len(content) - 1))
        content[start : start + len(replacement)] = replacement
    (tmp_path / "a.pth").write_bytes(content)
    try:
        tensors = read_checkpoint(tmp_path / "a.pth")
    except UserError:
        return
    for values in tensors.values():
        assert values.size == 0 or values.reshape(-1)[-1] is not None


def test_the_default_models_vision_tower_is_read(model_files: ModelFiles) -> None:
    tensors = read_checkpoint(model_files.files["vision_tower"])
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(values).all() for values in tensors.values())
