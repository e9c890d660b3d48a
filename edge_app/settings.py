"""The one settings object: command line over environment over settings.toml over the defaults.

Every field is a key of settings.toml and, in capitals after EDGE_APP_, an environment variable. Lists nothing
about models or sessions: those are data, not settings.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from edge_app.system import paths
from models.core.errors import UserError
from models.core.files import write_whole
from models.core.types import Sampling
from router.place_policy import DEFAULT_WEIGHTS, Budgets, Weights
from router.types import Mode, RouterName

ENVIRONMENT_PREFIX = "EDGE_APP_"
FROM_FILE = "_from_file"  # how `load` hands the file's values to the sources; no setting begins with "_"


class Price(BaseModel):
    """What a model costs, in the currency of your bill, for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    input: float = Field(ge=0.0, le=1e6, allow_inf_nan=False)
    output: float = Field(ge=0.0, le=1e6, allow_inf_nan=False)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class Worth(BaseModel):
    """What a unit of each is worth, in probability of a right answer (router.place_policy.Weights)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    second: float = Field(ge=0.0, allow_inf_nan=False)
    joule: float = Field(ge=0.0, allow_inf_nan=False)
    money: float = Field(ge=0.0, allow_inf_nan=False)


class Settings(BaseSettings):
    """Immutable; made by `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    model: str = "edge-vlm-135m"
    """The model that answers: a name from `edge-app models list`."""

    adapter: str = "auto"
    """The adapter to answer with: a name, "none", or "auto"; or several, as in "receipts:0.5,medical:0.5"."""

    router: RouterName = "cascade"
    """What chooses the adapter when it is "auto": "cascade", "heads", "prototypes" or "model" (docs/routing.md)."""

    adapter_memory: int = Field(default=256, ge=1, le=1_000_000)
    """Megabytes that adapters may take in memory; one of rank 16 takes about 6."""

    bundled_adapters: bool = True
    """Put the adapters that come with the app in their place at the first start, and newer ones later."""

    mode: Mode = "auto"
    """What matters most: "auto", "fast", "quality" or "eco"."""

    worth: dict[Mode, Worth] = Field(default_factory=dict, validate_default=True)
    """What seconds, joules and money are worth in each mode, in probability of a right answer, as in [worth.auto]
    second = 0.04, joule = 0.0001, money = 5.0; what is not given keeps its default."""

    eco_image_size: int = Field(default=640, ge=64, le=8192)
    """In eco, the longest side, in pixels, of images that are read or sent."""

    eco_max_tokens: int = Field(default=160, ge=1, le=1_000_000)
    """In eco, the longest answer, in tokens, when max_tokens allows more."""

    watts_busy: float = Field(default=6.0, ge=0.0, le=1000.0, allow_inf_nan=False)
    """What a processor core at work takes, for estimates of energy where it cannot be measured."""

    watts_waiting: float = Field(default=2.0, ge=0.0, le=1000.0, allow_inf_nan=False)
    """What the rest of the machine takes while an answer is awaited, for the same estimates."""

    offline: bool = False
    """Never use the network; what is not on this machine yet is then missing."""

    threads: int | None = Field(default=None, ge=1, le=256)
    """Threads that compute; by default one for each physical core."""

    context_length: int | None = Field(default=None, ge=64)
    """Tokens that the model keeps in view; by default as many as it was made for."""

    max_tokens: int = Field(default=512, ge=1, le=1_000_000)
    """The longest answer, in tokens."""

    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    """0 always takes the likeliest token; higher varies more."""

    top_k: int = Field(default=0, ge=0, le=1_000_000)
    """Sample among the k likeliest tokens; 0 is off."""

    top_p: float = Field(default=1.0, ge=1e-6, le=1.0)
    """Sample among the likeliest tokens that together have this probability; 1 is off."""

    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Sample among tokens with at least this share of the likeliest one's probability; 0 is off."""

    repetition_penalty: float | None = Field(default=None, ge=0.1, le=10.0)
    """Above 1, what the answer has said already becomes less likely; 1 is off. By default 1.1 for the model
    alone, which repeats itself otherwise, and off under an adapter, which copies what it was asked for."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Makes sampling repeatable."""

    system: str | None = None
    """The system prompt of new chats."""

    cloud_url: str | None = None
    """Where the cloud model is: any OpenAI-compatible address, as in "https://api.example.com/v1"."""

    cloud_model: str | None = None
    """The name that the endpoint knows its model by."""

    cloud_correct: float = Field(default=0.9, ge=0.0, le=1.0)
    """How likely the cloud's answers are right: what a local answer is weighed against."""

    cloud_joules: float = Field(default=900.0, ge=0.0, allow_inf_nan=False)
    """What an answer is taken to use in the cloud and on the way, in joules: a guess, since no endpoint tells."""

    cloud_connect_seconds: float = Field(default=5.0, gt=0.0, le=3600.0)
    """The longest that connecting to the cloud may take."""

    cloud_first_seconds: float = Field(default=45.0, gt=0.0, le=3600.0)
    """The longest that its answer may take to begin."""

    cloud_stall_seconds: float = Field(default=20.0, gt=0.0, le=3600.0)
    """The longest pause in the middle of its answer."""

    cloud_total_seconds: float = Field(default=180.0, gt=0.0, le=36_000.0)
    """The longest that its whole answer may take, each try on its own."""

    cloud_retries: int = Field(default=2, ge=0, le=10)
    """How often a question is sent again when the endpoint could not take it, before a word had come."""

    cloud_image_size: int = Field(default=1024, ge=64, le=8192)
    """The longest side, in pixels, of images that are sent."""

    cloud_prices: dict[str, Price] = Field(default_factory=dict)
    """Prices by model, for a million tokens, as in [cloud_prices."big-model"] input = 0.5, output = 1.5."""

    cloud_daily_limit: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """What the cloud may cost in a day, in the currency of the prices."""

    theme: str = "textual-dark"
    """The colours of the chat: a Textual theme."""

    keys: dict[str, str] = Field(default_factory=dict)
    """The chat's key bindings: binding id (the help screen lists them) to keys, as in "f2,ctrl+k"."""

    def sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
            max_tokens=self.max_tokens,
        )

    def weights(self) -> dict[Mode, Weights]:
        return {mode: Weights(**worth.model_dump()) for mode, worth in self.worth.items()}

    def eco(self) -> Budgets:
        return Budgets(image_side=self.eco_image_size, tokens=self.eco_max_tokens)

    @field_validator("worth", mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """What was given, over the defaults of every mode; what is not a table of tables is left to pydantic."""
        if not isinstance(given, dict):
            return given
        own = {mode: asdict(weights) for mode, weights in DEFAULT_WEIGHTS.items()}
        return {
            mode: {**own.get(mode, {}), **given.get(mode, {})}
            if isinstance(given.get(mode, {}), dict)
            else given[mode]
            for mode in [*own, *(mode for mode in given if mode not in own)]
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # there are three sources, and `load` passes the file in
        assert isinstance(init_settings, InitSettingsSource)
        arguments = dict(init_settings.init_kwargs)
        from_file = arguments.pop(FROM_FILE, {})
        return (
            InitSettingsSource(settings_cls, arguments),
            env_settings,
            InitSettingsSource(settings_cls, from_file),
        )


def load(file: Path, **command_line: Any) -> Settings:
    """Settings for this run. A missing file is an empty one; a command-line value of None was not given.

    Raises UserError, naming the place, for a file that cannot be read or is not TOML, for unknown keys and
    for values that do not fit.
    """
    given = {key: value for key, value in command_line.items() if value is not None}
    try:
        from_file = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        from_file = {}
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}.") from error
    try:
        sources: dict[str, Any] = {**given, FROM_FILE: from_file}
        return Settings(**sources)
    except ValidationError as error:
        raise UserError(_explain(error, file, from_file, given)) from error
    except SettingsError as error:  # a table, and the variable does not hold JSON
        raise UserError(f"A setting in the environment is not JSON: {error}.") from error


def for_this_process(**values: Any) -> Settings:
    """The user's settings with these values over them; None was not given.

    When they say offline, the process refuses every connection that leaves this machine from here on.
    Raises UserError as `load` does.
    """
    settings = load(paths.config_file(), **values)
    if settings.offline:
        from edge_app.system.offline import switch

        switch.turn_on()
    return settings


def _explain(error: ValidationError, file: Path, from_file: dict[str, Any], given: dict[str, Any]) -> str:
    """One sentence for the first thing that is wrong, naming where the value came from."""
    problem = error.errors()[0]
    key = str(problem["loc"][0])
    variable = ENVIRONMENT_PREFIX + key.upper()
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(Settings.model_fields))
        return f"Unknown setting {key!r} in {file} (known: {known})."
    if key in given:
        place = f"--{key.replace('_', '-')}"
    elif any(name.upper() == variable and value for name, value in os.environ.items()):
        place = f"the environment variable {variable}"
    elif key in from_file:
        place = f"{key!r} in {file}"
    else:
        place = key
    return f"The value of {place} does not fit: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def change_settings_file(file: Path, values: Mapping[str, str | None]) -> None:
    """Top-level keys get these values; None takes a key out. A missing file is an empty one.

    Raises UserError when the file is no TOML, or holds one of the keys in a way that is not one line: then the
    user has to do it. The new file replaces the old one whole or not at all.
    """
    try:
        text = file.read_text(encoding="utf-8")
        wanted = tomllib.loads(text)
    except FileNotFoundError:
        text, wanted = "", {}
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid TOML: {error}.") from error
    for key, value in values.items():
        text = _with(text, key, value)
        wanted.pop(key, None)
        if value is not None:
            wanted[key] = value
    if _parsed(text) != wanted:
        raise UserError(
            f"{file} holds {' or '.join(values)} in a way that cannot be changed here; edit it yourself."
        )
    paths.ensure(file.parent)
    write_whole(file, text.encode())


def _with(text: str, key: str, value: str | None) -> str:
    """The line of the key changed, or put before everything else: there no table has begun."""
    line = "" if value is None else tomli_w.dumps({key: value})
    found = re.search(rf"(?m)^[ \t]*{re.escape(key)}[ \t]*=.*(?:\n|\Z)", text)
    if found is None:
        return line + text
    return text[: found.start()] + line + text[found.end() :]


def _parsed(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
