"""Compiled code is made from our sources alone, and kept under all of them."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from models.compiler import compile_object, source_files
from models.cpu import code_target, host_architecture

BUILDERS = ("models.kernels.llama", "models.vision.kernels", "models.vision.projection")


@pytest.mark.parametrize("builder", BUILDERS)
def test_code_is_kept_under_every_module_that_its_emitters_import(builder: str) -> None:
    sources = source_files(builder)
    spec = importlib.util.find_spec(builder)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) in sources
    emitters = {Path(spec.origin), *(file for file in sources if file.parent.name == "kernels")}
    for file in emitters:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("models."):
                imported = importlib.util.find_spec(str(node.module))
                assert imported is not None
                assert imported.origin is not None
                assert Path(imported.origin) in sources, f"{file.name} imports {node.module}"


def test_a_folder_named_models_where_the_user_is_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise ImportError('another program was run')")
    monkeypatch.chdir(tmp_path)
    target = code_target("generic", host_architecture())
    with pytest.raises(RuntimeError, match=r"No module named 'models\.nothing'"):
        compile_object("models.nothing:build", {}, "generic", target)
