"""`edge-app models`: lists, downloads, chooses, shows and removes models."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.cli import output
from edge_app.cli.models_dump import dump
from edge_app.cli.options import JsonOption, OfflineOption, load_settings
from edge_app.system.terminal_text import text_table
from models.core.errors import UserError

if TYPE_CHECKING:
    from models.core.types import Stage
    from models.hub.adding import WantedModel
    from models.hub.catalog import CatalogEntry
    from models.hub.store import ModelStatus, ModelStore

app = typer.Typer(
    help="Models: list, pull, use, show, remove, dump.\n\n\b\nExamples:\n  edge-app models list\n"
    "  edge-app models pull smolvlm-500m\n  edge-app models use smolvlm-500m",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(dump)

LARGE_DOWNLOAD = 200_000_000
"""Bytes that are downloaded from a source that no catalog names without being asked for again."""

PRECISION_REASONS = {
    "large_model": "an adapter whose update is large computes in float",
    "small_model": "its speed is no concern, as its files are small",
}

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name from `edge-app models list`.")]


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the models, those on this machine first.

    \b
    Example:
      edge-app models list
    """
    store = _store()
    statuses, in_use = store.list(), load_settings().model
    for reason in store.catalog.skipped.values():
        output.say(reason)
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
def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A name from `edge-app models list`; hf:owner/repository[@revision]; file:FOLDER or file:MODEL.gguf.",
        ),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="The name of a model from hf: or file:.")] = "",
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="The GGUF file to take, where there are several; may be repeated."),
    ] = None,
    mmproj: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The vision encoder of a GGUF language model: file:MMPROJ.gguf."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large download.")] = False,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Download or copy a model, unless it is here already. Continues an interrupted download.

    \b
    Examples:
      edge-app models pull smolvlm-500m
      edge-app models pull hf:HuggingFaceTB/SmolVLM-256M-Instruct --name small
      edge-app models pull file:model.gguf --mmproj file:mmproj.gguf --name mine
    """
    from edge_app.events import Progress
    from models.hub.adding import WantedModel, is_source

    line = output.ProgressLine()

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        line.show(Progress(stage, message, done, total))

    store, is_offline = _store(), load_settings(offline=offline).offline
    if is_source(source):
        name = _add(store, WantedModel(source, name, tuple(file or ()), mmproj), yes, is_offline)
    elif name or file or mmproj:
        raise typer.BadParameter("--name, --file and --mmproj are for a model from hf: or file:.")
    else:
        name = source
        if not (status := store.show(name)).pulled:
            _confirm_download(status.entry, yes)
    try:
        files = store.pull(name, progress, offline=is_offline)
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
    from edge_app.settings_file import change_settings_file
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
    plain = [
        (key, _in_words(key, value))
        for key, value in details.items()
        if key not in ("files", "precision_reason")
    ]
    if reason := details["precision_reason"]:
        plain = [(k, f"{v}; {PRECISION_REASONS[reason]}" if k == "precision" else v) for k, v in plain]
    plain = [(key, value) for key, value in plain if value]
    files = [
        (f["role"], output.megabytes(f["size"]), f["sha256"], f["path"] or f["name"])
        for f in details["files"]
    ]
    output.result(text_table(plain))
    output.result("\n" + text_table([("ROLE", "SIZE", "SHA256", "FILE"), *files], right=(1,)))


@app.command()
def remove(name: NameArgument) -> None:
    """Remove a model's files and the files made from them. It can be pulled again; a file: source is not touched.

    \b
    Example:
      edge-app models remove edge-vlm-135m
    """
    from edge_app.system import paths
    from models.core.cache import remove_packed

    store = _store()
    skipped = name in store.catalog.skipped
    entry = store.catalog.entries.get(name)
    packed = set() if entry is None else _digests(entry)
    freed = store.remove(name)
    packed -= {digest for status in store.list() if status.pulled for digest in _digests(status.entry)}
    freed += sum(remove_packed(paths.cache_directory(), digest) for digest in packed)
    gone = freed or skipped
    output.say(f"Removed {name} ({output.megabytes(freed)})." if gone else f"{name} was not here.")
    if gone and load_settings().model == name and name != store.catalog.default:
        output.say(
            f"It is still the chosen model; `edge-app models use {store.catalog.default}` chooses the default."
        )


def _add(store: ModelStore, wanted: WantedModel, yes: bool, offline: bool) -> str:
    """Adds a model from hf: or file: to the catalog and returns its name. Says what it is and needs.

    yes: does not ask before a large download. Raises UserError, also when the user does not want it.
    """
    from models.hub.adding import propose
    from models.hub.file_trees import hub_origin

    if offline and wanted.source.startswith("hf:"):
        found = store.pulled_from(hub_origin(wanted.source), wanted.name)
        if found is not None:
            return found.name
    proposal = propose(wanted, offline=offline)
    entry = proposal.entry
    if entry.name not in store.catalog.entries or store.find(entry.name) is None:
        size = f"{output.megabytes(entry.size)} to {'download' if entry.download_size else 'copy'}"
        output.say(
            f"{entry.name}: {entry.description}; {size}, about {output.megabytes(entry.memory)} of memory, "
            f"licence {entry.licence}."
        )
        _confirm_download(entry, yes, LARGE_DOWNLOAD)
    store.add(entry, proposal.contents)
    return entry.name


def _confirm_download(entry: CatalogEntry, yes: bool, most: float = math.inf) -> None:
    """Asks before a download of more than `most` bytes, and for a model that the memory is too small for.

    Without a terminal --yes is needed. Raises UserError when the answer is no.
    """
    import psutil

    memory = psutil.virtual_memory().total
    if yes or (entry.download_size <= most and entry.memory <= memory):
        return
    tight = f" This machine has {output.megabytes(memory)} of memory in all." if entry.memory > memory else ""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{entry.name} was not pulled.{tight} Give --yes to pull it.")
    if not typer.confirm(f"Pull it?{tight}", err=True):
        raise UserError(f"{entry.name} was not pulled.")


def _digests(entry: CatalogEntry) -> set[str]:
    """The digests under which the cache keeps what was made from the model's files."""
    return {entry.weights_digest, *(file.pin.sha256 for file in entry.files)}


def _store() -> ModelStore:
    from edge_app.system import paths
    from models.hub.store import ModelStore

    return ModelStore(paths.ensure(paths.models_directory()))


def _in_words(key: str, value: Any) -> str:
    """A value of `_details` for a person; empty for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("size", "download_size", "memory"):
        return output.megabytes(value)
    return "" if value is None else str(value)


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
        "precision": entry.precision,
        "precision_reason": _precision_reason(entry),
        "origin": entry.origin or None,
    }


def _precision_reason(entry: CatalogEntry) -> str | None:
    """Why linear layers compute as they do: a key of PRECISION_REASONS; None for another engine than the default."""
    return None if entry.precision is None else "small_model" if entry.precision == "float" else "large_model"


def _details(store: ModelStore, name: str) -> dict[str, Any]:
    """The model as JSON values. Sizes are in bytes. The path of a file is None until it is downloaded."""
    status, here = store.show(name), store.find(name)
    files = [
        {
            "role": file.role,
            "name": file.pin.name,
            "size": file.pin.size,
            "sha256": file.pin.sha256,
            "source": str(file.source),
            "path": str(here.files[file.role]) if here else None,
        }
        for file in status.entry.files
    ]
    return {
        **_summary(status, load_settings().model),
        "family": status.entry.family,
        "engine": status.entry.engine,
        "commit": status.entry.commit,
        "digest": status.entry.digest,
        "files": files,
    }
