"""How long the products of a decoded token take, measured one by one."""

import pathlib
import tempfile
import time

import numpy as np

from tfshrink.deploy.litert.containers import native_bits
from tfshrink.deploy.litert.flat_model import FlatModel
from tfshrink.deploy.litert.graph import Graph
from tfshrink.deploy.litert.packed_weight import float_weight
from tfshrink.deploy.litert.packed_weight import quantized_weight
from tfshrink.deploy.litert.session import open_litert
from tfshrink.evaluation.environment import cores
from tfshrink.evaluation.shapes import group_shapes

BYTES = 32 << 20  # of weights in one measurement: more than caches hold
COPIES = 256  # of a small weight, at most
RUNS = 15
GROUPED = 4  # from here down weights have groups of one scale


class ProductTimes:
    """Seconds that the products of a plan take for one token, on this machine.

    Every shape is measured at every width it has, as LiteRT runs it: many
    weights of one shape side by side, so that they come from memory as in a
    decoder. What plans have in common (attention, norms) does not count, nor
    do adapters.

    Args:
        config: `DecoderConfig`.
        group: Inputs per scale at 4 bits and below; 0 is per channel.
        threads: Of a call; `None` takes all cores.

    Example:
        >>> ProductTimes(config, 64).seconds(plan)
        0.0021
    """

    def __init__(self, config, group, *, threads=None):
        self.config = config
        self.group = group
        self.threads = threads or cores()
        self._known = {}

    def seconds(self, plan):
        """Seconds of a token's products under a plan."""
        whole, total = group_shapes(self.config), 0.0
        left = group_shapes(self.config, plan)
        for name, bits in plan.as_dict().items():
            if name == "embedding" and not self.config.tied:
                continue  # looked up, not multiplied
            for shape, own in zip(whole[name], left[name], strict=True):
                share = own[0] * own[1] / (shape[0] * shape[1])
                total += share * self.product(*shape, bits)
        return total

    def product(self, inputs, outputs, bits):
        """Seconds of one product of a token with a weight."""
        groups = inputs // self.group if self.group and bits <= GROUPED else 1
        key = inputs, outputs, native_bits(bits, inputs, groups), groups
        if key not in self._known:
            self._known[key] = self._measured(*key)
        return self._known[key]

    def _measured(self, inputs, outputs, bits, groups):
        count = BYTES * 8 // (inputs * outputs * bits)
        count = min(max(1, count), COPIES)
        file = FlatModel()
        graph = Graph(file, "products")
        x = graph.input("x", (1, inputs))
        total = None
        for seed in range(count):
            weight = _weight(inputs, outputs, bits, groups, seed)
            out = graph.dense(x, weight)
            total = out if total is None else graph.add(total, out)
        graph.output("y", total)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "products.tflite")
            with open(path, "wb") as target:
                file.save(target)
            return self._time(path, inputs) / count

    def _time(self, path, inputs):
        from tfshrink.quiet import closed_stderr

        with closed_stderr():
            model = open_litert(path, self.threads)
            given = model.create_input_buffers(0)
            made = model.create_output_buffers(0)
            given[0].write(np.linspace(-1, 1, inputs, dtype="float32"))
            times = []
            for _ in range(RUNS):
                start = time.perf_counter()
                model.run_by_index(0, given, made)
                times.append(time.perf_counter() - start)
            del given, made, model
        return float(np.median(times[2:]))  # the first ones pack and bind


def _weight(inputs, outputs, bits, groups, seed):
    random = np.random.default_rng(seed)
    if bits >= 16:
        values = random.normal(size=(outputs, inputs))
        return float_weight(values.astype("float32"), 32)
    high = 2 ** (bits - 1) - 1
    codes = random.integers(-high, high + 1, (outputs, inputs), dtype="int8")
    scale = np.full((outputs, groups), 0.01, "float32")
    return quantized_weight(codes, scale, bits)
