"""`edge-app models`: lists, downloads, chooses, shows and removes models."""

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
    help="Models: list, pull, use, show, remove.\n\n\b\nExample:\n  edge-app models list",
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
    statuses, in_use = _store().list(), load_settings().model
    if json:
        output.result_json([_summary(status, in_use) for status in statuses])
        return
    rows = [
        (
            status.entry.name,
            _state(status, in_use),
            output.megabytes(status.entry.size if status.pulled else status.entry.download_size),
            output.megabytes(status.entry.memory),
            status.entry.good_at or status.entry.description,
        )
        for status in statuses
    ]
    heading = ("NAME", "STATE", "SIZE", "MEMORY", "GOOD AT")
    output.result(text_table([heading, *rows], right=(2, 3)))


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
def use(name: NameArgument) -> None:
    """Make a model the one that answers from now on. `--model NAME` chooses one for a single command.

    \b
    Example:
      edge-app models use smolvlm-500m
    """
    from edge_app.settings import change_settings_file
    from edge_app.system import paths

    store = _store()
    status = store.show(name)
    change_settings_file(paths.config_file(), {"model": None if status.default else name})
    output.say(f"{name} answers from now on.")
    if not status.pulled:
        size = output.megabytes(status.entry.download_size)
        output.say(f"It is not here yet; `edge-app models pull {name}` downloads it ({size}).")
    if (chosen := load_settings().model) != name:
        output.say(f"The environment variable EDGE_APP_MODEL still chooses {chosen}.")


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


def _state(status: ModelStatus, in_use: str) -> str:
    here = "here" if status.pulled else "not pulled"
    return f"in use, {here}" if status.entry.name == in_use else here


def _summary(status: ModelStatus, in_use: str) -> dict[str, Any]:
    """in_use: the name of the model of the settings. Sizes and memory are in bytes."""
    entry = status.entry
    return {
        "name": entry.name,
        "description": entry.description,
        "good_at": entry.good_at,
        "licence": entry.licence,
        "default": status.default,
        "in_use": entry.name == in_use,
        "pulled": status.pulled,
        "size": entry.size,
        "download_size": entry.download_size,
        "memory": entry.memory,
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
        **_summary(status, load_settings().model),
        "family": status.entry.family,
        "engine": status.entry.engine,
        "digest": status.entry.digest,
        "files": files,
    }
