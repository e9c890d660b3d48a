"""The command `edge-app`: the chat when called without a command, else the command.

Commands import the modules that they need when they run, so that `--help` and completion stay fast.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer
import typer.core

import edge_app
from edge_app.cli import ask, doctor, models, output, route, serve, sessions
from edge_app.cli.adapters import commands as adapters
from edge_app.cli.cloud import commands as cloud
from edge_app.cli.eval import evaluate
from edge_app.cli.extract import command as extract
from edge_app.cli.options import (
    AdapterOption,
    ContinueOption,
    ModelOption,
    ModeOption,
    OfflineOption,
    SessionOption,
)

app = typer.Typer(
    name="edge-app",
    no_args_is_help=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("ask")(ask.ask)
app.command("eval", cls=evaluate.EvaluateCommand)(evaluate.evaluate)
app.command("extract")(extract.extract)
app.command("route")(route.route)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
app.add_typer(adapters.app, name="adapters")
app.add_typer(cloud.app, name="cloud")
app.add_typer(models.app, name="models")
app.add_typer(sessions.app, name="sessions")


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def bench(context: typer.Context) -> None:
    """Measure speed and memory on this machine (`edge-app bench --help` for its options).

    \b
    Example:
      edge-app bench --quick
    """
    # By name, because edge_app must not import benchmarks (layer contract).
    harness = import_module("benchmarks.__main__")
    output.leave(harness.main(context.args) or output.ExitCode.ANSWERED)


def _version(wanted: bool) -> None:
    if wanted:
        output.result(f"edge-app {edge_app.__version__}")
        raise typer.Exit


def _pass_on(context: typer.Context, command: str) -> None:
    """Lets options before a command count as if they stood after it. Raises BadParameter for those it does not have.

    --offline holds for every command.
    """
    chosen = {name: value for name, value in context.params.items() if value not in (None, False)}
    if "offline" in chosen:
        from edge_app.system import offline

        offline.switch.turn_on()
    group = context.command
    assert isinstance(group, typer.core.TyperGroup), "commands belong to a group"
    known = {parameter.name for parameter in group.commands[command].params}
    options = {parameter.name: parameter.opts[0] for parameter in group.params}
    for name in chosen.keys() - known - {"offline"}:
        raise typer.BadParameter(f"{options[name]} is no option of {command!r}; leave it out.")
    context.default_map = {command: {name: chosen[name] for name in chosen.keys() & known}}


@app.callback(invoke_without_command=True)
def chat(
    context: typer.Context,
    session: SessionOption = None,
    continue_: ContinueOption = False,
    offline: OfflineOption = None,
    mode: ModeOption = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """An assistant that looks at your images and answers on this machine. Without a command: the chat.

    \b
    Examples:
      edge-app
      edge-app --continue
      edge-app ask "What is in this photo?" --image photo.jpg
    """
    if context.invoked_subcommand is not None:
        _pass_on(context, context.invoked_subcommand)
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        output.say("edge-app: The chat needs a terminal; use `edge-app ask QUESTION` in scripts and pipes.")
        output.leave(output.ExitCode.USAGE)
    if output.is_dumb():
        output.say(
            "edge-app: The chat needs a terminal that can move its cursor, and TERM is dumb; use "
            "`edge-app ask QUESTION`, or set TERM to what the terminal is."
        )
        output.leave(output.ExitCode.USAGE)
    from edge_app.cli.options import load_settings, session_id
    from edge_app.storage.sessions import SessionStore
    from edge_app.tui.app import run

    settings = load_settings(offline=offline, mode=mode, model=model, adapter=adapter)
    store = SessionStore.open()
    try:
        run(settings, store, session=session_id(store, session, continue_))
    finally:
        store.close()


def main() -> None:
    """Runs the command line and exits with its code."""
    if os.environ.get("EDGE_APP_OFFLINE"):  # here, since some commands load no settings
        from edge_app.system import offline

        if offline.wanted_by_environment():
            offline.switch.turn_on()
    output.run(app)
