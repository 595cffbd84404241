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
from tfshrink.layers.block import Block

X = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
CAUSAL = np.tril(np.ones((1, 5, 5), bool))


class OutputOnly(Block):
    """A block without its cache; Keras treats `mask=` as its own."""

    def call(self, x, bits=None, visible=None):
        return super().call(x, bits, None, visible)[0]


def normalized(norm, x):
    weights = [to_numpy(w) for w in norm.weights]
    return oracles.normalize(
        to_numpy(x), *weights, kind=norm.kind, epsilon=norm.epsilon
    ).astype("float32")


class BlockTest(TestCase):
    @parameterized.parameters((LLAMA, True), (GPT2, False))
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
                "bits": ops.convert_to_tensor([8, 4, 2, 16])
                if switchable
                else None,
            },
            expected_output_shape=(2, 5, 16),
        )

    @parameterized.parameters((LLAMA,), (GPT2,))
    def test_norms_come_first_and_residuals_beside(self, config):
        block = Block(config)
        block.build((None, None, 16))
        randomize(block)
        middle = block.attention(
            normalized(block.attention_norm, X), None, None, CAUSAL
        )
        middle = X + to_numpy(middle[0])
        inner = normalized(block.mlp_norm, middle)
        expected = middle + to_numpy(block.mlp(inner))
        self.assertAllClose(
            block(X, None, None, CAUSAL)[0], expected, rtol=1e-4, atol=1e-4
        )

    def test_bits_go_to_their_groups_in_order(self):
        block = Block(LLAMA, precision())
        block.build((None, None, 16))
        randomize(block)
        self.assertEqual(
            {
                name: [m.name for m in own]
                for name, own in block.groups().items()
            },
            {
                "attention_in": ["query", "key", "value"],
                "attention_out": ["output"],
                "mlp_in": ["gate", "up"],
                "mlp_out": ["down"],
            },
        )
        full = np.full(4, 16)
        before = to_numpy(block(X, full, None, CAUSAL)[0])
        for index, members in enumerate(block.groups().values()):
            bits = np.where(np.arange(4) == index, 2, full)
            changed = to_numpy(block(X, bits, None, CAUSAL)[0])
            self.assertNotAllClose(changed, before, atol=1e-3)
            # With the group's weights on their grid already, 2 bits is full.
            kernels = [to_numpy(m.kernel) for m in members]
            for member, kernel in zip(members, kernels, strict=True):
                merged = to_numpy(member.quantizer(kernel, bits=2))
                merged = merged + to_numpy(member.adapters.delta(2))
                member.kernel.assign(merged)
            self.assertAllClose(
                block(X, full, None, CAUSAL)[0],
                changed,
                rtol=1e-4,
                atol=1e-4,
            )
            for member, kernel in zip(members, kernels, strict=True):
                member.kernel.assign(kernel)
