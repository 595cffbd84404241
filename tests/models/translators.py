"""Small encoder-decoders of tests."""

import dataclasses

import numpy as np

from tfshrink.data.pair_batches import source_rows
from tfshrink.decoder_config import DecoderConfig
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.encoder_decoder import EncoderDecoder
from tfshrink.models.sources.tiny import random_tensor
from tfshrink.models.sources.weight_names import weight_shapes

CONFIG = DecoderConfig(
    vocabulary=60,
    width=32,
    layers=2,
    encoder_layers=2,
    heads=4,
    kv_heads=4,
    head_dim=8,
    hidden=48,
    context=40,
    norm="layer",
    positions="sinusoidal",
    activation="relu",
    gated=False,
    attention_bias=True,
    attention_out_bias=True,
    mlp_bias=True,
    embedding_scale=6.0,
    bos=1,
    eos=(2,),
    name="translator",
)


def model(norm_first=True, exits=(), vocabulary=60, seed=0, precision=None):
    """A random `EncoderDecoder`."""
    config = dataclasses.replace(
        CONFIG, norm_first=norm_first, vocabulary=vocabulary
    )
    own = None
    if exits:
        own = ExitConfig(layers=exits, blocks=0, rank=16, candidates=8)
    made = EncoderDecoder(config, precision, exits=own, name="decoder")
    made.build()
    for variable in made.variables:
        name = variable.path.partition("/")[2]
        if name in weight_shapes(config):
            variable.assign(random_tensor(name, variable.shape, seed))
    if exits:
        made.light_head.fit(
            np.asarray(made.head_kernel()),
            np.random.default_rng(0).normal(size=(200, config.width)),
        )
    return made


def sources(rows, length):
    """Token lists as an encoder reads them."""
    return source_rows(rows, length, pad=0, end=2)
