"""The sandbox in which chat templates run: Jinja's, with bounded steps, time, and lengths of strings.

A template is a program from the internet. Jinja's own sandbox keeps it from Python's objects, but not from computing
for ever or filling the memory.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.core.errors import UserError

MAX_STEPS = 200_000  # loop iterations and calls of macros and blocks in one rendering
MAX_SECONDS = 0.5  # the processor time after which a rendering ends at its next step


class TemplateTooLongError(UserError):
    """A rendering takes too many steps or too much time."""

    def __init__(self) -> None:
        super().__init__("The model's chat template computes too long; choose another model")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounded loops, without the operators and attributes that multiply the length of a string.

    Every iteration of a loop, also of one that its condition skips, and every call of a macro or block calls
    `count_step`.
    """

    intercepted_binops = frozenset({"*", "**", "%"})

    def begin_rendering(self) -> None:
        """Count the steps of this thread's next rendering from 0."""
        self._steps.left, self._steps.end = MAX_STEPS, time.thread_time() + MAX_SECONDS

    def count_step(self) -> bool:
        """True, so that a condition can begin with it. Raises TemplateTooLongError when the rendering has to end."""
        self._steps.left -= 1
        if self._steps.left < 0 or time.thread_time() > self._steps.end:
            raise TemplateTooLongError
        return True

    @functools.cached_property
    def _steps(self) -> threading.local:
        return threading.local()

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template's tree with a call of `count_step` wherever it may be executed repeatedly."""
        tree = super()._parse(source, name, filename)
        step = nodes.Call(nodes.EnvironmentAttribute("count_step"), [], [], None, None)
        for node in list(tree.find_all(nodes.Stmt)):
            if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block):
                node.body.insert(0, nodes.ExprStmt(step))
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(step, node.test)
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(value, int | float) for value in (left, right)):
            raise jinja2.exceptions.SecurityError(f"the operator {operator} is for numbers only")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ARG002  # not even the sandboxed str.format
        return None

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in _WIDENING and super().is_safe_attribute(obj, attr, value)


_WIDENING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"})


def template_environment() -> TemplateSandbox:
    """The environment in which transformers renders templates, for which published templates are written."""
    environment = TemplateSandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    for name in ("center", "format", "indent", "wordwrap"):
        del environment.filters[name]
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as transformers' filter writes it. Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=min(indent, 8) if indent else None)
