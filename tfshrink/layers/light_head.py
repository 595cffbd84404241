"""A low-rank head that proposes the tokens the full head then scores."""

import keras
import numpy as np
from keras import ops

from tfshrink.backend import multiply_rows


class LightHead(keras.layers.Layer):
    """Finds the likeliest tokens without multiplying the whole head.

    The head `(V, C)` is replaced by two factors of rank R; of the K tokens it
    proposes, rows of the head give exact logits.

    Args:
        vocabulary: Number of tokens V.
        width: Width C.
        rank: R, below C.

    Call arguments:
        hidden: `(..., C)`, as the head reads it.

    Returns:
        Logits `(..., V)` of rank R, in the compute type.
    """

    def __init__(self, vocabulary, width, rank, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.width = width
        self.rank = rank

    def build(self, input_shape=None):
        self.down = self.add_weight(name="down", shape=(self.width, self.rank))
        self.up = self.add_weight(name="up", shape=(self.vocabulary, self.rank))

    def call(self, hidden):
        # In float32: XLA has no fast bfloat16 product for a row like this.
        down = ops.cast(ops.cast(self.down, hidden.dtype), "float32")
        narrow = ops.matmul(ops.cast(hidden, "float32"), down)
        up = ops.cast(self.up, hidden.dtype)
        return multiply_rows(ops.cast(narrow, hidden.dtype), up)

    def fit(self, kernel, hidden):
        """Sets the factors to the nearest ones on given hidden states.

        Args:
            kernel: Head `(V, C)`.
            hidden: `(N, C)`, NumPy: what the head reads on some text.

        Reference: Chen et al., GroupReduce, 1806.06950 (the weighted form of
        an SVD; here weighted by the states, not by the tokens' frequency).
        """
        kernel = np.asarray(kernel, "float64")
        hidden = np.asarray(hidden, "float64")
        power = hidden.T @ hidden / len(hidden)
        values, vectors = np.linalg.eigh(power)
        # States outside of what was seen keep a small weight.
        values = np.sqrt(np.maximum(values, 1e-6 * values.max()))
        root = (vectors * values) @ vectors.T
        inverse = (vectors / values) @ vectors.T
        _, axes = np.linalg.eigh(root @ (kernel.T @ kernel) @ root)
        axes = axes[:, ::-1][:, : self.rank]  # of `kernel root`, from the right
        self.down.assign((inverse @ axes).astype("float32"))
        self.up.assign((kernel @ (root @ axes)).astype("float32"))

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary,
            "width": self.width,
            "rank": self.rank,
        }


def candidate_logits(light, kernel, hidden, count):
    """Exact logits of the tokens that a light head proposes.

    Args:
        light: `LightHead`, or `None` to multiply the whole head.
        kernel: Head `(V, C)`.
        hidden: `(B, C)`.
        count: Candidates K.

    Returns:
        `(logits, tokens)`: float32 and int32 `(B, K)`, the likeliest first.
    """
    if light is None:
        logits = multiply_rows(hidden, kernel)
        logits, tokens = ops.top_k(ops.cast(logits, "float32"), count)
        return logits, ops.cast(tokens, "int32")
    # In float32: XLA sorts a whole row of bfloat16 on a CPU, 40 times as slow.
    light_logits = ops.cast(light(hidden), "float32")
    _, proposed = ops.top_k(light_logits, count, sorted=False)
    rows = ops.take(kernel, proposed, axis=0)  # (B, K, C)
    exact = ops.sum(
        ops.cast(rows, "float32") * ops.cast(hidden, "float32")[:, None], -1
    )
    exact, order = ops.top_k(exact, count)
    tokens = ops.take_along_axis(proposed, order, axis=-1)
    return exact, ops.cast(tokens, "int32")
