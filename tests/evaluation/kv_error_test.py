import numpy as np
from keras import ops

from tests.layers.kv_stubs import Lossless
from tests.models.effective_weights_test import model
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.evaluation.kv_error import KVError
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.int_codec import IntCodec
from tfshrink.models.streaming import streamed_hidden

TOKENS = np.random.default_rng(0).integers(3, 500, (2, 29)).astype("int32")
FIRST = 12


def codecs_of(codec, blocks):
    codecs = [codec] * blocks
    return BlockCodecs(codecs, window=4, sinks=1, dtype="float32")


class KVErrorTest(TestCase):
    def test_errors_grow_as_bits_fall(self):
        own = model("tiny")
        error, blocks = KVError(own, TOKENS, FIRST), own.config.layers
        found = [
            error.measure(codecs_of(codec, blocks))
            for codec in (Lossless(4), IntCodec(4, 4), IntCodec(2, 4))
        ]
        for name in found[0]:
            values = [row[name] for row in found]
            self.assertAllClose(values[0], 0.0, atol=1e-3)
            self.assertEqual(values, sorted(values))
            self.assertGreater(values[2], 2 * values[1])
        for row in found:
            self.assertGreaterEqual(
                row["worst_attention"], row["attention_error"]
            )

    def test_logits_are_those_of_the_streamed_text(self):
        own = model("tiny")
        codecs = codecs_of(IntCodec(2, 4), own.config.layers)
        found = KVError(own, TOKENS, FIRST).measure(codecs)
        head = own.head_kernel()
        exact, coded = (
            to_numpy(ops.matmul(hidden[:, FIRST:], ops.transpose(head)))
            for hidden in (
                own.hidden(TOKENS),
                streamed_hidden(own, ops.convert_to_tensor(TOKENS), codecs),
            )
        )
        p, q = (
            x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (exact, coded)
        )
        kl = (np.exp(p) * (p - q)).sum(-1).mean()
        self.assertAllClose(found["logit_kl"], kl, rtol=1e-3)
        rmse = np.sqrt(np.square(exact - coded).mean())
        self.assertAllClose(found["logit_rmse"], rmse, rtol=1e-3)

    def test_the_exact_cache_has_none(self):
        found = KVError(model("tiny"), TOKENS, FIRST).measure(None)
        self.assertEqual(set(found.values()), {0.0})
