import dataclasses

import numpy as np
from absl.testing import parameterized
from scipy import special

from tests import oracles
from tests.layers.layer_inputs import fit
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.layers.layer_inputs import precision
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.layers.mlp import MLP

X = np.random.default_rng(0).normal(size=(2, 3, 16)).astype("float32")
ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    ),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * special.expit(x),
}


class MLPTest(TestCase):
    @parameterized.parameters((LLAMA, True), (GPT2, True))
    def test_layer(self, config, switchable):
        count = 3 if config is LLAMA else 2
        self.run_layer_test(
            MLP,
            {
                "config": config,
                "precision": precision() if switchable else None,
            },
            inputs=X,
            call_kwargs={"bits": (2, 8) if switchable else None},
            expected_output_shape=(2, 3, 16),
            expected_num_trainable_weights=count * (5 if switchable else 1)
            + (2 if config is GPT2 else 0),
        )

    @parameterized.product(activation=sorted(ACTIVATIONS), gated=(False, True))
    def test_output_matches_numpy(self, activation, gated):
        config = dataclasses.replace(
            LLAMA, activation=activation, gated=gated, mlp_bias=True
        )
        layer = MLP(config)
        layer.build((None, None, 16))
        randomize(layer)

        def product(dense, x):
            return x @ to_numpy(dense.kernel) + to_numpy(dense.bias)

        inner = product(layer.up, X)
        if gated:
            inner = inner * ACTIVATIONS[activation](product(layer.gate, X))
        else:
            inner = ACTIVATIONS[activation](inner)
        self.assertAllClose(
            layer(X), product(layer.down, inner), rtol=1e-4, atol=1e-4
        )

    def test_each_group_takes_its_own_bits(self):
        layer = MLP(LLAMA, precision(ranks=()))
        layer.build((None, None, 16))
        randomize(layer)
        fit(layer.gate, layer.up, layer.down)

        def product(dense, x, bits):
            scale = to_numpy(dense.quantizer.scale(bits))
            kernel = to_numpy(dense.kernel)
            return x @ oracles.quantize_weight(kernel, scale, bits)

        for bits in ((2, 8), (8, 3), (16, 4)):
            gate, up = (product(d, X, bits[0]) for d in (layer.gate, layer.up))
            inner = ACTIVATIONS["silu"](gate) * up
            self.assertAllClose(
                layer(X, bits=bits),
                product(layer.down, inner, bits[1]),
                rtol=1e-4,
                atol=1e-4,
            )

    def test_unknown_activation(self):
        with self.assertRaisesRegex(UserError, "Did you mean `gelu`"):
            MLP(dataclasses.replace(LLAMA, activation="gelus"))
