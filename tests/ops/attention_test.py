import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.ops.attention import attend


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
