"""A LiteRT model file, put together in memory and written in one go."""

import io
import os
import struct

import numpy as np

# The last bytes of a file of ours, with its size: LiteRT checks nothing, and a
# file that was cut short brings the whole process down.
END = b"TFSHRINK"
TAIL = len(END) + 8
ALIGNMENT = 64  # bytes; what the kernels want of a weight
# The version a reader needs at least, of operators newer than 1.
VERSIONS = {"FULLY_CONNECTED": 12, "BATCH_MATMUL": 4, "EMBEDDING_LOOKUP": 4}


class FlatModel:
    """Buffers, operator codes and graphs of a LiteRT file.

    Constants lie behind the flatbuffer, each at its own offset, so that they
    are aligned, are never copied and may together exceed 2 GB. A constant
    that is handed in twice is stored once.

    Args:
        description: Kept in the file.

    Reference: The schema of LiteRT, version 3.
    """

    def __init__(self, description="tfshrink"):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.description = description
        self._attached = {}
        self.graphs = []
        self._codes = {}
        self._buffers = [None]  # the first one is empty: not a constant
        self._known = {}
        self._quantizations = {}

    def buffer(self, values):
        """Adds a constant and returns its number.

        Args:
            values: Contiguous array; its bytes are what is stored.
        """
        key = id(values)
        if key not in self._known:
            # The array is kept, so that no other takes its id.
            self._known[key] = (len(self._buffers), values)
            self._buffers.append(values)
        return self._known[key][0]

    def attach(self, name, arrays):
        """Adds arrays that the reader needs and no graph does.

        Args:
            name: What `attachment` finds them by.
            arrays: Dict of name to array.
        """
        file = io.BytesIO()
        np.savez(file, **arrays)
        data = np.frombuffer(file.getvalue(), "uint8")
        self._attached[name] = self.buffer(data)

    def channel_scales(self, scale):
        """Quantization with one scale an output, once for all graphs.

        Args:
            scale: float32 `(outputs,)`.
        """
        key = id(scale)
        if key not in self._quantizations:
            found = _shared(self.schema)()
            found.scale = scale
            found.zeroPoint = np.zeros(len(scale), "int64")
            self._quantizations[key] = found
        return self._quantizations[key]

    def operator_code(self, name):
        """Number of a builtin operator, such as `"ADD"`."""
        return self._codes.setdefault(name, len(self._codes))

    def save(self, file):
        """Writes the model into a binary file that can seek.

        Returns:
            Bytes written.
        """
        import flatbuffers

        buffers = [self.schema.BufferT() for _ in self._buffers]
        model = self._model(buffers)
        head = self._packed(flatbuffers, model)
        # Offsets take as many bytes whatever they are: the size is known now.
        end = len(head)
        for buffer, values in zip(buffers, self._buffers, strict=True):
            if values is not None:
                buffer.offset = -(-end // ALIGNMENT) * ALIGNMENT
                buffer.size = values.nbytes
                end = buffer.offset + buffer.size
        head = self._packed(flatbuffers, model)
        file.write(head)
        written = len(head)
        for buffer, values in zip(buffers, self._buffers, strict=True):
            if values is not None:
                file.write(b"\0" * (buffer.offset - written))
                file.write(np.ascontiguousarray(values).data)
                written = buffer.offset + buffer.size
        file.write(END + struct.pack("<Q", written + TAIL))
        return written + TAIL

    def _packed(self, flatbuffers, model):
        builder = flatbuffers.Builder(1 << 20)
        # Else a field of value zero is left out, and sizes differ.
        builder.ForceDefaults(True)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _model(self, buffers):
        schema = self.schema
        operators = schema.BuiltinOperator
        codes = []
        for name in self._codes:
            number = getattr(operators, name)
            code = schema.OperatorCodeT()
            code.deprecatedBuiltinCode = min(number, 127)
            code.builtinCode = number
            code.version = VERSIONS.get(name, 1)
            codes.append(code)
        model = schema.ModelT()
        model.version = 3
        model.description = self.description
        model.operatorCodes = codes
        model.buffers = buffers
        model.subgraphs = [graph.packed() for graph in self.graphs]
        model.metadata = []
        for name, buffer in self._attached.items():
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, buffer
            model.metadata.append(entry)
        model.signatureDefs = [
            graph.signature(index)
            for index, graph in enumerate(self.graphs)
            if graph.name
        ]
        return model


def is_whole(path):
    """Whether a file is one that `FlatModel` wrote, to its last byte."""
    with open(path, "rb") as file:
        begin = file.read(8)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        end = file.read(TAIL)
    return begin[4:] == b"TFL3" and end == END + struct.pack("<Q", size)


def attachment(path, name):
    """The arrays that `FlatModel.attach` put into a file, or `None`."""
    from ai_edge_litert import schema_py_generated as schema

    data = np.memmap(path, "uint8", "r")
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == name.encode():
            buffer = model.Buffers(entry.Buffer())
            start, size = buffer.Offset(), buffer.Size()
            with np.load(io.BytesIO(data[start : start + size])) as arrays:
                return dict(arrays)
    return None


def _shared(schema):
    """Quantization parameters that a file holds once for several tensors."""

    class Shared(schema.QuantizationParametersT):
        def __init__(self):
            super().__init__()
            self.packed = None

        def Pack(self, builder):
            if self.packed is None or self.packed[0] is not builder:
                self.packed = builder, super().Pack(builder)
            return self.packed[1]

    return Shared
