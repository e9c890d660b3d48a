"""adapter.toml: an adapter's name, purpose, prompts and measured accuracy, and the hashes of its files.

Types, lengths, unknown fields and names of files are checked when it is read. adapters.install.verify compares the
hashes with the files.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import tomli_w
from packaging.version import InvalidVersion, Version

from adapters.store.fields import Fields
from models.core.errors import FileError, UserError
from models.language.copying.policy import LARGEST_MARGIN, MOST_CANDIDATES, CopyPolicy
from models.ocr import PROMPT_FORMAT, PROMPT_FORMATS

MANIFEST_FILE = "adapter.toml"
SIGNATURE_FILE = "signature.json"
# The names in models.lora.peft_format and models.adapter_weights, whose import costs that of numpy.
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PROJECTOR_FILE = "projector.safetensors"
REQUIRED_FILES = (CONFIG_FILE, WEIGHTS_FILE)
ALLOWED_FILES: Mapping[str, int] = MappingProxyType(
    {
        MANIFEST_FILE: 2**18,
        SIGNATURE_FILE: 2**14,
        CONFIG_FILE: 2**20,
        WEIGHTS_FILE: 2**30,
        PROJECTOR_FILE: 2**28,
        "router.safetensors": 2**26,
        "README.md": 2**20,
        "LICENSE": 2**20,
    }
)
"""The files an adapter may have, and the most bytes each may be. Nothing else is ever unpacked or copied."""

COPY_KEYS = ("declines", "margin", "candidates", "free")
"""The keys of [copies]."""

FORMAT = 1
RESERVED = ("auto", "none")  # have another meaning on the command line
ReadsText = Literal["auto", "always", "never"]
"""Whether the text in images is read (OCR) for an adapter; "auto": in images that look like documents."""

READS: tuple[ReadsText, ...] = ("auto", "always", "never")
_MOST_READING_FIRST: tuple[ReadsText, ...] = ("always", "auto", "never")
NOT_DECLARED = ""
"""The base_digest of an adapter whose manifest does not name the weights that it was trained on."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_ON_WINDOWS = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_MOST_DOTS = 2000  # the time that tomllib takes for a key a.b.c… grows with the square of its dots
_MOST_EXAMPLES, _MOST_TASKS, _MOST_FACTS, _MOST_ROWS = 500, 100, 100, 500
_MOST_DECLINES = 20


@dataclass(frozen=True)
class PromptPolicy:
    """The parts of prompts, beside the question and the image tokens, with which an adapter was trained.

    ocr: the text that was read in the images. words: the line of words that the projector's heads name.
    chart_ranks: the labels of a chart, ranked by their numbers, below the text. prompt_format: the version of how
    all of this is written (models.ocr.PROMPT_FORMAT).
    """

    ocr: ReadsText = "auto"
    words: bool = True
    chart_ranks: bool = False
    prompt_format: int = PROMPT_FORMAT


def combine_policies(policies: Iterable[PromptPolicy]) -> PromptPolicy:
    """The policy of a sum of adapters: the prompt has everything that one of them needs.

    It is written in the newest format of those that read text, or of all when none does.
    """
    every = tuple(policies)
    wanted = {policy.ocr for policy in every}
    ocr = next(each for each in _MOST_READING_FIRST if each in wanted)
    readers = [policy for policy in every if policy.ocr != "never"] or every
    return PromptPolicy(
        ocr,
        any(policy.words for policy in every),
        any(policy.chart_ranks for policy in readers),
        max(policy.prompt_format for policy in readers),
    )


