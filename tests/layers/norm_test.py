import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.errors import UserError
from tfshrink.layers.norm import Norm


class NormTest(TestCase):
    @parameterized.parameters(("rms", 1), ("layer", 2))
    def test_layer(self, kind, weights):
        self.run_layer_test(
            Norm,
            {"kind": kind},
            input_shape=(2, 3, 8),
            expected_output_shape=(2, 3, 8),
            expected_num_trainable_weights=weights,
            expected_num_non_trainable_weights=0,
        )

    @parameterized.product(
        kind=("rms", "layer"),
        epsilon=(1e-5, 0.1),
        dtype=("float32", "bfloat16"),
    )
    def test_output_matches_numpy(self, kind, epsilon, dtype):
        policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
        layer = Norm(kind, epsilon, dtype=policy)
        layer.build((None, 8))
        randomize(layer)
        x = np.random.default_rng(0).normal(3, 2, (4, 8)).astype("float32")
        x = to_numpy(ops.cast(ops.cast(x, dtype), "float32"))
        weights = [to_numpy(w) for w in layer.trainable_weights]
        out = layer(ops.cast(x, dtype))
        self.assertIn(dtype, str(out.dtype))
        self.assertAllClose(
            to_numpy(ops.cast(out, "float32")),
            oracles.normalize(x, *weights, kind=kind, epsilon=epsilon),
            rtol=1e-5 if dtype == "float32" else 0.01,
            atol=1e-5 if dtype == "float32" else 0.01,
        )

    def test_unknown_kind(self):
        with self.assertRaisesRegex(UserError, "Did you mean `rms`"):
            Norm("rmsnorm")
