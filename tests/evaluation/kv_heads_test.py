from unittest import mock

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tfshrink.evaluation.kv_heads import blocks_of
from tfshrink.evaluation.kv_heads import kv_heads
from tfshrink.evaluation.kv_heads import standardised
from tfshrink.models.load import load_model
from tfshrink.ops import attention


class KVHeadsTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_keys_and_values_are_those_attention_sees(self, name):
        model = load_model(name)
        tokens = np.random.default_rng(0).integers(3, 512, (2, 24))
        seen = []
        original = attention.attend_causal

        def spied(query, key, value, width, rotation=None):
            seen.append(attention.by_head(query, key, value, width, rotation))
            return original(query, key, value, width, rotation)

        with mock.patch.object(attention, "attend_causal", spied):
            model.hidden(ops.convert_to_tensor(tokens))
        found = list(kv_heads(model, tokens.astype("int32")))
        self.assertLen(found, 2)
        for own, (_, key, value) in zip(found, seen, strict=True):
            self.assertAllClose(own["values"], value, rtol=1e-4, atol=1e-5)
            last = own.get("rotated_keys", own["keys"])
            self.assertAllClose(last, key, rtol=1e-4, atol=1e-5)
        self.assertEqual("rotated_keys" in found[0], name == "tiny")
        if name == "tiny":
            keys, rotated = found[0]["keys"], found[0]["rotated_keys"]
            self.assertAllClose(rotated[:, 0], keys[:, 0], atol=1e-5)
            self.assertAllClose(
                np.linalg.norm(rotated, axis=-1),
                np.linalg.norm(keys, axis=-1),
                rtol=1e-4,
            )

    def test_channels_count_alike_and_blocks_are_whole(self):
        random = np.random.default_rng(0)
        x = 5 + random.normal(size=(2, 3, 50, 4)) * [1, 10, 0.1, 0]
        x = standardised(x)
        self.assertAllClose(x.mean((1, 2)), np.zeros((2, 4)), atol=1e-9)
        wanted = np.tile([1.0, 1.0, 1.0, 0.0], (2, 1))
        self.assertAllClose(x.std((1, 2)), wanted, atol=1e-9)
        blocks = blocks_of(x[0], 16)
        self.assertEqual(blocks.shape, (9, 16, 4))
        self.assertAllEqual(blocks[4], x[0, 1, 16:32])
