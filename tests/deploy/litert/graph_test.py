import pathlib

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.deploy.litert.flat_model import FlatModel
from tfshrink.deploy.litert.graph import Graph
from tfshrink.deploy.litert.packed_weight import float_weight
from tfshrink.deploy.litert.packed_weight import quantized_weight
from tfshrink.ops.quantize import quantize_activations


def run(path, graph, **inputs):
    """Runs the one graph of a file; kernels as LiteRT chooses them."""
    from ai_edge_litert.interpreter import Interpreter

    with open(path, "wb") as file:
        graph.model.save(file)
    interpreter = Interpreter(str(path), num_threads=1)
    return interpreter.get_signature_runner(graph.name)(**inputs)


class GraphTest(TestCase):
    def setUp(self):
        super().setUp()
        folder = self.create_tempdir().full_path
        self.path = pathlib.Path(folder, "graph.tflite")
        self.random = np.random.default_rng(0)

    @parameterized.parameters(
        (8, 0), (4, 0), (4, 32), (4, 64), (4, 128), (2, 0)
    )
    def test_dense_equals_the_simulated_kernel(self, bits, block):
        high = 2 ** (bits - 1) - 1
        low = -2 if bits == 2 else -high
        codes = self.random.integers(low, high + 1, (48, 256), "int8")
        groups = 256 // block if block else 1
        scale = np.exp(self.random.normal(size=(48, groups)) - 4)
        scale = scale.astype("float16").astype("float32")
        # XNNPACK keeps block scales as bfloat16, as tfshrink trains them.
        scale = (scale.view("uint32") & 0xFFFF0000).view("float32")
        x = self.random.normal(size=(5, 256)) * np.exp(
            self.random.normal(size=(5, 1))
        )
        x = x.astype("float32")
        graph = Graph(FlatModel(), "dense")
        weight = quantized_weight(codes, scale, bits)
        graph.output("y", graph.dense(graph.input("x", (5, 256)), weight))
        found = run(self.path, graph, x=x)["y"]
        levels = codes.reshape(48, groups, -1) * scale[..., None]
        rounded = to_numpy(quantize_activations(x)).astype("float64")
        wanted = rounded @ levels.reshape(48, 256).T
        self.assertAllClose(found, wanted, atol=1e-5 * np.abs(wanted).max())

    def test_operators_equal_numpy(self):
        graph = Graph(FlatModel(), "many")
        x = graph.input("x", (4, 6))
        graph.output("sum", graph.reduce("SUM", x))
        graph.output("mean", graph.reduce("MEAN", x))
        graph.output("soft", graph.softmax(x))
        graph.output("turned", graph.transpose(x, (1, 0)))
        graph.output("part", graph.slice(x, (1, 2), (2, -1)))
        graph.output("joined", graph.concatenate([x, x], 1))
        graph.output("low", graph.minimum(x, graph.constant(0.25)))
        graph.output("gelu", graph.gelu(x, approximate=True))
        first, second = graph.split(x, 2, 1)
        graph.output("halves", graph.subtract(first, second))
        graph.output("product", graph.matmul(x, x, transpose_b=True))
        graph.output(
            "plain", graph.dense(x, float_weight(np.eye(6, dtype="float32")))
        )
        values = self.random.normal(size=(4, 6)).astype("float32")
        found = run(self.path, graph, x=values)
        powers = np.exp(values)
        inner = np.sqrt(2 / np.pi) * (values + 0.044715 * values**3)
        wanted = {
            "sum": values.sum(1, keepdims=True),
            "mean": values.mean(1, keepdims=True),
            "soft": powers / powers.sum(1, keepdims=True),
            "turned": values.T,
            "part": values[1:3, 2:],
            "joined": np.concatenate([values, values], 1),
            "low": np.minimum(values, 0.25),
            "gelu": 0.5 * values * (1 + np.tanh(inner)),
            "halves": values[:, :3] - values[:, 3:],
            "product": values @ values.T,
            "plain": values,
        }
        self.assertAllClose(found, wanted, atol=1e-5)

    def test_rows_are_looked_up_in_every_native_type(self):
        for bits in (8, 4):
            codes = self.random.integers(-7, 8, (10, 64), "int8")
            scale = np.full((10, 1), 0.5, "float32")
            graph = Graph(FlatModel(), f"look_{bits}")
            indices = graph.input("indices", (3,), "int32")
            weight = quantized_weight(codes, scale, bits)
            graph.output("rows", graph.lookup(indices, weight))
            found = run(self.path, graph, indices=np.array([7, 0, 7], "int32"))
            self.assertAllClose(found["rows"], 0.5 * codes[[7, 0, 7]])

    def test_constants_are_stored_once(self):
        values = np.arange(5000, dtype="float32")
        model = FlatModel()
        for name in ("first", "second"):
            graph = Graph(model, name)
            x = graph.input("x", (5000,))
            graph.output("y", graph.add(x, graph.constant(values)))
        with open(self.path, "wb") as file:
            size = model.save(file)
        data = self.path.read_bytes()
        self.assertLen(data, size)
        self.assertEqual(data.count(values.tobytes()), 1)
