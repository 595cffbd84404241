import math

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.ops import rotary

LLAMA3 = {
    "type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_context": 8192,
}


class RotaryTest(TestCase):
    def test_frequencies_match_the_series(self):
        self.assertAllClose(
            rotary.frequencies(8, 10000.0), [1.0, 0.1, 0.01, 0.001]
        )
        linear = {"type": "linear", "factor": 4.0}
        self.assertAllClose(rotary.frequencies(4, 100.0, linear), [0.25, 0.025])

    def test_llama3_matches_its_three_cases(self):
        found = rotary.frequencies(64, 500000.0, LLAMA3)
        cases = set()
        for index, received in enumerate(found):
            plain = 500000.0 ** (-2 * index / 64)
            length = 2 * math.pi / plain
            if length < 8192 / 4.0:
                expected, case = plain, "kept"
            elif length > 8192 / 1.0:
                expected, case = plain / 8.0, "slowed"
            else:
                part = (8192 / length - 1.0) / (4.0 - 1.0)
                expected = (1 - part) * plain / 8.0 + part * plain
                case = "between"
            cases.add(case)
            self.assertAllClose(received, expected, rtol=1e-5)
        self.assertEqual(cases, {"kept", "slowed", "between"})

    @parameterized.parameters("float32", "bfloat16")
    def test_rotation_matches_complex_numbers(self, dtype):
        random = np.random.default_rng(0)
        x = random.normal(size=(2, 5, 3, 8)).astype("float32")
        positions = np.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 300]])
        inverse = rotary.frequencies(8, 100.0)
        table = rotary.tables(positions, inverse)
        self.assertEqual(tuple(table[0].shape), (2, 5, 1, 8))
        out = rotary.rotate(ops.cast(x, dtype), *table)
        self.assertIn(dtype, str(out.dtype))
        tolerance = 1e-4 if dtype == "float32" else 0.05
        self.assertAllClose(
            to_numpy(ops.cast(out, "float32")),
            oracles.rotate(x, positions, inverse.astype("float64")),
            rtol=tolerance,
            atol=tolerance,
        )

    def test_products_depend_on_the_distance_alone(self):
        random = np.random.default_rng(1)
        query, key = random.normal(size=(2, 1, 1, 1, 16)).astype("float32")
        inverse = rotary.frequencies(16, 10000.0)

        def product(at, other):
            place = rotary.tables(np.array([[at]]), inverse)
            there = rotary.tables(np.array([[other]]), inverse)
            return np.sum(
                to_numpy(rotary.rotate(query, *place))
                * to_numpy(rotary.rotate(key, *there))
            )

        self.assertAllClose(product(3, 1), product(103, 101), atol=1e-4)
        self.assertNotAllClose(product(3, 1), product(3, 2), atol=1e-4)
