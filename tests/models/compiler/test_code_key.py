"""The key of compiled code: changed by what changes the code, and not by comments, docstrings or formatting."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.compiler import code_key
from models.compiler.code_key import CODE_GENERATOR, cache_key, reached_definitions, source_digest
from models.compiler.cpu import KernelPath
from tests.models.compiler.test_compile import BUILD, run

BUILDERS = (
    "models.kernels.llama:build", "models.vision.kernels:tower_module",
    "models.vision.projector.projection:projector_module",
)  # fmt: skip

KERNEL = '''"""A kernel."""

from __future__ import annotations

import math

from sources.layout import TILE, rows

SCALE = 2.0
"""What everything is multiplied with."""


def build(path: str) -> float:
    """Emits it."""
    # rows first
    return SCALE * helper(rows(TILE)) + math.pi


def helper(count: int) -> int:
    return count + 1


def unused() -> int:
    return 4
'''
LAYOUT = '''"""A layout."""

TILE = 16
OTHER = 8


class Rows:
    """Rows of tiles."""

    limit = 5


def rows(tile: int) -> int:
    from sources import helpers

    return helpers.double(tile) * Rows.limit
'''
HELPERS = "def double(value: int) -> int:\n    return 2 * value\n"

Digest = Callable[..., str]


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Digest:
    """Writes the package `sources`, with replacements (old, new) in its texts; returns its digest."""
    package = tmp_path / "path" / "sources"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))

    def made(*replacements: tuple[str, str]) -> str:
        for name, original in (("kernel", KERNEL), ("layout", LAYOUT), ("helpers", HELPERS)):
            text = original
            for old, new in replacements:
                text = text.replace(old, new)
            (package / f"{name}.py").write_text(text)
        for module in [each for each in sys.modules if each.partition(".")[0] == "sources"]:
            del sys.modules[module]
        code_key._source.cache_clear()
        return source_digest("sources.kernel:build", tmp_path / "sources.json")

    return made


@pytest.mark.parametrize(
    "edit",
    [
        ("# rows first", "# tiles first, then rows\n    # (see the layout)"),
        ('"""Emits it."""', '"""Emits the kernel.\n\n    path: ignored."""'),
        ('"""Emits it."""\n', "\n"),
        ('"""What everything is multiplied with."""\n', ""),
        ('    """Rows of tiles."""\n', ""),
        ("count + 1", "(count  +  1)"),
        ("-> int", "-> float"),
        ("count: int", "count: float"),
        ("return 4", "return 5"),
        ("OTHER = 8", "OTHER = 9"),
    ],
)
def test_what_generates_the_same_code_leaves_the_key_alone(digest: Digest, edit: tuple[str, str]) -> None:
    assert any(edit[0] in text for text in (KERNEL, LAYOUT, HELPERS))
    assert digest() == digest(edit)


@pytest.mark.parametrize(
    "edit",
    [
        ("SCALE = 2.0", "SCALE = 3.0"),
        ("SCALE = 2.0", "SCALE = 2"),
        ("count + 1", "count - 1"),
        ("TILE = 16", "TILE = 32"),
        ("limit = 5", "limit = 6"),
        ("2 * value", "4 * value"),
        ("OTHER = 8", "OTHER = 8\nprint(OTHER)"),
        ("OTHER = 8", "OTHER = 8\nTILE += OTHER"),
        ("class Rows:", "class Rows(int):"),
    ],
)
def test_what_may_generate_other_code_changes_the_key(digest: Digest, edit: tuple[str, str]) -> None:
    before = digest()
    assert before != digest(edit)
    assert before == digest()


def test_a_known_digest_is_found_without_parsing(digest: Digest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()

    def refuse(module_name: str) -> None:
        raise AssertionError(f"{module_name} is parsed again")

    monkeypatch.setattr(code_key, "_parse", refuse)
    assert digest() == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"build": 1}', b"\xff", b"null"])
def test_a_damaged_digest_file_is_written_again(digest: Digest, tmp_path: Path, content: bytes) -> None:
    before = digest()
    (tmp_path / "sources.json").write_bytes(content)
    assert digest() == before
    assert (tmp_path / "sources.json").read_bytes() != content


def test_errors_of_the_disk_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert source_digest(BUILD, tmp_path / "file" / "x.json") == source_digest(BUILD, tmp_path / "x.json")


def test_the_key_holds_everything_that_the_code_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(name: str = "small", build: str = BUILD, factor: float = 2.0, path: KernelPath = "avx2") -> str:
        return cache_key(name, build, {"factor": factor}, path, tmp_path)

    keys = {key(), key(name="other"), key(build=BUILD + "2"), key(factor=3.0), key(path="generic")}
    assert len(keys) == 5
    assert key() in keys
    monkeypatch.setattr(code_key, "version", lambda _: "0.0")
    keys.add(key())
    monkeypatch.setattr(code_key, "source_digest", lambda *_: "changed sources")
    keys.add(key())
    assert len(keys) == 7


def test_a_builder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"models\.nothing"):
        source_digest("models.nothing:build", tmp_path / "x.json")


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_real_kernels_reach_what_emits_them_and_not_what_reads_files(builder: str) -> None:
    reached = reached_definitions(builder, CODE_GENERATOR)
    assert {builder, CODE_GENERATOR, "models.compiler.compile:_lowering", "models.kernels.emit:LANES"} <= set(
        reached
    )
    assert all(reached[name] for name in reached if not name.endswith(":"))
    for name in (
        "packing.packed_model:load_or_pack",
        "kernels.arguments:scratch_sizes",
        "core.errors:UserError",
    ):
        assert f"models.{name}" not in reached
    if builder == BUILDERS[0]:
        assert {"models.packing.llama_shape:LlamaShape", "models.packing.lora_layout:LoraLayout"} <= set(
            reached
        )


def test_the_key_is_made_without_the_compiler(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom models.compiler.code_key import cache_key\n"
        "for build in sys.argv[2:]:\n    cache_key('x', build, {}, 'generic', Path(sys.argv[1]))\n"
        "print([name for name in ('tvm', 'tvm_ffi', 'torch', 'numpy') if name in sys.modules])"
    )
    assert run(script, str(tmp_path), *BUILDERS).strip() == "[]"