@dataclass(frozen=True)
class Example:
    """A question that the adapter is for. task: one of the manifest's tasks, or empty."""

    question: str
    answer: str = ""
    task: str = ""


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers, 0..1, on rows of one type of question.

    set: the name of the file of rows. adapter: the model with the adapter. base: the model without the adapter.
    blind: with the adapter, without the image. majority: the commonest answer given every time.
    """

    set: str
    type: str
    rows: int
    adapter: float
    base: float
    blind: float
    majority: float


@dataclass(frozen=True)
class AdapterManifest:
    """The content of adapter.toml.

    version: as PEP 440 has it. description: one line. base_model: a name from `edge-app models list`.
    base_digest: one of models.hub.store.BaseDigests, or NOT_DECLARED. training: facts by name (data, licence,
    recipe …). files: sha256 (hex) by name of every file but the manifest and its signature. any_page: it answers about
    any page of text, so that a more special adapter comes first. copies: how its answers are copied from the text of
    pages; None for an adapter that answers in its own words.
    """

    name: str
    version: str
    description: str
    base_model: str
    base_digest: str
    tasks: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    reads: PromptPolicy = PromptPolicy()
    training: Mapping[str, str] = field(default_factory=dict)
    accuracy: tuple[Accuracy, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    any_page: bool = False
    copies: CopyPolicy | None = None

    def is_newer_than(self, other: AdapterManifest) -> bool:
        return Version(self.version) > Version(other.version)


def is_name(name: str) -> bool:
    """Whether an adapter may have this name: it is not reserved and is a valid folder name on every system."""
    return bool(_NAME.fullmatch(name) and not _ON_WINDOWS.fullmatch(name) and name.lower() not in RESERVED)


def check_name(name: str) -> str:
    """The name, if an adapter may have it. Raises UserError."""
    if name.lower() in RESERVED:
        raise UserError(f"An adapter cannot be named {name!r}, which means something else; use another name.")
    if not is_name(name):
        raise UserError(
            f"{name!r} is no name for an adapter; use up to 64 letters, digits, '.', '_' or '-', beginning with "
            "a letter or a digit."
        )
    return name


def parse_manifest(data: bytes, path: Path) -> AdapterManifest:
    """The manifest in a file's bytes. path: what to name in errors. Raises UserError."""
    return manifest_of(parse_toml(data, path), path)


def parse_toml(data: bytes, path: Path) -> dict[str, Any]:
    """The file's tables, not checked. Raises UserError when the file is too large or not TOML."""
    if len(data) > ALLOWED_FILES[MANIFEST_FILE]:
        raise FileError(
            path, f" is larger than {ALLOWED_FILES[MANIFEST_FILE]} bytes; no manifest needs that."
        )
    if data.count(b".") > _MOST_DOTS:
        raise FileError(path, f" has more than {_MOST_DOTS} full stops; shorten its texts.")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError itself for a number of thousands of digits
        raise FileError(path, f" is not TOML ({error}); correct it or get a fresh copy.") from None


def manifest_of(tables: object, path: Path) -> AdapterManifest:
    """The manifest in the tables of a parsed adapter.toml. Raises UserError, naming the field."""
    top = Fields(tables, path, "")
    if (found := top.take("format", FORMAT)) != FORMAT:
        raise FileError(path, f" has format {found!r}; this version of the app reads format {FORMAT}.")
    name = check_name(top.line("name"))
    training = top.table("training")
    manifest = AdapterManifest(
        name=name,
        version=_version(top.line("version"), path),
        description=top.line("description"),
        base_model=top.line("base_model"),
        base_digest=top.digest("base_digest", NOT_DECLARED),
        tasks=top.lines("tasks", _MOST_TASKS),
        examples=tuple(_example(fields) for fields in top.tables("examples", _MOST_EXAMPLES)),
        reads=_policy(top.table("reads")),
        training=training.facts(_MOST_FACTS),
        accuracy=tuple(_accuracy(fields) for fields in top.tables("accuracy", _MOST_ROWS)),
        files=_files(top.table("files"), path),
        any_page=top.flag("any_page", False),
        copies=_copies(top.table("copies")) if "copies" in top.names() else None,
    )
    top.done()
    return manifest


