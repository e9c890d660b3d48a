"""`edge-app adapters list` and `show`: the installed adapters, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edge_app.cli import output
from edge_app.cli.adapters.export import NameArgument
from edge_app.cli.options import JsonOption, load_settings
from edge_app.system.terminal_text import text_table

if TYPE_CHECKING:
    from adapters.store.adapter_store import AdapterStore, InstalledAdapter


def list_(json: JsonOption = False) -> None:
    """List the installed adapters, and those that come with the app.

    \b
    Example:
      edge-app adapters list
    """
    from adapters.store.adapter_store import bundled_names
    from edge_app.engine.adapter_bases import AdapterBases
    from edge_app.engine.adapter_installer import adapter_store

    store, model = adapter_store(), load_settings().model
    runs_on = AdapterBases(store).runs_on(store.names(), model)
    installed = [_summary(adapter, runs_on.get(adapter.name, ())) for adapter in store.all()]
    here = {adapter["name"] for adapter in installed}
    available = [name for name in bundled_names() if name not in here]
    if json:
        output.result_json(installed)
    elif installed:
        rows = [
            (
                a["name"],
                a["version"],
                output.megabytes(a["size"]),
                next(iter(a["runs_on"]), a["base_model"] and f"{a['base_model']} (not here)"),
                a["problem"] or a["description"],
            )
            for a in installed
        ]
        output.result(text_table([("NAME", "VERSION", "SIZE", "MODEL", "DESCRIPTION"), *rows], right=(2,)))
    else:
        output.say("No adapter is installed.")
    if available:
        output.say(f"Bundled, to be installed by name: {', '.join(available)}.")


def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show an adapter's purpose, measured accuracy, origin, and files.

    \b
    Example:
      edge-app adapters show receipts
    """
    from edge_app.engine.adapter_installer import adapter_store

    found = details(adapter_store(), name)
    if json:
        output.result_json(found)
        return
    lists = ("examples", "accuracy", "training", "files")
    output.result(text_table([(key, _plain(value)) for key, value in found.items() if key not in lists]))
    if found["training"]:
        output.result("\n" + text_table([("TRAINING", ""), *found["training"].items()]))
    if found["examples"]:
        rows = [(e["task"], " ".join(e["question"].split()), e["answer"]) for e in found["examples"]]
        output.result("\n" + text_table([("TASK", "QUESTION", "ANSWER"), *rows]))
    if found["accuracy"]:
        shares = ("adapter", "base", "blind", "majority")
        rows = [
            (row["set"], row["type"], str(row["rows"]), *(f"{100 * row[share]:.1f}%" for share in shares))
            for row in found["accuracy"]
        ]
        heading = ("SET", "TYPE", "ROWS", *(share.upper() for share in shares))
        output.result("\n" + text_table([heading, *rows], right=(2, 3, 4, 5, 6)))
    output.result("\n" + text_table([("FILE", "SHA256"), *found["files"].items()]))


def details(store: AdapterStore, name: str) -> dict[str, Any]:
    """The summary with the manifest, the record of the installation, and the files by their SHA-256."""
    from dataclasses import asdict

    from adapters.store.manifest import COPY_KEYS
    from edge_app.engine.adapter_bases import AdapterBases

    adapter = store.get(name)
    runs_on = AdapterBases(store).runs_on([name], load_settings().model)[name]
    manifest, record = adapter.manifest, adapter.record
    copies = None if manifest is None else manifest.copies
    more = (
        {}
        if manifest is None
        else {
            "base_digest": manifest.base_digest or None,
            "reads": asdict(manifest.reads),
            "copies": copies and {key: getattr(copies, key) for key in COPY_KEYS},
        }
    )
    origin = (
        {}
        if record is None
        else {
            "revision": record.revision or None,
            "signed_by": record.signed_by or None,
            "declared": record.declared,
        }
    )
    return {
        **_summary(adapter, runs_on),
        "folder": str(adapter.folder),
        **more,
        **origin,
        "training": dict(manifest.training) if manifest else {},
        "examples": [asdict(example) for example in manifest.examples] if manifest else [],
        "accuracy": [asdict(row) for row in manifest.accuracy] if manifest else [],
        "files": {**(manifest.files if manifest else {}), **(record.made if record else {})},
    }


def _summary(adapter: InstalledAdapter, runs_on: Sequence[str]) -> dict[str, Any]:
    """The adapter as JSON values. size: in bytes. problem: why it cannot be used, or None.

    runs_on: the models here that it can run on, the one that it runs on first.
    """
    manifest = adapter.manifest
    return {
        "name": adapter.name,
        "version": manifest.version if manifest else "",
        "description": manifest.description if manifest else "",
        "base_model": manifest.base_model if manifest else "",
        "runs_on": [] if adapter.problem else list(runs_on),
        "tasks": list(manifest.tasks) if manifest else [],
        "size": adapter.size(),
        "source": adapter.record.source if adapter.record else None,
        "installed": adapter.record.date if adapter.record else None,
        "problem": adapter.problem or None,
    }


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
