import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.coded_kv_test import decoder
from tests.layers.coded_kv_test import TOKENS
from tests.layers.kv_stubs import Lossless
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.int_codec import IntCodec
from tfshrink.models.streaming import streamed_hidden

CENTRE = np.random.default_rng(1).normal(size=(2, 4)).astype("float32")


def codecs_of(*codecs, **changes):
    shape = {"window": 3, "sinks": 1, "dtype": "float32"}
    return BlockCodecs(codecs, **{**shape, **changes})


class ParallelKVTest(TestCase):
    @parameterized.parameters(
        (LLAMA, IntCodec(2, 2), {}),
        (LLAMA, IntCodec(2, 4), {"window": 0, "sinks": 0}),
        (LLAMA, IntCodec(4, 2), {"dtype": "int8"}),
        (LLAMA, IntCodec(2, 2), {"window": 40}),
        (GPT2, IntCodec(2, 4), {"sinks": 2}),
    )
    def test_all_at_once_is_token_by_token(self, config, codec, shape):
        model = decoder(config)
        codecs = codecs_of(codec, None, **shape)
        found = model.hidden(TOKENS, codecs=codecs)
        wanted = streamed_hidden(model, ops.convert_to_tensor(TOKENS), codecs)
        self.assertAllClose(found, wanted, rtol=1e-4, atol=1e-4)
        if shape.get("window") != 40:
            exact = model.hidden(TOKENS)
            self.assertNotAllClose(found, exact, atol=1e-3)

    @parameterized.parameters(
        Lossless(2), Lossless(2, True), Lossless(2, True, CENTRE)
    )
    def test_a_codec_without_loss_changes_nothing(self, codec):
        model = decoder(LLAMA)
        exact = model.hidden(TOKENS)
        found = model.hidden(TOKENS, codecs=codecs_of(codec, codec))
        self.assertAllClose(found, exact, rtol=1e-4, atol=1e-4)

    def test_gradients_pass_as_if_nothing_was_coded(self):
        model = decoder(LLAMA)
        kernel = model.blocks[0].attention.key.kernel

        def gradient(codecs):
            def forward():
                hidden = model.hidden(TOKENS, codecs=codecs)
                return ops.mean(ops.square(hidden[..., 0])), ()

            return to_numpy(
                backend.value_and_gradients(forward, [kernel])[2][0]
            )

        exact = gradient(None)
        coded = gradient(codecs_of(Lossless(2), Lossless(2)))
        self.assertAllClose(coded, exact, rtol=1e-3, atol=1e-6)
        rough = gradient(codecs_of(IntCodec(2, 2), IntCodec(2, 2)))
        self.assertGreater(np.abs(rough).max(), 0.0)
        cosine = (rough * exact).sum() / np.sqrt(
            np.square(rough).sum() * np.square(exact).sum()
        )
        self.assertBetween(cosine, 0.5, 0.9999)
