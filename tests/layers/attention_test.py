import functools

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import fit
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.attention import Attention
from tfshrink.layers.kv_cache import KVCache
from tfshrink.ops import rotary

X = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
CAUSAL = np.tril(np.ones((1, 5, 5), bool))
INVERSE = rotary.frequencies(4, 10000.0)


class OutputOnly(Attention):
    """Attention without its cache; Keras treats `mask=` as its own."""

    def call(self, x, bits=None, visible=None):
        return super().call(x, bits, None, visible)[0]


def projected(layer, name, x, bits=None):
    """NumPy product of one projection, without adapters."""
    dense = getattr(layer, name)
    kernel = to_numpy(dense.kernel)
    if bits is not None:
        scale = to_numpy(dense.quantizer.scale(bits))
        kernel = oracles.quantize_weight(kernel, scale, bits)
    bias = 0 if dense.bias is None else to_numpy(dense.bias)
    return x @ kernel + bias


def numpy_attention(layer, x, bits=(None, None), turn=True):
    config = layer.config
    query, key, value = (
        projected(layer, name, x, bits[0]).reshape(2, 5, heads, -1)
        for name, heads in (
            ("query", config.heads),
            ("key", config.kv_heads),
            ("value", config.kv_heads),
        )
    )
    if turn:
        places = np.arange(5)[None]
        query, key = (oracles.rotate(y, places, INVERSE) for y in (query, key))
    out = oracles.attention(query, key, value, CAUSAL[[0, 0]])
    return projected(layer, "output_dense", out.reshape(2, 5, -1), bits[1])


class AttentionTest(TestCase):
    @parameterized.parameters((LLAMA, False), (GPT2, True))
    def test_layer(self, config, switchable):
        self.run_layer_test(
            OutputOnly,
            {
                "config": config,
                "precision": precision() if switchable else None,
            },
            inputs=X,
            call_kwargs={
                "visible": ops.convert_to_tensor(CAUSAL),
                "bits": (4, 8) if switchable else None,
            },
            expected_output_shape=(2, 5, 16),
            # Kernels and biases; switchable, two scales and an adapter's two.
            expected_num_trainable_weights=(4 if config is LLAMA else 8)
            + (16 if switchable else 0),
        )

    def test_grouped_queries_with_rope_match_numpy(self):
        layer = Attention(LLAMA)
        layer.build((None, None, 16))
        randomize(layer)
        table = rotary.tables(np.arange(5)[None], INVERSE)
        out, state = layer(X, None, table, CAUSAL)
        self.assertIsNone(state)
        self.assertAllClose(
            out, numpy_attention(layer, X), rtol=1e-4, atol=1e-4
        )

    def test_biases_without_rope_match_numpy(self):
        layer = Attention(GPT2)
        layer.build((None, None, 16))
        randomize(layer)
        out, _ = layer(X, None, None, CAUSAL)
        self.assertAllClose(
            out, numpy_attention(layer, X, turn=False), rtol=1e-4, atol=1e-4
        )

    def test_each_group_takes_its_own_bits(self):
        layer = Attention(GPT2, precision(ranks=()))
        layer.build((None, None, 16))
        randomize(layer)
        fit(layer.query, layer.key, layer.value, layer.output_dense)
        for bits in ((3, 8), (8, 2), (5, 4)):
            out, _ = layer.call(X, bits, None, CAUSAL)
            self.assertAllClose(
                out,
                numpy_attention(layer, X, bits, turn=False),
                rtol=1e-4,
                atol=1e-4,
            )

    def test_cache_gives_what_the_whole_sequence_gives(self):
        layer = Attention(LLAMA)
        layer.build((None, None, 16))
        randomize(layer)
        table = rotary.tables(np.arange(5)[None], INVERSE)
        expected, _ = layer(X, None, table, CAUSAL)
        store = KVCache(LLAMA, 7)
        state = store.create(2)[0]
        for start, stop in ((0, 3), (3, 4), (4, 5)):
            pad = np.zeros(2, "int32")
            step = store.begin(start, pad, stop - start)
            out, state = layer(
                X[:, start:stop],
                None,
                rotary.tables(np.arange(start, stop)[None], INVERSE),
                cache=functools.partial(
                    store.attend, index=0, state=state, step=step
                ),
            )
            self.assertAllClose(
                out,
                to_numpy(expected)[:, start:stop],
                rtol=1e-5,
                atol=1e-5,
            )
