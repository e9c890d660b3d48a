"""`edge-app adapters`: installs, lists, removes, checks, updates, exports and trains adapters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from edge_app.cli import output
from edge_app.cli.adapters import export, listing, train, trust
from edge_app.cli.options import JsonOption, OfflineOption, load_settings
from models.core.errors import UserError

if TYPE_CHECKING:
    from adapters.install.installer import CheckedAdapter, Installer, Outcome
    from adapters.store.adapter_store import AdapterStore
    from edge_app.engine.adapter_installer import AppModels
    from models.core.types import Stage
    from models.hub.store import BaseDigests

app = typer.Typer(
    help="Adapters: install, list, show, remove, verify, update, export, train, trust."
    "\n\n\b\nExample:\n  edge-app adapters list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(trust.app, name="trust")
app.command("list")(listing.list_)
app.command("show")(listing.show)
app.command("export")(export.export)
app.command("train")(train.train)

NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Names; all adapters if none is given.")
]
YesOption = Annotated[
    bool, typer.Option("--yes", help="Do not ask about unsigned adapters and unknown publishers.")
]


@app.command()
def install(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="A folder, .zip or .tar.gz; an https address; hf:owner/repository[@revision]; a bundled name.",
        ),
    ] = None,
    bundled: Annotated[
        bool, typer.Option("--bundled", help="Install all adapters that come with the app.")
    ] = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="Install it under this name.")] = "",
    sha256: Annotated[str, typer.Option(metavar="HEX", help="The SHA-256 that the archive must have.")] = "",
    yes: YesOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the same or a newer version.")] = False,
    offline: OfflineOption = None,
    json: JsonOption = False,
) -> None:
    """Install adapters. Each is checked in full and tried on the model first.

    \b
    Examples:
      edge-app adapters install receipts shapes
      edge-app adapters install ./my-lora --name plants
      edge-app adapters install https://example.org/plants.zip --sha256 9f86d081…
    """
    from adapters.install.installer import NotNewer, Wanted
    from adapters.store.adapter_store import bundled_names

    wanted = [*bundled_names()] if bundled else sources or []
    if bundled == bool(sources):
        raise typer.BadParameter("Give a SOURCE, or --bundled.")
    if (name or sha256) and len(wanted) != 1:
        raise typer.BadParameter("--name and --sha256 are for one SOURCE.")
    outcomes = []
    with _installing(yes, offline) as (installer, is_offline):
        for source in wanted:
            try:
                outcome = installer.install(Wanted(source, name, sha256, force, offline=is_offline))
            except NotNewer as reason:
                if not bundled:
                    raise
                output.say(f"{source} stays: {reason}")
                continue
            _say_installed(outcome)
            outcomes.append(listing.details(_store(), outcome.adapter.name))
    if json:
        output.result_json(outcomes if bundled or len(wanted) > 1 else outcomes[0])


@app.command()
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names from `edge-app adapters list`.")
    ],
) -> None:
    """Remove adapters from this machine. A running answer keeps its adapter until it ends.

    \b
    Example:
      edge-app adapters remove receipts
    """
    with _installing(yes=False, offline=True) as (installer, _):
        for name in dict.fromkeys(names):
            installer.remove(name)
            output.say(f"Removed {name}.")


@app.command()
def verify(names: NamesArgument = None, json: JsonOption = False) -> None:
    """Check adapters against their manifests: hashes, signature, weights, and base model.

    Exit code 1 when something is wrong.

    \b
    Example:
      edge-app adapters verify receipts
    """
    from adapters.install.verify import verify_installed
    from edge_app.engine.adapter_bases import AdapterBases
    from edge_app.engine.adapter_installer import AppModels

    store, settings = _store(), load_settings()
    models, bases = AppModels(settings, lambda *_: None), AdapterBases(store)
    problems = {}
    for name in names or store.names():
        here = bases.runs_on([name], settings.model)[name]
        problems[name] = verify_installed(store.get(name), partial(_base_digests, models, here))
    if json:
        output.result_json([{"name": name, "problem": problem} for name, problem in problems.items()])
    else:
        for name, problem in problems.items():
            output.result(f"{name}: {problem or 'as it should be'}")
    if any(problems.values()):
        output.leave(output.ExitCode.MISTAKE)


@app.command()
def update(names: NamesArgument = None, yes: YesOption = False, offline: OfflineOption = None) -> None:
    """Fetch adapters from their sources again, and replace those that have a newer version.

    \b
    Example:
      edge-app adapters update
    """
    from adapters.install.installer import NotNewer

    with _installing(yes, offline) as (installer, is_offline):
        failed = []
        for name in names or [adapter.name for adapter in _store().all() if adapter.record]:
            try:
                _say_installed(installer.update(name, offline=is_offline))
            except NotNewer as reason:
                output.say(f"{name} stays: {reason}")
            except UserError as error:  # continue with the others
                output.say(f"edge-app: {name} stays: {error}")
                failed.append(error.exit_code)
    if failed:
        output.leave(failed[0])


def _store() -> AdapterStore:
    from edge_app.engine.adapter_installer import adapter_store

    return adapter_store()


@contextmanager
def _installing(yes: bool, offline: bool | None) -> Iterator[tuple[Installer, bool]]:
    """Yields an installer that shows its progress and asks the user, and whether the app is offline."""
    from edge_app.engine.adapter_installer import AppModels, installer
    from edge_app.events import Progress

    line = output.ProgressLine()

    def progress(stage: Stage, message: str, done: int, total: int | None) -> None:
        line.show(Progress(stage, message, done, total))

    def confirm(candidate: CheckedAdapter) -> bool:
        line.clear()
        return _confirmed(candidate, yes)

    settings = load_settings(offline=offline)
    models = AppModels(settings, progress)
    try:
        yield installer(models, confirm, progress), settings.offline
    finally:
        line.clear()
        models.close()


def _confirmed(candidate: CheckedAdapter, yes: bool) -> bool:
    name, source, signer = candidate.name, candidate.fetched.source, candidate.signer
    if signer is None:
        what = f"{name} from {source} is not signed"
    else:
        what = f"{name} from {source} is signed by {signer.publisher!r} ({signer.fingerprint}), whom you do not trust"
    if yes:
        output.say(f"{what}.")
        return True
    if not sys.stdin.isatty():
        raise UserError(f"{what}; add --yes to install it all the same.")
    old = candidate.replaces
    instead = f" in place of {old.manifest.version}" if old and old.manifest else ""
    return typer.confirm(f"{what}. Install version {candidate.manifest.version}{instead}?", err=True)


def _say_installed(outcome: Outcome) -> None:
    candidate, manifest = outcome.candidate, outcome.candidate.manifest
    old = candidate.replaces
    instead = f" in place of {old.manifest.version}" if old and old.manifest else ""
    if candidate.fetched.left_out:
        output.say(f"Left out, as no part of an adapter: {', '.join(candidate.fetched.left_out)}.")
    output.say(f"Installed {candidate.name} {manifest.version}{instead}.")


def _base_digests(models: AppModels, here: Sequence[str], named: str) -> BaseDigests:
    """The digests of the model that runs an adapter; of the one that it names where none is here."""
    return models.base_digests(next(iter(here), named))
