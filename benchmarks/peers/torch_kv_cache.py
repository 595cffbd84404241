r"""The PyTorch peers of a quantized K/V cache: perplexity read through it.

`quanto` and `hqq` are `transformers.QuantizedCache` with its defaults (groups
of 64, 128 exact tokens); `kivi` is the recipe of arXiv:2402.02750: keys a
channel in groups of 32 tokens, values a token in groups of 32 numbers, the
last 128 tokens exact. Every row of the token file is a text of its own, read
`--chunk` tokens at a time; only positions from `--first` on count.

Run as

    python benchmarks/peers/torch_kv_cache.py \
        --weights FOLDER --tokens tokens.npy --cache quanto4
    python benchmarks/peers/torch_kv_cache.py \
        --weights FOLDER --tokens tokens.npy --cache kivi2 --context 2048

Prints one line of JSON; `kv_bytes` are those of one row's cache at its end,
scales and exact tokens included (of `kivi`, which keeps decoded numbers here,
by arithmetic).

Axes: B batch, H key/value heads, S cached tokens, D head width.
"""

import math

import torch
import torch_common
from torch.nn import functional
from transformers import cache_utils

CACHES = ("exact", "quanto4", "quanto2", "hqq4", "hqq2", "kivi4", "kivi2")
GROUP, RESIDUAL = 32, 128  # of KIVI


class KIVILayer(cache_utils.DynamicLayer):
    """Keeps decoded numbers of what KIVI would hold in integers.

    Args:
        bits: Of an integer.
    """

    def __init__(self, bits):
        super().__init__()
        self.bits = bits
        self.done = 0  # tokens that were quantized

    def update(self, key_states, value_states, *args, **kwargs):
        """Appends, and quantizes what leaves the exact tokens."""
        found = super().update(key_states, value_states, *args, **kwargs)
        while self.keys.shape[-2] - self.done >= RESIDUAL + GROUP:
            own = slice(self.done, self.done + GROUP)
            keys, values = self.keys.clone(), self.values.clone()
            keys[..., own, :] = self._rounded(keys[..., own, :], -2)
            group = min(GROUP, values.shape[-1])
            grouped = values[..., own, :].unflatten(-1, (-1, group))
            values[..., own, :] = self._rounded(grouped, -1).flatten(-2)
            self.keys, self.values = keys, values
            self.done += GROUP
        return found

    def _rounded(self, x, axis):
        low, high = x.amin(axis, True), x.amax(axis, True)
        step = ((high - low) / (2**self.bits - 1)).clamp(min=1e-8)
        return ((x - low) / step).round() * step + low

    def held_bytes(self):
        """Bytes of integers, scales and zeros in 16 bits, exact tokens."""
        numbers = self.keys[..., : self.done, :].numel()
        coded = numbers * (self.bits + 32 / GROUP) / 8
        exact = 2 * self.keys[..., self.done :, :].numel()
        return 2 * (coded + exact)


def new_cache(name, config):
    """The cache of a name in `CACHES`."""
    kind, bits = name.rstrip("24"), name[-1]
    if kind == "exact":
        return cache_utils.DynamicCache()
    if kind == "kivi":
        cache = cache_utils.DynamicCache()
        cache.layers = [
            KIVILayer(int(bits)) for _ in range(config.num_hidden_layers)
        ]
        return cache
    axis = 1 if kind == "hqq" else 0
    return cache_utils.QuantizedCache(
        kind, config, nbits=int(bits), axis_key=axis, axis_value=axis
    )


def cache_bytes(cache):
    """Bytes that a cache holds."""
    return sum(
        layer.held_bytes()
        if isinstance(layer, KIVILayer)
        else sum(map(tensor_bytes, vars(layer).values()))
        for layer in cache.layers
    )


def tensor_bytes(value):
    """Bytes of the tensors in a nest, packed ones as they are packed."""
    if isinstance(value, torch.Tensor):
        parts = [
            getattr(value, name)
            for name in ("_data", "_scale", "_shift")
            if hasattr(value, name)
        ]
        if parts:
            return sum(map(tensor_bytes, parts))
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(tensor_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(tensor_bytes, value))
    return 0


def read(model, tokens, flags):
    """Negative log-likelihoods that count, and the bytes of the cache."""
    cache = new_cache(flags.cache, model.config)
    total, length = 0.0, tokens.shape[1]
    for start in range(0, length, flags.chunk):
        own = tokens[:, start : start + flags.chunk]
        logits = model(own, past_key_values=cache, use_cache=True).logits
        places = torch.arange(start + 1, start + 1 + own.shape[1])
        counted = (places >= flags.first) & (places < length)
        if counted.any():
            labels = tokens[:, places[counted]]
            total += functional.cross_entropy(
                logits[:, counted].float().flatten(0, 1),
                labels.flatten(),
                reduction="sum",
            ).item()
    return total, cache_bytes(cache) / len(tokens)


@torch.inference_mode()
def main(flags):
    """Measures a cache and prints the figures."""
    torch_common.prepare(flags.threads)
    model = torch_common.load_model(flags.weights, flags.dtype)
    batches = torch_common.load_batches(
        flags.tokens,
        batch=flags.batch,
        context=flags.context,
        vocabulary=model.config.vocab_size,
    )[: flags.steps]
    total, seconds, held = 0.0, [], 0.0
    for batch in batches:
        (value, held), took = torch_common.timed(read, model, batch, flags)
        total += value
        seconds.append(took)
    counted = flags.context - max(flags.first, 1)
    torch_common.report(
        flags,
        seconds,
        perplexity=math.exp(total / (len(batches) * flags.batch * counted)),
        kv_bytes=held,
    )


def parse(arguments=None):
    """Reads the command line."""
    flags = torch_common.parser(__doc__, batch=1, context=2048, steps=16)
    flags.add_argument("--cache", choices=CACHES, default="exact")
    positive = torch_common.positive
    flags.add_argument("--chunk", type=positive, default=64, help="Tokens.")
    flags.add_argument("--first", type=positive, default=1024, help="Token.")
    return flags.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
