"""The question encoder's last layers and its scope head, as torch modules that are trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from models.question_encoder.encoder import HIDDEN, LAYERS, MOST_TOKENS
from models.question_encoder.scope import ALONE, DIFFERENCE, PRODUCT, SHARPNESS

TRAINED = 3
"""The last layers that are trained."""

HEAD_WIDTH = 96


class ScopeNetwork(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The network of models.question_encoder.scope.ScopeHead."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * HIDDEN, HEAD_WIDTH)
        self.task = nn.Linear(HEAD_WIDTH, 1)
        self.question = nn.Linear(HIDDEN, 1, bias=False)
        self.likeness = nn.Parameter(torch.tensor([6.0, 3.0, -4.0]))

    def forward(self, questions: torch.Tensor, tasks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits [n]. questions: unit vectors [n, HIDDEN]. tasks: for each task its examples [k, HIDDEN]."""
        logits = []
        for examples in tasks:
            mean = functional.normalize(examples.mean(0), dim=-1).expand_as(questions)
            joined = torch.cat(
                [questions * mean * PRODUCT, (questions - mean).abs() * DIFFERENCE, questions * ALONE], -1
            )
            read = self.task(functional.gelu(self.hidden(joined), approximate="tanh")).squeeze(-1)
            near = self.likeness[0] * (questions @ examples.T).amax(-1)
            logits.append(read + near + self.likeness[1] * (questions * mean).sum(-1))
        best = torch.logsumexp(torch.stack(logits, -1) * SHARPNESS, -1) / SHARPNESS
        return best + self.question(questions * ALONE).squeeze(-1) + self.likeness[2]


class Trainee(nn.Module):  # type: ignore[misc]  # torch has no types here
    """The last layers and the head. `lower` has the output of the layers below for every known text."""

    def __init__(self, base: Path, texts: Sequence[str]) -> None:
        from transformers import BertModel

        super().__init__()
        self._tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        model = BertModel.from_pretrained(
            base, add_pooling_layer=False, attn_implementation="eager", hidden_act="gelu_new"
        )
        model.eval()
        self.lower = self._lower(model, texts)
        self.layers = nn.ModuleList(model.encoder.layer[LAYERS - TRAINED :])
        self.head = ScopeNetwork()

    def _lower(self, model: nn.Module, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """The output of the lower layers, float16 [tokens, HIDDEN], by text."""
        ids = {text: self._tokenizer.encode(text).ids for text in texts}
        order = sorted(ids, key=lambda text: len(ids[text]))
        found: dict[str, torch.Tensor] = {}
        for start in range(0, len(order), 256):
            batch = order[start : start + 256]
            longest = max(len(ids[text]) for text in batch)
            padded = torch.tensor([ids[text] + [0] * (longest - len(ids[text])) for text in batch])
            mask = torch.tensor([[1] * len(ids[t]) + [0] * (longest - len(ids[t])) for t in batch])
            with torch.no_grad():
                output = model(padded, attention_mask=mask, output_hidden_states=True)
            hidden = output.hidden_states[LAYERS - TRAINED]
            for text, rows in zip(batch, hidden, strict=True):
                found[text] = rows[: len(ids[text])].half()
        return found

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors [texts, HIDDEN]."""
        order = sorted(range(len(texts)), key=lambda number: len(self.lower[texts[number]]))
        made = torch.cat(
            [
                self._batch([texts[number] for number in order[at : at + 64]])
                for at in range(0, len(order), 64)
            ]
        )
        place = torch.empty(len(order), dtype=torch.long)
        place[torch.tensor(order)] = torch.arange(len(order))
        return made[place]

    def _batch(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [self.lower[text].float() for text in texts]
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [texts, tokens, HIDDEN]
        present = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
        mask = ((1 - present) * -1e4)[:, None, None]
        for layer in self.layers:
            output = layer(hidden, mask)
            hidden = output[0] if isinstance(output, tuple) else output
        present = present[..., None]
        return functional.normalize((hidden * present).sum(1) / present.sum(1), dim=-1)
