"""`edge-app adapters export`: packs an adapter into an archive, or writes it for another runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_app.cli import output
from edge_app.cli.options import load_settings
from models.core.errors import UserError

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name from `edge-app adapters list`.")]
Runtime = Literal["llama.cpp", "vllm"]


def export(
    name: NameArgument,
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The .zip to write; with --for a .gguf file or a folder."),
    ],
    runtime: Annotated[
        Runtime | None,
        typer.Option("--for", help="Write what this runtime loads: a GGUF file, or a PEFT folder."),
    ] = None,
    sign: Annotated[
        Path | None, typer.Option(metavar="KEYFILE", help="Sign it with this key (see `trust new-key`).")
    ] = None,
    publisher: Annotated[
        str, typer.Option(metavar="NAME", help="The publisher's name [default: the key file's name].")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Pack an adapter into an archive for `adapters install`, or write it for another runtime.

    \b
    Examples:
      edge-app adapters export plants plants.zip --sign field-lab.key --publisher "Field Lab"
      edge-app adapters export receipts receipts.gguf --for llama.cpp
      edge-app adapters export receipts receipts-lora --for vllm
    """
    from adapters.install.export import export as run
    from edge_app.engine.adapter_installer import adapter_store

    if publisher and sign is None:
        raise typer.BadParameter("--publisher goes with --sign.")
    if runtime is not None:
        if sign is not None:
            raise typer.BadParameter("--sign is of archives; leave it out with --for.")
        _export_for(runtime, name, target.expanduser(), force)
        return
    signer = run(adapter_store().get(name), target.expanduser(), key=sign, publisher=publisher, force=force)
    signed = f", signed by {signer.publisher} ({signer.fingerprint})" if signer else ""
    output.say(f"Wrote {target}{signed}.")


def _export_for(runtime: Runtime, name: str, target: Path, force: bool) -> None:
    """Write an adapter for a runtime; what serves it is the result."""
    from adapters.install.runtimes import export_for
    from edge_app.engine.adapter_bases import AdapterBases
    from edge_app.engine.adapter_installer import adapter_store
    from edge_app.system import paths
    from models.hub.store import ModelStore

    store = adapter_store()
    adapter = store.get(name)
    model = AdapterBases(store).of(name, load_settings().model)
    base = ModelStore(paths.models_directory()).find(model)
    if base is None:
        raise UserError(
            f"{name} runs on {model}, which is not on this machine; `edge-app models pull {model}` brings it."
        )
    written = export_for(runtime, adapter, target, base, force=force)
    output.say(f"Wrote {written.path}.")
    for part in written.left_out:
        output.say(f"Left out: {part}.")
    output.result(written.command)
