"""An answer within a grammar is always valid, whichever tokens the model prefers and whatever the limit is."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.core.errors import UserError
from models.core.types import Sampling, no_progress
from models.formats.gguf.gguf_file import GgufFile
from models.hub.store import ModelFiles
from models.language.constraint import Constraint, Vocabulary
from models.language.generation import ActiveAdapter, Generation, LanguageModel
from models.language.json_schema import grammar_of
from models.language.prefix_cache import PrefixCache
from models.language.prompt import Prompt
from models.language.tokenizer import Tokenizer
from tests.models.language.test_tokenizer import small

Vocabularies = list[tuple[Tokenizer, Vocabulary]]

PADDING = 7
"""Rows of the head beyond the tokens, as models have them."""

FEW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory, model_files: ModelFiles) -> Vocabularies:
    """One of bytes with three merges, and the default model's."""
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    real = Tokenizer.from_gguf(GgufFile(model_files.files["language_model"]))
    return [(each, Vocabulary(each, len(each) + PADDING)) for each in (small(folder), real)]


def limited(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "name", "total amount", 'quo"te', "ü"])
    objects = st.dictionaries(names, part, max_size=3).flatmap(
        lambda properties: st.builds(
            lambda required, more: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                "additionalProperties": more,
            },
            st.sets(st.sampled_from(sorted(properties))) if properties else st.just(set()),
            st.booleans(),
        )
    )
    arrays = st.builds(
        lambda items, least, more: {
            "type": "array",
            "items": items,
            "minItems": least,
            "maxItems": least + more,
        },
        part,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    return objects | arrays | st.lists(part, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts})


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": ["string", "null"]},
            {"type": "string", "minLength": 2, "maxLength": 5},
            {"type": "string", "pattern": "^(ab|c)*d$"},
            {"type": "string", "format": "date"},
            {"type": "integer", "minimum": 10, "maximum": 2000},
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "boolean"},
            {"const": {"k": [1, "x"]}},
            {"enum": ["one", "two", 3, None]},
        ]
    ),
    limited,
    max_leaves=6,
)


def answer(tokenizer: Tokenizer, constraint: Constraint, limit: int, chance: random.Random) -> str:
    """The text of tokens that are drawn from those that are allowed."""
    taken: list[int] = []
    while not constraint.is_complete:
        allowed = constraint.allowed()
        token = chance.choice(np.flatnonzero(allowed).tolist())
        assert constraint.permits(token)
        assert not any(map(constraint.permits, set(tokenizer.special.values()) - tokenizer.end_ids))
        assert not any(map(constraint.permits, range(len(allowed) - PADDING, len(allowed))))
        token = token if token in tokenizer.end_ids else constraint.accept(token)
        if token in tokenizer.end_ids:
            break
        taken.append(token)
        assert len(taken) <= limit
    return tokenizer.decode(taken)


@FEW
@given(SCHEMAS, st.integers(0, 40), st.integers(0, 2**31))
def test_every_answer_fits_its_schema_within_every_limit(
    vocabularies: Vocabularies, schema: dict[str, Any], spare: int, seed: int
) -> None:
    grammar = grammar_of(schema)
    for tokenizer, vocabulary in vocabularies:
        limit = Constraint(vocabulary, grammar, 10_000).shortest + spare
        text = answer(tokenizer, Constraint(vocabulary, grammar, limit), limit, random.Random(seed))
        jsonschema.validate(json.loads(text), schema, format_checker=jsonschema.FormatChecker(["date"]))


def test_a_limit_below_the_shortest_answer_is_refused(
    vocabularies: Vocabularies,
) -> None:
    _, vocabulary = vocabularies[1]
    grammar = grammar_of({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    shortest = Constraint(vocabulary, grammar, 100).shortest
    Constraint(vocabulary, grammar, shortest)
    with pytest.raises(UserError, match=f"takes {shortest} tokens, and at most {shortest - 1}"):
        Constraint(vocabulary, grammar, shortest - 1)


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"properties": {"n": {"$ref": "#/$defs/a"}}, "required": ["n"], "type": "object"}},
        },
        {"type": "array", "items": {"type": "null"}, "minItems": 9000},
    ],
)
def test_a_schema_without_a_short_answer_is_refused(
    vocabularies: Vocabularies, schema: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="tokens fits the schema"):
        Constraint(vocabularies[1][1], grammar_of(schema), 10_000)


def test_a_schema_that_contains_itself_is_followed(vocabularies: Vocabularies) -> None:
    tree = {"type": "object", "properties": {"of": {"$ref": "#"}, "v": {"type": "null"}}, "required": ["v"]}
    tree["additionalProperties"] = False
    for tokenizer, vocabulary in vocabularies:
        constraint = Constraint(vocabulary, grammar_of(tree), 60)
        jsonschema.validate(json.loads(answer(tokenizer, constraint, 60, random.Random(3))), tree)


class Wild:
    """A runtime whose logits are noise. Rows beyond the tokens and control tokens have the largest."""

    context_length, max_rows = 96, 16

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.shape = SimpleNamespace(vocab=len(tokenizer) + PADDING)
        self._noise = np.random.default_rng(1)
        self._control = sorted(tokenizer.special.values())

    def prefill(self, *_: object) -> np.ndarray:
        logits = self._noise.normal(size=self.shape.vocab).astype(np.float32)
        logits[-PADDING:] = 50
        logits[self._control] = 40
        return logits

    def decode(self, *_: object) -> np.ndarray:
        return self.prefill()


def generation(tokenizer: Tokenizer, grammar: str, prompt: int, **sampling: Any) -> Generation:
    model = LanguageModel(Wild(tokenizer), tokenizer, PrefixCache())  # type: ignore[arg-type]
    return Generation(
        model,
        Prompt([5] * prompt, ()),
        Sampling(**sampling),
        ActiveAdapter(None, None),
        grammar=grammar,
        dropped_turns=0,
        cancel=threading.Event(),
        progress=no_progress,
    )


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.5, "seed": 3, "top_p": 0.9}, {"repetition_penalty": 1.3}]
)
@pytest.mark.parametrize(("prompt", "most"), [(4, 512), (4, 20), (70, 512)])
def test_a_generated_answer_is_valid_where_the_limit_or_the_context_ends(
    vocabularies: Vocabularies, sampling: dict[str, Any], prompt: int, most: int
) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "total": {"type": ["number", "null"]}},
        "required": ["name", "total"],
        "additionalProperties": False,
    }
    tokenizer = vocabularies[1][0]
    made = generation(tokenizer, grammar_of(schema), prompt, max_tokens=most, **sampling)
    tokens = list(made)
    jsonschema.validate(json.loads(made.text), schema)
    assert "".join(token.text for token in tokens) == made.text
    assert made.completion_tokens == len(tokens) <= min(most, 96 - prompt + 1)
    assert made.stop_reason in ("stop", "length")
    assert all(np.isfinite(token.logprob) for token in tokens)


def test_a_stop_sequence_does_not_cut_an_answer_within_a_grammar(
    vocabularies: Vocabularies,
) -> None:
    made = generation(vocabularies[1][0], grammar_of({"const": {"a": 1}}), 4, stop=('"',))
    assert "".join(token.text for token in made) == '{"a": 1}'
    assert made.stop_reason == "stop"


def test_a_grammar_without_room_for_it_is_refused_before_the_prompt_is_read(
    vocabularies: Vocabularies,
) -> None:
    made = generation(vocabularies[1][0], grammar_of({"const": "a long text " * 20}), 90)
    with pytest.raises(UserError, match="allow more or shorten"):
        next(made)
    assert made.prefill_ms == 0.0