def write_manifest(manifest: AdapterManifest) -> bytes:
    """adapter.toml's bytes; parse_manifest gives the same manifest back. Raises UserError when it would not."""
    tables: dict[str, Any] = {"format": FORMAT}
    for key in ("name", "version", "description", "base_model", "base_digest"):
        if value := getattr(manifest, key):
            tables[key] = value
    if manifest.any_page:
        tables["any_page"] = True
    tables["tasks"] = list(manifest.tasks)
    tables["reads"] = asdict(manifest.reads)
    if manifest.copies is not None:
        tables["copies"] = {key: getattr(manifest.copies, key) for key in COPY_KEYS}
    tables["training"] = dict(manifest.training)
    tables["files"] = dict(sorted(manifest.files.items()))
    tables["examples"] = [
        {key: value for key, value in asdict(example).items() if value} for example in manifest.examples
    ]
    tables["accuracy"] = [asdict(row) for row in manifest.accuracy]
    data = tomli_w.dumps({key: value for key, value in tables.items() if value not in ([], {})}).encode()
    parse_manifest(data, Path(MANIFEST_FILE))
    return data


def policy_digest(reads: PromptPolicy, copies: CopyPolicy | None) -> str:
    """16 hex digits that identify how an adapter is asked and how its answers are copied, beside its weights."""
    copied = None if copies is None else {key: getattr(copies, key) for key in COPY_KEYS}
    content = json.dumps({"reads": asdict(reads), "copies": copied}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def check_prompt_format(manifest: AdapterManifest) -> None:
    """Raises UserError for an adapter whose prompts this version of the app cannot make."""
    if manifest.reads.prompt_format not in PROMPT_FORMATS:
        known = " and ".join(map(str, PROMPT_FORMATS))
        raise UserError(
            f"The adapter {manifest.name} was trained with prompt format {manifest.reads.prompt_format}, and this "
            f"version of the app makes the formats {known}; update the app, or train the adapter anew."
        )


def _policy(fields: Fields) -> PromptPolicy:
    """The policy in [reads]. A manifest without prompt_format is of format 1, where every adapter got chart ranks."""
    prompt_format = fields.count("prompt_format", 1)
    policy = PromptPolicy(
        ocr=fields.one_of("ocr", READS, "auto"),
        words=fields.flag("words", True),
        chart_ranks=fields.flag("chart_ranks", prompt_format == 1),
        prompt_format=prompt_format,
    )
    fields.done()
    return policy


def _copies(fields: Fields) -> CopyPolicy:
    policy = CopyPolicy(
        declines=fields.lines("declines", _MOST_DECLINES),
        margin=fields.number("margin", -LARGEST_MARGIN, LARGEST_MARGIN, 0.0),
        candidates=fields.count("candidates", CopyPolicy.candidates, MOST_CANDIDATES),
        free=fields.lines("free", _MOST_DECLINES),
    )
    fields.done()
    return policy


def _version(text: str, path: Path) -> str:
    try:
        Version(text)
    except InvalidVersion:
        raise FileError(path, f" has the version {text!r}; write it like 1.2.0.") from None
    return text


def _example(fields: Fields) -> Example:
    example = Example(
        question=fields.text("question"), answer=fields.text("answer", ""), task=fields.line("task", "")
    )
    fields.done()
    return example


def _accuracy(fields: Fields) -> Accuracy:
    row = Accuracy(
        set=fields.line("set"),
        type=fields.line("type"),
        rows=fields.count("rows"),
        adapter=fields.share("adapter"),
        base=fields.share("base"),
        blind=fields.share("blind"),
        majority=fields.share("majority"),
    )
    fields.done()
    return row


def _files(fields: Fields, path: Path) -> Mapping[str, str]:
    for name in fields.names():
        if name not in ALLOWED_FILES or name in (MANIFEST_FILE, SIGNATURE_FILE):
            raise FileError(path, f" lists the file {name!r}, which is no part of an adapter; take it out.")
    for name in REQUIRED_FILES:
        if name not in fields.names():
            raise FileError(path, f" has no sha256 of {name} in [files]; an adapter has that file.")
    return {name: fields.digest(name) for name in fields.names()}
