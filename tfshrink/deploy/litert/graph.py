"""One graph of a LiteRT file: tensors and the operators between them."""

import numpy as np

_TYPES = {
    "bool": "BOOL",
    "float16": "FLOAT16",
    "float32": "FLOAT32",
    "int32": "INT32",
    "int64": "INT64",
    "int8": "INT8",
}


class Graph:
    """Builds a graph operator by operator.

    Each method adds one operator and returns its output, a `Tensor`. Shapes
    are static; -1 in an input's shape may be set when the graph is run.

    Args:
        model: `FlatModel` the graph belongs to; it is added to it.
        name: Key of its signature.
    """

    def __init__(self, model, name):
        self.model = model
        self.name = name
        self.tensors = []
        self.operators = []
        self.inputs = {}
        self.outputs = {}
        self._constants = {}
        model.graphs.append(self)

    def tensor(self, shape, dtype="float32", *, name=None, buffer=0):
        """Adds a tensor without an operator that makes it."""
        schema = self.model.schema
        value = schema.TensorT()
        value.shape = np.array([abs(n) for n in shape], "int32")
        value.shapeSignature = None
        if any(n < 0 for n in shape):
            value.shapeSignature = np.array(shape, "int32")
        value.type = getattr(schema.TensorType, _TYPES.get(dtype, dtype))
        value.buffer = buffer
        value.name = name or f"{self.name}_{len(self.tensors)}"
        self.tensors.append(value)
        return Tensor(len(self.tensors) - 1, tuple(map(abs, shape)), dtype)

    def input(self, name, shape, dtype="float32"):
        """Adds an input of the signature."""
        self.inputs[name] = self.tensor(shape, dtype, name=name)
        return self.inputs[name]

    def output(self, name, tensor):
        """Names an output of the signature."""
        self.outputs[name] = tensor

    def constant(self, values, dtype=None):
        """A constant tensor of an array or a number (float32)."""
        if not isinstance(values, np.ndarray):
            values = np.array(values, dtype or "float32")
        key = (values.dtype.str, values.shape, values.tobytes())
        if values.nbytes > 4096:
            key = id(values)
        if key not in self._constants:
            number = self.model.buffer(values)
            found = self.tensor(values.shape, values.dtype.name, buffer=number)
            self._constants[key] = (found, values)
        return self._constants[key][0]

    def weight(self, packed):
        """A quantized weight as a tensor.

        Args:
            packed: `PackedWeight`.
        """
        if id(packed) in self._constants:
            return self._constants[id(packed)][0]
        number = self.model.buffer(packed.codes)
        found = self.tensor(packed.shape, packed.type, buffer=number)
        if packed.block:
            self.tensors[found.index].quantization = self._blocks(packed)
        elif packed.scale is not None:
            own = self.model.channel_scales(packed.scale)
            self.tensors[found.index].quantization = own
        if packed.type == "float16":
            found = self.operator("DEQUANTIZE", [found], [packed.shape])[0]
        self._constants[id(packed)] = (found, packed)
        return found

    def _blocks(self, packed):
        """Scales of a weight with several an output: a tensor of the graph."""
        schema = self.model.schema
        details = schema.BlockwiseQuantizationT()
        details.scales = self.constant(packed.scale).index
        details.zeroPoints = -1
        details.blockSize = packed.block
        found = schema.QuantizationParametersT()
        found.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        found.details = details
        return found

    def operator(self, name, inputs, shapes, options=None, dtype="float32"):
        """Adds an operator and returns its outputs.

        Args:
            name: Builtin operator, such as `"ADD"`.
            inputs: Tensors; `None` is an optional one left out.
            shapes: Shape of each output.
            options: Pair of the name of the options' table and its fields.
            dtype: Of the outputs.
        """
        schema = self.model.schema
        outputs = [self.tensor(shape, dtype) for shape in shapes]
        value = schema.OperatorT()
        value.opcodeIndex = self.model.operator_code(name)
        value.inputs = np.array(
            [-1 if x is None else x.index for x in inputs], "int32"
        )
        value.outputs = np.array([x.index for x in outputs], "int32")
        if options is not None:
            kind, fields = options
            value.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            value.builtinOptions = getattr(schema, f"{kind}T")()
            for field, own in fields.items():
                setattr(value.builtinOptions, field, own)
        self.operators.append(value)
        return outputs

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

    def packed(self):
        """The graph as the schema has it."""
        schema = self.model.schema
        graph = schema.SubGraphT()
        graph.name = self.name
        graph.tensors = self.tensors
        graph.operators = self.operators
        graph.inputs = _indices(self.inputs)
        graph.outputs = _indices(self.outputs)
        return graph

    def signature(self, index):
        """The signature as the schema has it; `index` is the graph's own."""
        schema = self.model.schema
        found = schema.SignatureDefT()
        found.signatureKey = self.name
        found.subgraphIndex = index
        found.inputs = [_named(schema, *pair) for pair in self.inputs.items()]
        found.outputs = [_named(schema, *pair) for pair in self.outputs.items()]
        return found


class Tensor:
    """A value in a `Graph`: number, shape and type."""

    def __init__(self, index, shape, dtype):
        self.index = index
        self.shape = tuple(int(n) for n in shape)
        self.dtype = dtype


def _indices(named):
    return np.array([x.index for x in named.values()], "int32")


def _named(schema, name, tensor):
    found = schema.TensorMapT()
    found.name = name
    found.tensorIndex = tensor.index
    return found
