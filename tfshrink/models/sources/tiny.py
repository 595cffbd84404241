"""Small random models for tests: `tiny` (Llama) and `tiny-gpt2`."""

import zlib

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.models.sources.byte_level import byte_letters
from tfshrink.models.sources.byte_level import byte_level_tokenizer
from tfshrink.models.sources.byte_level import fast_tokenizer
from tfshrink.models.sources.source import Source
from tfshrink.models.sources.weight_names import weight_shapes

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SIZES = {
    "vocabulary": 512,
    "width": 64,
    "layers": 2,
    "heads": 4,
    "head_dim": 16,
    "hidden": 128,
    "context": 512,
    "bos": 1,
    "eos": (2,),
}
_CONFIGS = {
    "tiny": DecoderConfig(**_SIZES, kv_heads=2, name="tiny"),
    "tiny-gpt2": DecoderConfig(
        **_SIZES,
        kv_heads=4,
        norm="layer",
        positions="learned",
        activation="gelu_tanh",
        gated=False,
        attention_bias=True,
        attention_out_bias=True,
        mlp_bias=True,
        name="tiny-gpt2",
    ),
}


class TinySource(Source):
    """A random model that needs no file.

    Args:
        name: `"tiny"` (Llama family, grouped-query) or `"tiny-gpt2"`.
        seed: Seed of the weights.

    Example:
        >>> dict(TinySource("tiny").weights())["embedding/table"].shape
        (512, 64)
    """

    def __init__(self, name="tiny", *, seed=0):
        self.name = name
        self.seed = seed

    @property
    def config(self):
        """The `DecoderConfig`."""
        return _CONFIGS[self.name]

    @property
    def identity(self):
        """Name, and the seed as the revision."""
        return {"name": self.name, "revision": f"seed-{self.seed}"}

    def weights(self):
        """Yields `(canonical name, float32 array)`."""
        for name, shape in weight_shapes(self.config).items():
            yield name, random_tensor(name, shape, self.seed)

    def tokenizer(self):
        """Returns a byte-level tokenizer of 512 tokens."""
        return tiny_tokenizer(self.config.context)


def random_tensor(name, shape, seed):
    """Draws one tensor; the same for a name and seed in any order.

    Kernels keep the variance of their input, norms scale by about 1, biases
    and tables are small.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = generator.standard_normal(shape, dtype=np.float32)
    leaf = name.rpartition("/")[2]
    if leaf == "scale":
        return 1 + np.float32(0.1) * values
    if leaf == "kernel":
        return values / np.float32(np.sqrt(shape[0]))
    return np.float32(0.1) * values


def tiny_tokenizer(context):
    """Builds a tokenizer of 3 special tokens, 256 bytes and 253 merges."""
    from tokenizers import AddedToken

    letters = byte_letters()
    space, newline = letters[ord(" ")], letters[ord("\n")]
    merges = [(space, chr(letter)) for letter in range(ord("a"), ord("{"))]
    frequent = "etaoinshrdlucmf"
    merges += [(left, right) for left in frequent for right in frequent]
    merges += [(space, space), (newline, newline)]
    tokens = [*_SPECIAL, *letters, *(a + b for a, b in merges)]
    tokenizer = byte_level_tokenizer(tokens, merges, split="smollm")
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in _SPECIAL]
    )
    return fast_tokenizer(
        tokenizer,
        context=context,
        chat_template=_TEMPLATE,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
