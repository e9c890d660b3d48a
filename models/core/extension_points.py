"""Named implementations that this project contains or that other distributions register by entry points.

An entry point is a line in the metadata of an installed distribution (importlib.metadata): a group, a name and the
object "module:attribute". Modules are imported when an implementation is needed. The metadata of distributions are
read only for names that are not built in, so that the default model starts without that cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from models.core.errors import UserError

T = TypeVar("T")


class ExtensionPoint(Generic[T]):
    """The implementations of one group. T: their type, which is not checked at run time."""

    def __init__(self, group: str, built_in: Mapping[str, str]) -> None:
        """group: of the entry points. built_in: "module:attribute" by name; no distribution can replace one."""
        self.group = group
        self._built_in = dict(built_in)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self._built_in, *entry_points(group=self.group).names}))

    def load(self, name: str) -> T | None:
        """The implementation of this name, or None when there is none.

        Raises UserError when two distributions register the name, or when its module cannot be imported.
        """
        if name in self._built_in:
            return cast(T, EntryPoint(name, self._built_in[name], self.group).load())
        found = tuple(entry_points(group=self.group, name=name))
        if not found:
            return None
        owners = sorted({entry.dist.name if entry.dist else "an unnamed one" for entry in found})
        if len(found) > 1:
            raise UserError(
                f"The distributions {' and '.join(owners)} both register {name!r} as one of {self.group}; "
                "uninstall one of them."
            )
        try:
            return cast(T, found[0].load())
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{name!r} of {self.group} cannot be loaded from the distribution {owners[0]} ({error}); "
                "update or uninstall it."
            ) from None
