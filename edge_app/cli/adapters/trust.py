"""`edge-app adapters trust`: the publishers whose signed adapters install without a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption
from edge_app.system.terminal_text import text_table

app = typer.Typer(
    help="Trusted publishers: add, list, remove, new-key.", no_args_is_help=True, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What you call the publisher.")]


@app.command()
def add(
    name: NameArgument,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="The public key (base64), its fingerprint, or a file with either."
        ),
    ],
) -> None:
    """Trust a publisher: what this key signed installs without a question from now on.

    \b
    Example:
      edge-app adapters trust add "Field Lab" field-lab.key.pub
    """
    from edge_app.engine.adapter_installer import publishers

    fingerprint = publishers().add(name, key)
    output.say(f"Trusted: {name} ({fingerprint}).")


@app.command("list")
def list_(json: JsonOption = False) -> None:
    """List the trusted publishers and the fingerprints of their keys.

    \b
    Example:
      edge-app adapters trust list
    """
    from edge_app.engine.adapter_installer import publishers

    known = publishers().all()
    if json:
        output.result_json([{"name": name, "fingerprint": key} for name, key in known.items()])
    elif known:
        output.result(text_table([("NAME", "FINGERPRINT"), *known.items()]))
    else:
        output.say("No publisher is trusted yet.")


@app.command()
def remove(name: NameArgument) -> None:
    """Trust a publisher no more. Adapters that are installed stay.

    \b
    Example:
      edge-app adapters trust remove "Field Lab"
    """
    from edge_app.engine.adapter_installer import publishers

    publishers().remove(name)
    output.say(f"No longer trusted: {name}.")


@app.command("new-key")
def new_key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the private key goes; FILE.pub is public.")
    ],
) -> None:
    """Make a key to sign adapters with. Keep FILE to yourself; give FILE.pub to those who are to trust you.

    \b
    Example:
      edge-app adapters trust new-key field-lab.key
    """
    from adapters.install.trust import PUBLIC_SUFFIX, make_key

    fingerprint = make_key(file.expanduser())
    output.say(f"Wrote {file} (private) and {file}{PUBLIC_SUFFIX} (public).")
    output.result(fingerprint)
