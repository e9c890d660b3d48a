"""Whether a question asks for what an adapter, or the plain model, was made to answer.

An adapter declares its tasks by the example questions in its manifest. The plain model's tasks about images are in its
configuration. A question that is none of them is out of scope, whatever the image looks like.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from adapters.spec import parse_spec
from adapters.store.manifest import MANIFEST_FILE, parse_manifest
from models.core.cache import TASKS
from models.core.errors import UserError
from models.core.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.question_encoder.scope import QuestionVectors, ScopeModel, Tasks, TaskVectors

MOST_EXAMPLES = 16
"""Examples of one task that are encoded."""

MOST_QUESTIONS = 32
"""Questions whose vectors are kept, since `edge-app extract` asks the same ones of every page. Encoding one takes 10 ms
of a core."""

MOST_CHARACTERS = 1000
"""How much of a question is read. The encoder reads 64 tokens at most."""

_FOLLOWS = re.compile(
    r"(and|n|but|so|why|y|how come|how do you know|how can you|are you|r u|you sure|u sure|is that|was that|really|rly|"
    r"what about|how about|now|next|same|ok(ay)?( and| n| now)?|no it|explain)\b",
    re.IGNORECASE,
)
MOST_WORDS = 8
"""Words of a question that can rely on the turn before. Longer ones are complete by themselves."""

BUNDLED = Path(__file__).with_name("bundled") / TASKS
"""Encoded examples of the adapters and the model that come with the app, made by `python -m router.scope`. Those of
other adapters are kept in the cache, because encoding 50 of them takes half a second of one core."""

ADJUSTMENTS = BUNDLED.with_name("scope_adjustments.safetensors")
"""How the log-odds of BUNDLED's tasks are adjusted, by adapter, made by `python -m
models.training.scope.adjustments`."""

OF_MODEL = "general"
"""The name under which ADJUSTMENTS has the default model's tasks about images."""

WITHOUT_IMAGE = "general without an image"
"""The name of a model's tasks without an image, which nothing was adjusted to."""

UNKNOWN_BORDER = 1.5
"""The border of tasks that are not in BUNDLED. The encoder takes more of what is not asked of kinds of images that it
has not learned; chosen on kinds that were left out of its training (docs/routing.md)."""


@cache
def bundled_scope_model() -> ScopeModel:
    """The model that comes with the app, loaded once (about 0.1 s)."""
    from models.question_encoder.scope import ScopeModel

    return ScopeModel.load()


@cache
def bundled_adjustments() -> dict[str, tuple[NDArray[np.float32], float]]:
    """The weight and the border in ADJUSTMENTS by name."""
    from safetensors.numpy import load_file

    tensors = load_file(ADJUSTMENTS)
    names = {name.rpartition(".")[0] for name in tensors}
    return {name: (tensors[f"{name}.weight"], float(tensors[f"{name}.border"])) for name in names}


class AdapterScope(Protocol):
    """The part of TaskScope that routers use."""

    def of_adapter(self, question: str, adapter: str) -> float | None: ...


class QuestionScope(AdapterScope, Protocol):
    """The methods of TaskScope."""

    def of_tasks(self, question: str, tasks: Tasks, who: str = OF_MODEL) -> float | None: ...


class TaskScope:
    """Log-odds that a question is in the scope of who answers. Used from one thread.

    directory: the folder of the installed adapters. cache_dir: where encoded examples are kept; None keeps them in
    memory alone. load: loads the model at the first use.
    """

    def __init__(
        self,
        directory: Path,
        cache_dir: Path | None,
        load: Callable[[], ScopeModel] = bundled_scope_model,
    ) -> None:
        self._directory = directory
        self._folder = cache_dir / TASKS if cache_dir is not None else None
        self._load = load
        self._of_adapters: dict[str, tuple[object, TaskVectors | None]] = {}
        self._of_tasks: dict[str, TaskVectors] = {}
        self._questions: OrderedDict[str, QuestionVectors] = OrderedDict()  # used longest ago first

    def of_adapter(self, question: str, adapter: str) -> float | None:
        """The log-odds for an installed adapter, or for the best part of a sum; None when it declares no examples."""
        names = parse_spec(adapter).names
        found = [
            self._logit(question, vectors)
            for vectors in map(self._adapter_vectors, names)
            if vectors is not None
        ]
        return max(found, default=None)

    def of_tasks(self, question: str, tasks: Tasks, who: str = OF_MODEL) -> float | None:
        """The log-odds for tasks that are given by their examples; None without examples."""
        if not any(tasks.values()):
            return None
        key = json.dumps({name: list(examples) for name, examples in tasks.items()})
        if key not in self._of_tasks:
            self._of_tasks[key] = self._encoded(tasks, who)
        return self._logit(question, self._of_tasks[key])

    def _logit(self, question: str, vectors: TaskVectors) -> float:
        model, text = self._load(), question.strip()[:MOST_CHARACTERS]
        if text not in self._questions:
            self._questions[text] = model.vector(text)
        self._questions.move_to_end(text)
        while len(self._questions) > MOST_QUESTIONS:
            self._questions.popitem(last=False)
        return model.logit(self._questions[text], vectors)

    def _adapter_vectors(self, name: str) -> TaskVectors | None:
        path = self._directory / name / MANIFEST_FILE
        try:
            status = path.stat()
            stamp = status.st_ino, status.st_size, status.st_mtime_ns
            known = self._of_adapters.get(name)
            if known is None or known[0] != stamp:
                tasks = declared_tasks(path)
                known = stamp, self._encoded(tasks, name) if tasks else None
                self._of_adapters[name] = known
            return known[1]
        except (OSError, UserError):  # it is being removed, or its manifest is damaged
            return None

    def _encoded(self, tasks: Tasks, who: str) -> TaskVectors:
        """From the cache on disk, else encoded and kept there. who: an adapter, OF_MODEL or WITHOUT_IMAGE."""
        import numpy as np

        from models.question_encoder.scope import TaskVectors

        model = self._load()
        name = _file_name(model.identity, tasks)
        counts = tuple(len(examples) for examples in tasks.values() if examples)
        for folder in (BUNDLED, self._folder):
            with suppress(OSError, ValueError):
                if folder is not None:
                    examples = np.load(folder / name, allow_pickle=False)
                    if examples.dtype == np.float16 and examples.shape[:1] == (sum(counts),):
                        known = bundled_adjustments() if folder == BUNDLED else {}
                        adjustment = known.get(who, (None, UNKNOWN_BORDER))
                        return TaskVectors(examples.astype(np.float32), counts, *adjustment)
        vectors = replace(model.encode(tasks), border=UNKNOWN_BORDER)
        if self._folder is not None:
            with suppress(OSError, UserError):  # a cache that cannot be written costs time alone
                _write(self._folder / name, vectors)
        return vectors


def _file_name(identity: str, tasks: Tasks) -> str:
    """Of the encoded examples. identity: of the model that encodes them."""
    text = json.dumps([identity, {name: list(examples) for name, examples in tasks.items()}])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"


def _write(file: Path, vectors: TaskVectors) -> None:
    import numpy as np

    file.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.save(buffer, vectors.examples.astype(np.float16))
    write_whole(file, buffer.getvalue())


def is_follow_up(question: str) -> bool:
    """Whether a question is short and begins like one that relies on the turn before ("why?", "and its colour?")."""
    text = question.strip()
    return len(text.split()) <= MOST_WORDS and _FOLLOWS.match(text) is not None


def declared_tasks(path: Path) -> dict[str, list[str]]:
    """The example questions of a manifest by task. Raises UserError, and OSError when the file cannot be read."""
    tasks: dict[str, list[str]] = {}
    for example in parse_manifest(path.read_bytes(), path).examples:
        own = tasks.setdefault(example.task, [])
        if example.question not in own and len(own) < MOST_EXAMPLES:
            own.append(example.question)
    return tasks


def bundled_tasks() -> list[Tasks]:
    """The tasks of the default model, and those of the adapters that come with the app."""
    from adapters.store.adapter_store import BUNDLED as ADAPTERS
    from models.hub.catalog_file import read_catalog
    from models.model_config import read_model_config

    catalog = read_catalog()
    default = read_model_config(catalog.entry(catalog.default).bundled)
    return [
        default.image_tasks,
        default.text_tasks,
        *map(declared_tasks, sorted(ADAPTERS.glob(f"*/{MANIFEST_FILE}"))),
    ]


def main() -> None:
    """Encodes the examples that come with the app, anew after a change of the encoder or of the examples."""
    model = bundled_scope_model()
    for file in BUNDLED.glob("*.npy"):
        file.unlink()
    for tasks in bundled_tasks():
        _write(BUNDLED / _file_name(model.identity, tasks), model.encode(tasks))


if __name__ == "__main__":
    main()
