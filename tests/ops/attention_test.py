from unittest import mock

import keras
import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.backend import value_and_gradients
from tfshrink.ops import attention
from tfshrink.ops import rotary
from tfshrink.ops.attention import attend
from tfshrink.ops.attention import attend_causal
from tfshrink.ops.attention import causal_maps


def random_inputs(heads, kv_heads, length=5, cached=7):
    random = np.random.default_rng(heads)
    query = random.normal(size=(2, length, heads, 4))
    key, value = random.normal(size=(2, 2, cached, kv_heads, 4))
    mask = random.random((2, length, cached)) < 0.6
    mask[..., 0] = True
    floats = [x.astype("float32") for x in (query, key, value)]
    return (*floats, mask)


class AttentionTest(TestCase):
    @parameterized.parameters((4, 4), (4, 2), (6, 1), (1, 1))
    def test_output_matches_numpy(self, heads, kv_heads):
        inputs = random_inputs(heads, kv_heads)
        expected = oracles.attention(*inputs)
        tensors = [ops.convert_to_tensor(x) for x in inputs]
        self.assertAllClose(attend(*tensors), expected, rtol=1e-5, atol=1e-5)
        self.assertAllClose(
            Compiled(attend)(*tensors), expected, rtol=1e-5, atol=1e-5
        )

    def test_one_mask_serves_the_batch(self):
        query, key, value, mask = random_inputs(4, 2)
        tensors = [ops.convert_to_tensor(x) for x in (query, key, value)]
        one = ops.convert_to_tensor(mask[:1])
        self.assertAllClose(
            attend(*tensors, one),
            oracles.attention(query, key, value, mask[[0, 0]]),
            rtol=1e-5,
            atol=1e-5,
        )

    def test_bfloat16_keeps_its_type_and_softmax_in_float32(self):
        query, key, value, mask = random_inputs(4, 2)
        query = ops.cast(query, "bfloat16")
        out = attend(query, key, value, ops.convert_to_tensor(mask))
        self.assertIn("bfloat16", str(out.dtype))
        self.assertAllClose(
            to_numpy(ops.cast(out, "float32")),
            oracles.attention(
                to_numpy(ops.cast(query, "float32")), key, value, mask
            ),
            rtol=0.05,
            atol=0.05,
        )

    def test_masked_places_have_no_say(self):
        query, key, value, mask = random_inputs(2, 2)
        hidden = ~mask.any(axis=1)  # (B, S): seen by no query
        mask[:, :, 3], hidden[:, 3] = False, True
        changed = np.where(hidden[..., None, None], 1e4, value)
        mask = ops.convert_to_tensor(mask)
        self.assertAllEqual(
            to_numpy(attend(ops.convert_to_tensor(query), key, value, mask)),
            to_numpy(
                attend(
                    ops.convert_to_tensor(query),
                    key,
                    changed.astype("float32"),
                    mask,
                )
            ),
        )

    def test_a_query_that_sees_nothing_stays_finite(self):
        query, key, value, mask = random_inputs(2, 2)
        mask[0, 0] = False
        out = attend(
            ops.convert_to_tensor(query),
            key,
            value,
            ops.convert_to_tensor(mask),
        )
        self.assertTrue(np.isfinite(to_numpy(out)).all())


