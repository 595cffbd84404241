"""One graph of a LiteRT file: its tensors, constants and signature."""

import numpy as np

_TYPES = {
    "bool": "BOOL",
    "float16": "FLOAT16",
    "float32": "FLOAT32",
    "int32": "INT32",
    "int64": "INT64",
    "int8": "INT8",
}


class GraphTensors:
    """The tensors and operators of a graph, and how they are packed.

    A negative number in a shape is the size at first, which may be set anew
    when the graph is run.

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
            value.shapeSignature = np.maximum(shape, -1).astype("int32")
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
