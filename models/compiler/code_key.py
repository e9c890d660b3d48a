"""The key under which compiled code is kept: what the machine code depends on, without importing the compiler.

The kernels' sources enter the key as syntax trees of the definitions that a build function reaches, followed by name
from module to module. Comments, docstrings, formatting, annotations of functions, and definitions that the build
function does not use leave the key alone, so that editing them causes no compilation.

Parsing the sources takes about 80 ms. The digest is therefore kept beside the compiled code and is valid as long as
the bytes of every module that was followed are the same, which takes about 2 ms to check.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from models.compiler.cpu import KernelPath, code_target, host_architecture
from models.core.cache import mark_used
from models.core.errors import UserError
from models.core.files import write_whole

CODE_GENERATOR = "models.compiler.compile:build_module"
"""The function that turns a build function's TIR into machine code: part of every key."""

_ALL = "*"
_PYTHON = list(sys.version_info[:2])  # the form of a syntax tree depends on it

Arguments = Mapping[str, str | int | float | bool]


def cache_key(name: str, build: str, arguments: Arguments, path: KernelPath, cache_dir: Path) -> str:
    """sha256 (hex) over all that the machine code depends on. Parameters as models.compiler.compile has them."""
    depends = {
        "name": name,
        "build": build,
        "arguments": dict(sorted(arguments.items())),
        "path": path,
        "target": repr(code_target(path, host_architecture())),
        "platform": sys.platform,
        "tvm": version("apache-tvm"),
        "sources": source_digest(build, cache_dir / f"{name}-sources.json"),
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def source_digest(build: str, kept: Path) -> str:
    """sha256 (hex) of the definitions that `build` ("package.module:function") reaches.

    kept: the file that remembers it. Raises ModuleNotFoundError when the builder's module does not exist.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, ModuleNotFoundError):
        content = json.loads(kept.read_bytes())
        same = content["build"] == build and content["python"] == _PYTHON
        if same and content["modules"] == _byte_digests(content["modules"]):
            mark_used(kept)
            return str(content["digest"])
    definitions = reached_definitions(build, CODE_GENERATOR)
    digest = hashlib.sha256(json.dumps(definitions, sort_keys=True).encode()).hexdigest()
    modules = {name.partition(":")[0] for name in definitions}
    content = {"build": build, "python": _PYTHON, "modules": _byte_digests(modules), "digest": digest}
    with suppress(OSError, UserError):  # without the file, the next start parses again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, json.dumps(content).encode())
    return digest


def reached_definitions(*functions: str) -> dict[str, str]:
    """{"package.module:name": syntax tree} of everything first-party that the functions need, themselves included.

    First-party is what lies in a top-level package of one of the functions. The name is empty for a module's
    statements that define nothing: they run whenever the module is imported.
    """
    packages = {function.partition(".")[0] for function in functions}
    modules: dict[str, _SourceModule] = {}
    pending = [(function.partition(":")[0], function.partition(":")[2]) for function in functions]
    reached: dict[str, str] = {}
    while pending:
        module_name, name = pending.pop()
        if f"{module_name}:{name}" in reached or module_name.partition(".")[0] not in packages:
            continue
        if module_name not in modules:
            modules[module_name] = _parse(module_name)
        module = modules[module_name]
        statements = module.definitions.get(name, [])
        reached[f"{module_name}:{name}"] = "\n".join(ast.dump(each) for each in statements)
        pending.append((module_name, ""))
        pending += [(module_name, each) for each in _names(statements) if each in module.definitions]
        pending += [module.imports[each] for each in {name, *_names(statements)} if each in module.imports]
        if name == _ALL:
            pending += [(module_name, each) for each in module.definitions]
        elif name and name not in module.definitions and _is_submodule(module_name, name):
            pending.append((f"{module_name}.{name}", _ALL))
    return reached


@dataclass
class _SourceModule:
    """definitions: top-level statements by the name that they bind, "" for those that bind none.
    imports: (module, name in it) by the name here; _ALL stands for the module itself."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


def _parse(module_name: str) -> _SourceModule:
    """The definitions and imports of a module."""
    module, tree = _SourceModule(), ast.parse(_source(module_name).read_bytes())
    for node in ast.walk(tree):  # also those inside functions
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module.imports[alias.asname or alias.name] = (node.module or "", alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, _ALL)
    for statement in tree.body:
        if not (_is_docstring(statement) or isinstance(statement, ast.Import | ast.ImportFrom)):
            bare = _without_prose(statement)
            for name in _bound(statement) or [""]:
                module.definitions.setdefault(name, []).append(bare)
    return module


def _names(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that the statements mention."""
    return {node.id for each in statements for node in ast.walk(each) if isinstance(node, ast.Name)}


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement binds; empty for one that binds none."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [node.id for each in targets for node in ast.walk(each) if isinstance(node, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _without_prose(statement: ast.stmt) -> ast.stmt:
    """The statement without docstrings and without annotations of functions."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [each for each in node.body if not _is_docstring(each)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return statement


def _is_docstring(statement: ast.stmt) -> bool:
    """Whether the statement is a string alone: a docstring, or the description below a constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _byte_digests(modules: Iterable[str]) -> dict[str, str]:
    """sha256 (hex) of the source of each module, and of this one, since it selects the definitions."""
    names = sorted({*modules, __name__})
    return {name: hashlib.sha256(_source(name).read_bytes()).hexdigest() for name in names}


def _is_submodule(package: str, name: str) -> bool:
    """Whether the package has a module of this name.

    False for a module without looking further, since find_spec would import the module, and the compiler with it.
    """
    is_package = _source(package).name == "__init__.py"
    return is_package and importlib.util.find_spec(f"{package}.{name}") is not None


@cache
def _source(module_name: str) -> Path:
    """The module's file. Raises ModuleNotFoundError."""
    spec = importlib.util.find_spec(module_name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module_name)
    return Path(spec.origin)
