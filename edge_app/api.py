"""`load` and `ask`: the assistant from Python, with the settings, models and adapters of `edge-app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edge_app import settings as settings_module
from edge_app.answer import Answer
from edge_app.assistant import Assistant
from edge_app.events import Failed, Progress

if TYPE_CHECKING:
    from edge_app.events import Picture
    from edge_app.schemas.answer_schema import AnswerSchema
    from edge_app.storage.sessions import SessionStore
    from router.types import Mode


def load(
    sessions: SessionStore | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Assistant:
    """An assistant with its model in memory. Use it as a context manager, or call its `close`.

    sessions: where turns are saved; None saves nothing, and every turn stands alone. The caller closes it.
    on_progress: called with each Progress event. The first call on a machine downloads the model and compiles it.
    settings: keys of settings.toml with their values, as in model="edge-vlm-135m" or threads=2. They win over
        EDGE_APP_* environment variables, which win over settings.toml.

    offline=True applies to the whole process from this call on, whichever library opens a connection.

    Raises UserError when a setting does not fit, when the model is missing and the network is off, or when the
    disk refuses. Raises TypeError for a name that is not a setting.
    """
    unknown = sorted(settings.keys() - settings_module.Settings.model_fields.keys())
    if unknown:
        known = ", ".join(sorted(settings_module.Settings.model_fields))
        raise TypeError(f"load() got {unknown[0]!r}, which is not a setting (known: {known})")
    assistant = Assistant(settings_module.for_this_process(**settings), sessions)
    try:
        for event in assistant.prepare():
            if isinstance(event, Progress) and on_progress is not None:
                on_progress(event)
            if isinstance(event, Failed):
                raise event.as_error()
    except BaseException:
        assistant.close()
        raise
    return assistant


def ask(
    question: str,
    image: Picture | str | None = None,
    *,
    adapter: str | None = None,
    mode: Mode | None = None,
    allow_cloud: bool = False,
    schema: AnswerSchema | Mapping[str, Any] | type | None = None,
    **settings: Any,
) -> Answer:
    """One question, one answer. Loads the model for this question alone; `load` keeps it for several.

    image: a path, an image file's bytes, or a decoded models.core.types.Image.
    adapter: an installed adapter's name, "none", "auto", or a sum such as "receipts:0.5,medical:0.5".
    mode: "auto", "fast", "quality" or "eco". None takes the setting, for adapter as well.
    allow_cloud: the question and its images may be sent to the configured endpoint.
    schema: the answer is JSON that fits it: a JSON Schema as a dict, or a pydantic model's class. See Turn.
    settings: as in `load`.

    Raises UserError when there is no answer, and what `load` raises.
    """
    with load(**settings) as assistant:
        return assistant.ask(
            question, image, adapter=adapter, mode=mode, allow_cloud=allow_cloud, schema=schema
        )
