"""`edge-app adapters trust`: manages the publishers whose signed adapters are installed without a question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.cli import output
from edge_app.cli.options import JsonOption
from edge_app.system.terminal_text import text_table

app = typer.Typer(
    help="Trusted publishers: add, list, remove, new-key.\n\n\b\nExample:\n  edge-app adapters trust list",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Your name for the publisher.")]


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
    """Trust a publisher: adapters signed with this key are installed without a question.

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
    """Stop trusting a publisher. Installed adapters stay.

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
        Path, typer.Argument(metavar="FILE", help="The private key; FILE.pub gets the public one.")
    ],
) -> None:
    """Make a key to sign adapters with. Keep FILE secret. Give FILE.pub to your users.

    \b
    Example:
      edge-app adapters trust new-key field-lab.key
    """
    from adapters.install.trust import PUBLIC_SUFFIX, make_key

    fingerprint = make_key(file.expanduser())
    output.say(f"Wrote {file} (private) and {file}{PUBLIC_SUFFIX} (public).")
    output.result(fingerprint)
