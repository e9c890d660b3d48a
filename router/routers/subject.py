"""Whether a question is about the image that is shown, or plain chat that goes on under it.

Two logistic heads, fitted once by router.routers.make_background on the questions of general_questions.txt
and bundled: a
cheap one over the mean of a question's word embeddings, and one over the language model's hidden state after the
question. Knows nothing of adapters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FORM = "Question: {}"
"""What the language model reads, whose hidden state the second head is over."""

ROUNDS = 30


@dataclass(frozen=True)
class SubjectHead:
    """weight: float32 [features]; bias. Their logit is above 0 when a question is rather about the image."""

    weight: NDArray[np.float32]
    bias: float

    def logit(self, vector: NDArray[np.float32]) -> float:
        return float(self.weight @ vector) + self.bias


def fit_subject(about: NDArray[np.float32], chat: NDArray[np.float32], strength: float) -> SubjectHead:
    """Logistic regression by Newton's method. about [n, features], chat [m, features]: one vector a question.

    strength: of the squared penalty on the weights over features of standard deviation 1.
    """
    vectors = np.concatenate([about, chat]).astype(np.float64)
    mean, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-3 * vectors.std()
    inputs = np.column_stack([(vectors - mean) / spread, np.ones(len(vectors))])
    wanted = np.concatenate([np.ones(len(about)), np.zeros(len(chat))])
    penalty = np.full(inputs.shape[1], strength)
    penalty[-1] = 1e-6  # not on the bias
    solution = np.zeros(inputs.shape[1])
    for _ in range(ROUNDS):
        shares = 1 / (1 + np.exp(-np.clip(inputs @ solution, -50, 50)))
        slope = inputs.T @ (shares - wanted) + penalty * solution
        curvature = (inputs * (shares * (1 - shares))[:, None]).T @ inputs + np.diag(penalty)
        solution -= np.linalg.solve(curvature, slope)
    weight = solution[:-1] / spread
    return SubjectHead(weight.astype(np.float32), float(solution[-1] - weight @ mean))
