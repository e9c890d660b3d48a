"""Files on this machine that a model is made of, as a file tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.core.errors import UserError
from models.core.files import file_digest, path_in_url
from models.hub.catalog import CatalogFile, LocalSource, Pin, safe_file_name
from models.hub.file_trees import Opened


@dataclass
class LocalTree:
    """A folder, or one GGUF file with its mmproj, on this machine. See FileTree.

    files: by path as FileTree has it.
    """

    where: str
    origin: str
    name: str
    files: Mapping[str, Path]
    licence: str = "not stated"
    sizes: Mapping[str, int] = field(init=False)
    contents: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.sizes = {path: file.stat().st_size for path, file in self.files.items()}
        except OSError as error:
            raise UserError(f"{self.where} cannot be read ({error.strerror}).") from None

    def read(self, path: str) -> bytes:
        """See FileTree."""
        try:
            return self.files[path].read_bytes()
        except OSError as error:
            raise UserError(f"{self.files[path]} cannot be read ({error.strerror}).") from None

    def header(
        self,
        path: str,
        folder: Path,  # noqa: ARG002  # the file itself is here
        opened: Callable[[Path], Opened],
    ) -> Opened:
        """See FileTree."""
        return opened(self.files[path])

    def catalog_file(self, role: str, path: str) -> CatalogFile:
        """See FileTree. The file is read to its end for its sha256."""
        file = self.files[path]
        try:
            pin = Pin(safe_file_name(file.name), self.sizes[path], file_digest(file))
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}).") from None
        return CatalogFile(role, pin, LocalSource(file))


def local_files(source: str, mmproj: str | None = None) -> LocalTree:
    """What `file:PATH` names: a folder, or a GGUF file. mmproj: path of the vision encoder's file, with or without
    "file:"; None takes a folder's own. Raises UserError when something is not there, or when the mmproj has the name
    of another file."""
    try:
        return _local_files(source, mmproj)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: of ~user without such a user
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{source} cannot be read ({reason}).") from None


def _local_files(source: str, mmproj: str | None) -> LocalTree:
    path = _path(source).absolute()
    if not path.exists():
        raise UserError(f"{path} does not exist; `models pull file:PATH` takes a folder or a GGUF file.")
    files = {each.name: each for each in sorted(path.iterdir()) if each.is_file()} if path.is_dir() else {}
    if path.is_file():
        files = {path.name: path}
    if mmproj is not None:
        tower = _path(mmproj)
        tower = (tower if tower.is_absolute() or tower.exists() else path.parent / tower).absolute()
        if not tower.is_file():
            raise UserError(f"{tower} does not exist; --mmproj names the GGUF file of the vision encoder.")
        if files.get(tower.name, tower) != tower:
            raise UserError(
                f"{files[tower.name]} and {tower} have the same name; rename one, so that it is clear which is which."
            )
        files = {**files, tower.name: tower}
    name = path.name if path.is_dir() else path.name.removesuffix(".gguf")
    return LocalTree(str(path), f"file:{path}", name, files)


def _path(source: str) -> Path:
    """The path of "file:PATH", which may be a URL with its escapes."""
    path = Path(source.removeprefix("file:")).expanduser()
    return path if path.exists() else path_in_url(source) or path
