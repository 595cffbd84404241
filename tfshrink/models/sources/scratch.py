"""Models that begin as random numbers and learn all they know in a run."""

import dataclasses
import functools
import pathlib
import zlib

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import UserError
from tfshrink.files import sha256_file
from tfshrink.models.sources.source import Source
from tfshrink.models.sources.weight_names import checked
from tfshrink.models.sources.weight_names import weight_shapes

TOKENIZER = "tokenizer.json"  # in the run folder of a model from scratch
LEARNED = "checkpoints/final.safetensors"  # there, once the run is finished

_ULTRA = DecoderConfig(
    vocabulary=8000,
    width=384,
    layers=10,
    heads=12,
    kv_heads=12,
    head_dim=32,
    hidden=1536,
    context=512,
    norm="layer",
    positions="learned",
    activation="gelu_tanh",
    gated=False,
    attention_bias=True,
    attention_out_bias=True,
    mlp_bias=True,
    bos=1,
    eos=(2,),
    name="ultra",
)
_TRANSFORMER = DecoderConfig(
    vocabulary=8000,
    width=256,
    layers=6,
    encoder_layers=3,
    heads=4,
    kv_heads=4,
    head_dim=64,
    hidden=1024,
    context=129,  # a start token, and 128 more
    norm="layer",
    norm_first=False,
    positions="sinusoidal",
    activation="relu",
    gated=False,
    attention_bias=True,
    attention_out_bias=True,
    mlp_bias=True,
    embedding_scale=16.0,
    bos=1,
    eos=(2,),
    name="transformer",
)
CONFIGS = {
    # The original encoder-decoder, narrower and for short texts.
    "transformer": _TRANSFORMER,
    "transformer-pre": dataclasses.replace(
        _TRANSFORMER, norm_first=True, name="transformer-pre"
    ),
    # For tests.
    "tiny-transformer": dataclasses.replace(
        _TRANSFORMER,
        width=32,
        layers=3,
        encoder_layers=1,
        heads=2,
        kv_heads=2,
        head_dim=16,
        hidden=64,
        context=33,
        norm_first=True,
        embedding_scale=5.5,
        name="tiny-transformer",
    ),
    # The size that ToEx calls ultra: 384 wide, 10 blocks, 12 heads.
    "ultra": _ULTRA,
    # For tests.
    "tiny-ultra": dataclasses.replace(
        _ULTRA,
        width=32,
        layers=3,
        heads=2,
        kv_heads=2,
        head_dim=16,
        hidden=64,
        context=64,
        name="tiny-ultra",
    ),
}


class ScratchSource(Source):
    """A model of a named shape: as a run left it, or before any run.

    Its tokenizer is learned from a run's text and lies in the run folder, as
    do its weights once the run is finished.

    Args:
        name: Of `CONFIGS`.
        seed: Seed of the weights.

    Attributes:
        folder: Run folder with a `tokenizer.json`, or `None` before there is
            one.
    """

    scratch = True

    def __init__(self, name, *, seed=0):
        self.name = name
        self.seed = seed
        self.folder = None

    @property
    def config(self):
        """The `DecoderConfig`, with as many tokens as the tokenizer has."""
        config = CONFIGS[self.name]
        if self.folder is None:
            return config
        count = self.subwords().get_vocab_size()
        return dataclasses.replace(config, vocabulary=count)

    @property
    def identity(self):
        """Name, and what tells the weights from others: a hash, or the seed."""
        path = self._learned()
        if path is None:
            return {"name": self.name, "revision": f"seed-{self.seed}"}
        return {
            "name": self.name,
            "sha256": _digest(path, path.stat().st_mtime),
        }

    def weights(self):
        """Yields `(canonical name, float32 array)`, learned or random."""
        path, shapes = self._learned(), weight_shapes(self.config)
        if path is None:
            for name, shape in shapes.items():
                yield name, _first(name, shape, self.seed)
            return
        from tfshrink.models.checkpoint import load_tensors

        tensors, _ = load_tensors(path)
        for name, shape in shapes.items():
            if name not in tensors:
                raise UserError(
                    f"{path} must hold all weights of {self.name}. "
                    f"Missing: {name}"
                )
            yield name, checked(name, tensors[name], shape, path)

    def _learned(self):
        """The weights of a finished run, or `None`."""
        path = self.folder and pathlib.Path(self.folder) / LEARNED
        return path if path and path.exists() else None

    def subwords(self):
        """The `tokenizers.Tokenizer` of the run folder.

        Raises:
            UserError: There is no run folder yet.
        """
        from tfshrink.data.subwords import load_subwords

        if self.folder is None:
            raise UserError(
                f"--model={self.name} has no tokenizer before bin/train made "
                "one of its text: name the run with --workdir instead"
            )
        return load_subwords(str(pathlib.Path(self.folder) / TOKENIZER))

    def tokenizer(self):
        """Returns the tokenizer of the run folder."""
        from tfshrink.data.subwords import as_transformers

        return as_transformers(self.subwords(), context=self.config.context)


@functools.cache
def _digest(path, changed):
    """SHA-256 of a file that was changed at some time, read once."""
    return sha256_file(path)


def _first(name, shape, seed):
    """Kernels that keep the variance of both ends, tables of norm 1 a row.

    Reference: Glorot and Bengio 2010, equation 16.
    """
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    leaf = name.rpartition("/")[2]
    if leaf == "scale":
        return np.ones(shape, "float32")
    if leaf == "bias":
        return np.zeros(shape, "float32")
    spread = np.sqrt(2.0 / sum(shape))
    if leaf == "table":
        spread = 1.0 / np.sqrt(shape[1])
    return np.float32(spread) * random.standard_normal(shape, dtype="float32")
