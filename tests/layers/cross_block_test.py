import dataclasses

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.layers.cross_attention import CrossAttention
from tfshrink.layers.cross_block import CrossBlock

X = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
STATES = np.random.default_rng(1).normal(size=(2, 7, 16)).astype("float32")
MASK = np.arange(7) < np.array([[7], [3]])
CAUSAL = np.tril(np.ones((1, 5, 5), bool))


class Remembering(CrossBlock):
    """A block with a source at hand, without its cache."""

    def call(self, x, bits=None, visible=None):
        own = None if bits is None else bits[0]
        states = ops.cast(STATES, self.compute_dtype)
        mask = ops.convert_to_tensor(MASK)
        memory = (*self.cross.remember(states, own), mask)
        object.__setattr__(self, "memory", memory)
        try:
            return super().call(x, bits, None, visible)[0]
        finally:
            object.__setattr__(self, "memory", None)


def numpy_cross(layer, x, states, mask):
    """Attention of `x` to states where the mask is."""

    def heads(name, own, count):
        dense = getattr(layer, name)
        bias = 0 if dense.bias is None else to_numpy(dense.bias)
        flat = own @ to_numpy(dense.kernel) + bias
        return flat.reshape(*own.shape[:2], count, -1)

    config = layer.config
    query = heads("query", x, config.heads)
    key, value = (
        heads(name, states, config.kv_heads) for name in ("key", "value")
    )
    visible = np.repeat(mask[:, None], x.shape[1], axis=1)
    out = oracles.attention(query, key, value, visible)
    out = out.reshape(*x.shape[:2], -1)
    dense = layer.output_dense
    bias = 0 if dense.bias is None else to_numpy(dense.bias)
    return out @ to_numpy(dense.kernel) + bias


def normalized(norm, x):
    weights = [to_numpy(w) for w in norm.weights]
    return oracles.normalize(
        x, *weights, kind=norm.kind, epsilon=norm.epsilon
    ).astype("float32")


class CrossAttentionTest(TestCase):
    @parameterized.parameters((LLAMA,), (GPT2,))
    def test_grouped_queries_match_numpy(self, config):
        layer = CrossAttention(config)
        layer.build((None, None, 16))
        randomize(layer)
        memory = (*layer.remember(STATES), MASK)
        self.assertAllClose(
            layer(X, memory),
            numpy_cross(layer, X, STATES, MASK),
            rtol=1e-4,
            atol=1e-4,
        )

    def test_padding_counts_for_nothing(self):
        layer = CrossAttention(GPT2)
        layer.build((None, None, 16))
        randomize(layer)
        other = STATES.copy()
        other[1, 3:] = 100.0
        first, second = (
            layer(X, (*layer.remember(own), MASK)) for own in (STATES, other)
        )
        self.assertAllEqual(first, second)


class CrossBlockTest(TestCase):
    @parameterized.product(norm_first=(True, False), switchable=(True, False))
    def test_layer(self, norm_first, switchable):
        config = dataclasses.replace(GPT2, norm_first=norm_first)
        self.run_layer_test(
            Remembering,
            {
                "config": config,
                "precision": precision() if switchable else None,
            },
            inputs=X,
            call_kwargs={
                "visible": ops.convert_to_tensor(CAUSAL),
                "bits": ops.convert_to_tensor([8, 4, 2, 16])
                if switchable
                else None,
            },
            expected_output_shape=(2, 5, 16),
            run_saved_model=norm_first,
        )

    @parameterized.parameters(True, False)
    def test_norms_stand_where_the_config_says(self, norm_first):
        config = dataclasses.replace(GPT2, norm_first=norm_first)
        block = Remembering(config)
        block.build((None, None, 16))
        randomize(block)

        def joined(norm, x, layer):
            if norm_first:
                return x + layer(normalized(norm, x))
            return normalized(norm, x + layer(x))

        def attention(x):
            return to_numpy(block.attention(x, None, None, CAUSAL)[0])

        x = joined(block.attention_norm, X, attention)
        x = joined(
            block.cross_norm,
            x,
            lambda x: numpy_cross(block.cross, x, STATES, MASK),
        )
        x = joined(block.mlp_norm, x, lambda x: to_numpy(block.mlp(x)))
        self.assertAllClose(block(X, None, CAUSAL), x, rtol=1e-4, atol=1e-4)

    def test_members_of_groups_and_a_missing_source(self):
        block = CrossBlock(GPT2)
        block.build((None, None, 16))
        names = {
            name: [m.path.partition("/")[2] for m in own]
            for name, own in block.groups().items()
        }
        self.assertEqual(
            names["attention_in"],
            [
                f"{kind}/{name}"
                for kind in ("attention", "cross")
                for name in ("query", "key", "value")
            ],
        )
        self.assertEqual(
            names["attention_out"], ["attention/output", "cross/output"]
        )
        with self.assertRaisesRegex(UserError, "`source` must be given"):
            block(X, None, None, CAUSAL)