class CausalMapsTest(TestCase):
    @parameterized.product(theta=(1e4, 10.0), grouped=((4, 4), (4, 2), (6, 1)))
    def test_weights_and_output_match_numpy(self, theta, grouped):
        heads, kv_heads = grouped
        query, key, value, _ = random_inputs(heads, kv_heads, 7, 7)
        flat = [x.reshape(2, 7, -1) for x in (query, key, value)]
        places, inverse = np.arange(7)[None], rotary.frequencies(4, theta)
        rotation = rotary.tables(places, inverse)
        query, key = (oracles.rotate(x, places, inverse) for x in (query, key))
        found, weights = causal_maps(*flat, 4, rotation)
        mask = np.tri(7, dtype=bool)
        both = np.stack([mask, mask])
        expected = oracles.attention(query, key, value, both)
        self.assertAllClose(
            found, expected.reshape(2, 7, -1), rtol=1e-5, atol=1e-5
        )
        self.assertEqual(tuple(weights.shape), (2, heads, 7, 7))
        for row, head in np.ndindex(2, heads):
            own = key[row, :, head // (heads // kv_heads)]
            scores = query[row, :, head] @ own.T / 2.0  # the root of 4
            wanted = oracles.softmax(np.where(mask, scores, -np.inf))
            self.assertAllClose(
                to_numpy(weights)[row, head], wanted, rtol=1e-5, atol=1e-6
            )

    def test_rows_are_shares_of_what_came_before(self):
        query, key, value, _ = random_inputs(4, 2, 300, 300)
        flat = [x.reshape(2, 300, -1) for x in (query, key, value)]
        found, weights = causal_maps(*flat, 4)
        weights = to_numpy(weights)
        self.assertAllClose(weights.sum(-1), np.ones((2, 4, 300)), atol=1e-5)
        self.assertAllEqual(weights, np.tril(weights))
        self.assertGreaterEqual(weights.min(), 0.0)
        # At a length where queries go in two blocks.
        self.assertAllClose(
            found,
            attend_causal(*map(ops.convert_to_tensor, flat), 4),
            atol=1e-5,
        )

    def test_bfloat16_keeps_its_type(self):
        query, key, value, _ = random_inputs(4, 2, 6, 6)
        flat = [
            ops.cast(x.reshape(2, 6, -1), "bfloat16")
            for x in (query, key, value)
        ]
        wide = causal_maps(*[ops.cast(x, "float32") for x in flat], 4)
        for found, wanted in zip(causal_maps(*flat, 4), wide, strict=True):
            self.assertIn("bfloat16", str(found.dtype))
            self.assertAllClose(
                ops.cast(found, "float32"), wanted, rtol=0.05, atol=0.03
            )


def plain(query, key, value, mask):
    """Attention written out, every gradient left to the backend."""
    shared = query.shape[2] // key.shape[2]
    key, value = ops.repeat(key, shared, 2), ops.repeat(value, shared, 2)
    scores = ops.einsum("bthd,bshd->bhts", query, key) * query.shape[-1] ** -0.5
    weights = ops.softmax(ops.where(mask[:, None], scores, -1e30), axis=-1)
    return ops.einsum("bhts,bshd->bthd", weights, value)


class GradientTest(TestCase):
    def differentiate(self, function, *inputs):
        variables = [keras.Variable(x) for x in inputs]

        def loss():
            out = function(*[1.0 * v for v in variables])
            return ops.sum(ops.sin(out)), out

        compiled = Compiled(
            lambda: value_and_gradients(loss, variables), variables
        )
        return compiled()

    @parameterized.parameters((4, 4), (4, 2), (6, 1))
    def test_attend_has_the_gradients_of_plain_attention(self, heads, kv_heads):
        *inputs, mask = random_inputs(heads, kv_heads)
        mask = ops.convert_to_tensor(mask)
        self.assertAllClose(
            self.differentiate(lambda *x: attend(*x, mask), *inputs),
            self.differentiate(lambda *x: plain(*x, mask), *inputs),
            rtol=1e-4,
            atol=1e-5,
        )

    @parameterized.product(
        rotated=(True, False), length=(7, 8), grouped=((4, 2), (6, 2))
    )
    def test_causal_attention_in_blocks(self, rotated, length, grouped):
        heads, kv_heads = grouped
        *inputs, _ = random_inputs(heads, kv_heads, length, length)
        flat = [x.reshape(2, length, -1) for x in inputs]
        mask = ops.convert_to_tensor(np.tri(length, dtype=bool)[None])
        rotation = None
        if rotated:
            inverse = rotary.frequencies(4, 1e4)
            rotation = rotary.tables(ops.arange(length)[None], inverse)

        def whole(*flat):
            query, key, value = (
                ops.reshape(x, (2, length, -1, 4)) for x in flat
            )
            if rotated:
                query = rotary.rotate(query, *rotation)
                key = rotary.rotate(key, *rotation)
            out = plain(query, key, value, mask)
            return ops.reshape(out, (2, length, -1))

        with mock.patch.object(attention, "SPLIT_FROM", 8):
            found = self.differentiate(
                lambda *x: attend_causal(*x, 4, rotation), *flat
            )
        expected = self.differentiate(whole, *flat)
        self.assertAllClose(found, expected, rtol=1e-4, atol=1e-5)
