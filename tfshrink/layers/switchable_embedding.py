"""A token embedding, and tied head, whose precision is an argument."""

import keras
from keras import ops

from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.layers.weight_quantizer import WeightQuantizer


class SwitchableEmbedding(keras.layers.Layer):
    """Embedding table at any bit-width; one table for input and tied head.

    Args:
        vocabulary: Number of tokens V.
        width: Embedding width C.
        precision: `PrecisionConfig`, or `None` for a plain embedding.

    Call arguments:
        tokens: Integer `(B, T)`.
        bits: Scalar integer tensor, or `None` for full precision.

    Returns:
        `(B, T, C)`.
    """

    def __init__(self, vocabulary, width, precision=None, **kwargs):
        super().__init__(**kwargs)
        if isinstance(precision, dict):
            precision = PrecisionConfig.from_json(precision)
        self.vocabulary = vocabulary
        self.width = width
        self.precision = precision
        self.quantizer = None
        self.resolved = False  # its table is in force as it is

    def build(self, tokens_shape=None):
        self.table = self.add_weight(
            name="table",
            shape=(self.vocabulary, self.width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            autocast=False,
        )
        if self.precision is not None:
            self.quantizer = WeightQuantizer(
                self.precision,
                axis=1,
                dtype=self.dtype_policy,
                name="quantizer",
            )
            self.quantizer.build((self.vocabulary, self.width))

    def call(self, tokens, bits=None):
        if self._is_plain(bits):
            rows = ops.take(self.table, tokens, axis=0)
            return ops.cast(rows, self.compute_dtype)
        return self.quantizer.rows(self.table, tokens, bits)

    def head(self, bits=None):
        """The table as the kernel of the tied head: `(V, C)`."""
        if self._is_plain(bits):
            return ops.cast(self.table, self.compute_dtype)
        return self.quantizer(self.table, bits=bits)

    def _is_plain(self, bits):
        return self.resolved or self.quantizer is None or bits is None

    def compute_output_shape(self, tokens_shape, bits=None):
        return (*tokens_shape, self.width)

    def get_config(self):
        precision = self.precision
        return {
            **super().get_config(),
            "vocabulary": self.vocabulary,
            "width": self.width,
            "precision": precision and precision.to_json(),
        }
