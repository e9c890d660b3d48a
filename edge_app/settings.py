"""The settings: one typed object. settings_file.py changes settings.toml.

Values come from the command line, else from the environment, else from settings.toml, else from the defaults. Each
field is a key of settings.toml and, in capitals after EDGE_APP_, an environment variable.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from edge_app.images.image_detail import ImageDetail
from edge_app.system import paths
from models.core.errors import UserError
from models.core.types import Sampling
from router.place_policy import DEFAULT_WEIGHTS, Budgets, Weights
from router.types import Mode, RouterName

ENVIRONMENT_PREFIX = "EDGE_APP_"
DEFAULT_MODEL = "edge-vlm-135m"  # the embedded default, models.hub.catalog.Catalog.default
FROM_FILE = "_from_file"  # argument by which `load` passes the file's values; no setting begins with "_"


class Price(BaseModel):
    """Price of a model for a million tokens of input and of output, in the currency of your bill."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    input: float = Field(ge=0.0, le=1e6, allow_inf_nan=False)
    output: float = Field(ge=0.0, le=1e6, allow_inf_nan=False)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of a request."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class Worth(BaseModel):
    """The worth of a second, a joule and a unit of money, in probability of a right answer (see place_policy)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    second: float = Field(ge=0.0, allow_inf_nan=False)
    joule: float = Field(ge=0.0, allow_inf_nan=False)
    money: float = Field(ge=0.0, allow_inf_nan=False)


class Settings(BaseSettings):
    """All settings. Create it with `load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    model: str = DEFAULT_MODEL
    """The model that answers where no adapter does: a name from `edge-app models list`."""

    model_memory: int | None = Field(default=None, ge=100, le=10_000_000)
    """Megabytes of memory for models; by default half of the machine's. The one used longest ago is closed first."""

    adapter: str = "auto"
    """The adapter: a name, "none", "auto", or a sum such as "receipts:0.5,medical:0.5"."""

    router: RouterName = "heads"
    """The router that chooses the adapter for "auto": "heads", "prototypes" or "model" (docs/routing.md)."""

    adapter_memory: int = Field(default=256, ge=1, le=1_000_000)
    """Megabytes of memory for adapters; an adapter of rank 16 takes about 6."""

    bundled_adapters: bool = True
    """Install the adapters that come with the app at the first start, and newer ones later."""

    mode: Mode = "auto"
    """The aim of the routing: "auto", "fast", "quality" or "eco"."""

    worth: dict[Mode, Worth] = Field(default_factory=dict, validate_default=True)
    """The worth of seconds, joules and money in each mode, in probability of a right answer, as in [worth.auto]
    second = 0.04, joule = 0.0001, money = 5.0. A value that is not given keeps its default."""

    image_detail: ImageDetail = "auto"
    """How closely a model that cuts images into tiles looks at them: "low" in one tile, "high" in many, "auto" as the
    question and the image need it."""

    eco_image_size: int = Field(default=640, ge=64, le=8192)
    """Longest side, in pixels, of images that are read or sent in the mode eco."""

    eco_max_tokens: int = Field(default=160, ge=1, le=1_000_000)
    """Longest answer, in tokens, in the mode eco; max_tokens holds as well."""

    watts_busy: float = Field(default=6.0, ge=0.0, le=1000.0, allow_inf_nan=False)
    """Watts of a busy processor core, for estimates of energy where it cannot be measured."""

    watts_waiting: float = Field(default=2.0, ge=0.0, le=1000.0, allow_inf_nan=False)
    """Watts of the rest of the machine while it waits for an answer, for the same estimates."""

    offline: bool = False
    """Never use the network. Models and adapters that are not on this machine are then missing."""

    threads: int | None = Field(default=None, ge=1, le=256)
    """Number of compute threads; by default one for each physical core."""

    context_length: int | None = Field(default=None, ge=64)
    """Tokens in the model's context; by default as many as it was trained for."""

    max_tokens: int = Field(default=512, ge=1, le=1_000_000)
    """Longest answer, in tokens."""

    temperature: float = Field(default=0.0, ge=0.0, le=5.0, allow_inf_nan=False)
    """Sampling temperature. 0 always takes the most likely token; higher values vary more."""

    top_k: int = Field(default=0, ge=0, le=1_000_000)
    """Sample among the k most likely tokens; 0 is off."""

    top_p: float = Field(default=1.0, ge=1e-6, le=1.0)
    """Sample among the most likely tokens of this total probability; 1 is off."""

    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    """Sample among tokens with at least this share of the highest probability; 0 is off."""

    repetition_penalty: float | None = Field(default=None, ge=0.1, le=10.0)
    """Above 1, tokens that are in the answer already become less likely; 1 is off. By default 1.1 for the model
    alone, which repeats itself otherwise, and off with an adapter, which may have to copy text."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Makes sampling repeatable."""

    system: str | None = None
    """The system prompt of new chats."""

    cloud_url: str | None = None
    """Address of the cloud model, OpenAI-compatible, such as "https://api.example.com/v1"."""

    cloud_model: str | None = None
    """Name of the model at the endpoint."""

    cloud_correct: float = Field(default=0.9, ge=0.0, le=1.0)
    """Expected probability that an answer of the cloud is right, compared with that of the local answer."""

    cloud_joules: float = Field(default=900.0, ge=0.0, allow_inf_nan=False)
    """Assumed energy of an answer of the cloud, in joules, network included. Endpoints do not report it."""

    cloud_connect_seconds: float = Field(default=5.0, gt=0.0, le=3600.0)
    """Longest time to connect to the cloud."""

    cloud_first_seconds: float = Field(default=45.0, gt=0.0, le=3600.0)
    """Longest time until the answer of the cloud begins."""

    cloud_stall_seconds: float = Field(default=20.0, gt=0.0, le=3600.0)
    """Longest pause within the answer."""

    cloud_total_seconds: float = Field(default=180.0, gt=0.0, le=36_000.0)
    """Longest time for the whole answer, for each attempt."""

    cloud_retries: int = Field(default=2, ge=0, le=10)
    """How often a request that failed before the first token is sent again."""

    cloud_image_size: int = Field(default=1024, ge=64, le=8192)
    """Longest side, in pixels, of images that are sent."""

    cloud_prices: dict[str, Price] = Field(default_factory=dict)
    """Prices by model, for a million tokens, as in [cloud_prices."big-model"] input = 0.5, output = 1.5."""

    cloud_daily_limit: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """Most that the cloud may cost in a day, in the currency of the prices."""

    theme: str = "textual-dark"
    """Theme of the chat: the name of a Textual theme."""

    keys: dict[str, str] = Field(default_factory=dict)
    """Keys of the chat, such as "f2,ctrl+k", by binding id. The help screen lists the ids."""

    def sampling(self) -> Sampling:
        """The sampling parameters of an answer."""
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
        """The worth of time, energy and money by mode, as the place policy takes it."""
        return {mode: Weights(**worth.model_dump()) for mode, worth in self.worth.items()}

    def eco(self) -> Budgets:
        """The limits of the mode eco."""
        return Budgets(image_side=self.eco_image_size, tokens=self.eco_max_tokens)

    @field_validator("router", mode="before")
    @classmethod
    def _renamed_router(cls, name: object) -> object:
        """ "cascade" of earlier versions was the heads with a detector of plain chat, which the heads now contain."""
        return "heads" if name == "cascade" else name

    @field_validator("worth", mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Completes `worth` by the defaults of each mode. Values of other types are left for pydantic to refuse."""
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
        del dotenv_settings, file_secret_settings  # `load` reads the file itself
        assert isinstance(init_settings, InitSettingsSource)
        arguments = dict(init_settings.init_kwargs)
        from_file = arguments.pop(FROM_FILE, {})
        return (
            InitSettingsSource(settings_cls, arguments),
            env_settings,
            InitSettingsSource(settings_cls, from_file),
        )


def load(file: Path, **command_line: Any) -> Settings:
    """The settings, from the file, the environment and the command line.

    file: settings.toml; a missing file counts as empty. command_line: values by key; None means not given.
    Raises UserError for a file that cannot be read or is not TOML, for unknown keys, and for invalid values. The
    message says where the value came from.
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
    except SettingsError as error:  # the variable of a table is not JSON
        raise UserError(f"A setting in the environment is not JSON: {error}.") from error


def for_this_process(**values: Any) -> Settings:
    """The user's settings, overridden by these values. None means not given.

    When the result has `offline`, the process is offline from now on. Raises UserError as `load` does.
    """
    settings = load(paths.config_file(), **values)
    if settings.offline:
        from edge_app.system.offline import switch

        switch.turn_on()
    return settings


def _explain(error: ValidationError, file: Path, from_file: dict[str, Any], given: dict[str, Any]) -> str:
    """A sentence about the first error, with the place that the value came from."""
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
