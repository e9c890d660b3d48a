"""`edge-app models`: lists, downloads, shows and removes models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption, OfflineOption, load_settings
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from models.core.types import Stage
    from models.hub.store import ModelStatus, ModelStore

app = typer.Typer(
    help="Models: list, pull, show, remove.\n\n\b\nExample:\n  edge-app models list",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name from `edge-app models list`.")]


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the models, those on this machine first.

    \b
    Example:
      edge-app models list
    """
    statuses = _store().list()
    if json:
        output.result_json([_summary(status) for status in statuses])
        return
    rows = [
        (
            status.entry.name + (" (default)" if status.default else ""),
            "here" if status.pulled else "not pulled",
            output.megabytes(status.entry.size if status.pulled else status.entry.download_size),
            status.entry.description,
        )
        for status in statuses
    ]
    output.result(text_table([("NAME", "STATE", "SIZE", "DESCRIPTION"), *rows], right=(2,)))


@app.command()
def pull(name: NameArgument, offline: OfflineOption = None, json: JsonOption = False) -> None:
    """Download a model, unless it is here already. Continues an interrupted download.

    \b
    Example:
      edge-app models pull edge-vlm-135m
    """
    from edge_app.events import Progress

    line = output.ProgressLine()

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        line.show(Progress(stage, message, done, total))

    store = _store()
    try:
        files = store.pull(name, progress, offline=load_settings(offline=offline).offline)
    finally:
        line.clear()
    if json:
        output.result_json(_details(store, name))
    else:
        output.result(f"{name} is in {files.directory}")


@app.command()
def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show a model's parts, the locations of its files, and their hashes.

    \b
    Example:
      edge-app models show edge-vlm-135m --json
    """
    details = _details(_store(), name)
    if json:
        output.result_json(details)
        return
    plain = [(key, str(value)) for key, value in details.items() if key != "files"]
    files = [
        (f["role"], output.megabytes(f["size"]), f["sha256"], f["path"] or f["name"])
        for f in details["files"]
    ]
    output.result(text_table(plain))
    output.result("\n" + text_table([("ROLE", "SIZE", "SHA256", "FILE"), *files], right=(1,)))


@app.command()
def remove(name: NameArgument) -> None:
    """Remove a model's files and the files made from them. It can be pulled again.

    \b
    Example:
      edge-app models remove edge-vlm-135m
    """
    from edge_app.system import paths
    from models.core.cache import remove_packed

    store = _store()
    freed = store.remove(name)
    weights = store.show(name).entry.weights_digest
    if not any(status.pulled and status.entry.weights_digest == weights for status in store.list()):
        freed += remove_packed(paths.cache_directory(), weights)
    output.say(f"Removed {name} ({output.megabytes(freed)})." if freed else f"{name} was not here.")


def _store() -> ModelStore:
    from edge_app.system import paths
    from models.hub.store import ModelStore

    return ModelStore(paths.ensure(paths.models_directory()))


def _summary(status: ModelStatus) -> dict[str, Any]:
    entry = status.entry
    return {
        "name": entry.name,
        "description": entry.description,
        "licence": entry.licence,
        "default": status.default,
        "pulled": status.pulled,
        "size": entry.size,
        "download_size": entry.download_size,
    }


def _details(store: ModelStore, name: str) -> dict[str, Any]:
    """The model as JSON values. Sizes are in bytes. The path of a file is None until it is downloaded."""
    status, here = store.show(name), store.find(name)
    files = [
        {
            "role": file.role,
            "name": file.pin.name,
            "size": file.pin.size,
            "sha256": file.pin.sha256,
            "path": str(here.files[file.role]) if here else None,
        }
        for file in status.entry.files
    ]
    return {
        **_summary(status),
        "family": status.entry.family,
        "engine": status.entry.engine,
        "digest": status.entry.digest,
        "files": files,
    }
