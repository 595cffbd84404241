"""The operators that graphs of decoders are made of."""

import numpy as np

from tfshrink.deploy.litert.graph_tensors import GraphTensors
from tfshrink.deploy.litert.graph_tensors import Tensor


class Graph(GraphTensors):
    """Builds a graph operator by operator.

    Each method adds one operator and returns its output, a `Tensor`.

    Args:
        model: `FlatModel` the graph belongs to; it is added to it.
        name: Key of its signature.

    Example:
        >>> graph = Graph(FlatModel(), "double")
        >>> x = graph.input("x", (4,))
        >>> graph.output("y", graph.add(x, x))
    """

    def _binary(self, name, a, b):
        shape = np.broadcast_shapes(a.shape, b.shape)
        kind = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}
        return self.operator(name, [a, b], [shape], (kind[name], {}))[0]

    def add(self, a, b):
        """Sum, broadcast."""
        return self._binary("ADD", a, b)

    def multiply(self, a, b):
        """Product element by element, broadcast."""
        return self._binary("MUL", a, b)

    def subtract(self, a, b):
        """Difference, broadcast."""
        return self._binary("SUB", a, b)

    def minimum(self, a, b):
        """The smaller of two, broadcast."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        options = ("MaximumMinimumOptions", {})
        return self.operator("MINIMUM", [a, b], [shape], options)[0]

    def maximum(self, a, b):
        """The larger of two, broadcast."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        options = ("MaximumMinimumOptions", {})
        return self.operator("MAXIMUM", [a, b], [shape], options)[0]

    def bytes_input(self, name, size, unit):
        """An input of so many bytes, as floats from 0 on.

        Args:
            name: Of the input, int8: -128 is 0.
            size: Bytes at first; it may be set anew.
            unit: What one step is.
        """
        x = self.input(name, (-size,), "int8")
        own = self.model.schema.QuantizationParametersT()
        own.scale = np.array([unit], "float32")
        own.zeroPoint = np.array([-128], "int64")
        self.tensors[x.index].quantization = own
        return self.operator("DEQUANTIZE", [x], [x.shape])[0]

    def cast(self, x):
        """Integers as floats."""
        return self.operator("CAST", [x], [x.shape], ("CastOptions", {}))[0]

    def unary(self, name, x):
        """An operator of one tensor, such as `"RSQRT"` or `"LOGISTIC"`."""
        return self.operator(name, [x], [x.shape])[0]

    def gelu(self, x, *, approximate):
        """GELU, exact or with its tanh form."""
        options = ("GeluOptions", {"approximate": approximate})
        return self.operator("GELU", [x], [x.shape], options)[0]

    def softmax(self, x):
        """Softmax over the last axis."""
        options = ("SoftmaxOptions", {"beta": 1.0})
        return self.operator("SOFTMAX", [x], [x.shape], options)[0]

    def reshape(self, x, shape):
        """The values in another shape."""
        target = self.constant(np.array(shape, "int32"))
        size = int(np.prod(x.shape))
        if -1 in shape:
            rest = -int(np.prod(shape))
            shape = tuple(size // rest if n == -1 else n for n in shape)
        options = ("ReshapeOptions", {"newShape": np.array(shape, "int32")})
        return self.operator("RESHAPE", [x, target], [shape], options, x.dtype)[
            0
        ]

    def transpose(self, x, axes):
        """The axes in another order."""
        order = self.constant(np.array(axes, "int32"))
        shape = tuple(x.shape[axis] for axis in axes)
        options = ("TransposeOptions", {})
        return self.operator("TRANSPOSE", [x, order], [shape], options)[0]

    def slice(self, x, begin, size):
        """A box of the values; a size of -1 reaches to the end."""
        own = [
            total - start if count == -1 else count
            for total, start, count in zip(x.shape, begin, size, strict=True)
        ]
        parts = [np.array(values, "int32") for values in (begin, size)]
        inputs = [x, *map(self.constant, parts)]
        options = ("SliceOptions", {})
        out = self.operator("SLICE", inputs, [tuple(own)], options, x.dtype)[0]
        # A shape that is said to be fixed may not change with the input's.
        self.tensors[out.index].shapeSignature = np.array(size, "int32")
        return out

    def split(self, x, parts, axis):
        """Equal parts along an axis."""
        shape = list(x.shape)
        shape[axis] //= parts
        place = self.constant(np.array(axis, "int32"))
        options = ("SplitOptions", {"numSplits": parts})
        return self.operator(
            "SPLIT", [place, x], [tuple(shape)] * parts, options
        )

    def concatenate(self, tensors, axis):
        """Joins tensors along an axis."""
        shape = list(tensors[0].shape)
        shape[axis] = sum(x.shape[axis] for x in tensors)
        options = ("ConcatenationOptions", {"axis": axis})
        dtype = tensors[0].dtype
        return self.operator(
            "CONCATENATION", tensors, [tuple(shape)], options, dtype
        )[0]

    def reduce(self, name, x):
        """`"SUM"`, `"MEAN"` or `"REDUCE_MAX"` over the last axis, kept."""
        axis = self.constant(np.array([len(x.shape) - 1], "int32"))
        shape = (*x.shape[:-1], 1)
        options = ("ReducerOptions", {"keepDims": True})
        return self.operator(name, [x, axis], [shape], options)[0]

    def top(self, x, count):
        """The largest along the last axis and their places, int32."""
        inputs = [x, self.constant(np.array(count, "int32"))]
        shape = (*x.shape[:-1], count)
        options = ("TopKV2Options", {})
        values, places = self.operator("TOPK_V2", inputs, [shape] * 2, options)
        own = self.tensors[places.index]
        own.type = self.model.schema.TensorType.INT32
        return values, Tensor(places.index, shape, "int32")

    def matmul(self, a, b, *, transpose_b=False):
        """Product of two batches of matrices, neither a weight."""
        columns = b.shape[-2] if transpose_b else b.shape[-1]
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*leading, a.shape[-2], columns)
        options = ("BatchMatMulOptions", {"adjY": transpose_b})
        return self.operator("BATCH_MATMUL", [a, b], [shape], options)[0]

    def dense(self, x, weight, bias=None):
        """Product with a weight `(outputs, inputs)`.

        Args:
            x: `(..., inputs)`.
            weight: `PackedWeight`; a quantized one rounds each row of `x` to
                int8 with a scale and a zero point of its own.
            bias: float32 `(outputs,)`, or `None`.
        """
        inputs = [x, self.weight(weight)]
        if bias is not None:
            inputs.append(self.constant(bias))
        shape = (*x.shape[:-1], weight.shape[0])
        quantized = weight.scale is not None
        options = (
            "FullyConnectedOptions",
            {"keepNumDims": True, "asymmetricQuantizeInputs": quantized},
        )
        return self.operator("FULLY_CONNECTED", inputs, [shape], options)[0]

    def lookup(self, indices, weight):
        """Rows of a weight, as floats.

        Args:
            indices: int32 `(N,)`.
            weight: `PackedWeight` `(V, C)`.
        """
        inputs = [indices, self.weight(weight)]
        shape = (indices.shape[0], weight.shape[1])
        return self.operator("EMBEDDING_LOOKUP", inputs, [shape])[0]

    def gather(self, table, indices):
        """Rows of a float array or tensor at int32 `(N,)`."""
        shape = (indices.shape[0], *table.shape[1:])
        if isinstance(table, np.ndarray):
            table = self.constant(table)
        inputs = [table, indices]
        options = ("GatherOptions", {"axis": 0})
        return self.operator("GATHER", inputs, [shape], options)[0]
