"""Traces that tests make up, and one of a tiny model."""

import functools

import numpy as np

from tfshrink.data.prompts import Prompts
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.trace import ExitTrace
from tfshrink.exits.trace import trace_generated
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.load import load_model
from tfshrink.ops.confidence import CONFIDENCES
from tfshrink.training.exit_fit import start_exits

NEW = 12
PROMPTS = ([5, 7, 9, 30], [9, 40], [8, 400, 3, 3, 17, 3, 7], [77, 31, 2, 100])
COST = ExitCost(
    blocks=10,
    test=1,
    propose=2,
    head=80,
    written=0,
    depth=12,
    layers=(3, 6, 9),
)


def made_up(rows=40, length=16, seed=0, layers=(3, 6, 9), depth=12):
    """Exits, each better than the one below, sure as they are right."""
    rng = np.random.default_rng(seed)
    ease = rng.random((rows, length))
    skill = np.array([0.3, 0.5, 0.7])[: len(layers), None, None]
    chance = np.clip(skill + 0.6 * (ease - 0.5), 0.0, 1.0)
    right = rng.random(chance.shape) < chance
    nats = np.where(right, 1.0, 3.0)
    return ExitTrace(
        layers=layers,
        depth=depth,
        token=np.where(right, 0, 1).astype("int32"),
        last_token=np.zeros((rows, length), "int32"),
        light_token=(rng.random((rows, length)) < 0.02).astype("int32"),
        confidence={name: chance.astype("float32") for name in CONFIDENCES},
        nats=nats.astype("float32"),
        last_nats=np.ones((rows, length), "float32"),
        made=np.ones((rows, length), bool),
        step=np.tile(np.arange(length, dtype="int32"), (rows, 1)),
    )


@functools.cache
def of_tiny():
    """`(model, trace, rows)` along the text of a tiny model."""
    made = load_model(
        "tiny", exits=ExitConfig(layers=(1,), rank=48, candidates=8)
    )
    rng = np.random.default_rng(0)
    start_exits(made, rng.integers(3, 500, (8, 32)))
    for head in made.exit_heads:  # classifiers of mixed opinions
        head.narrow.assign(rng.normal(0, 0.3, head.narrow.shape))
        head.judge.assign(rng.normal(0, 0.3, head.judge.shape))
    made.light_head.fit(
        np.asarray(made.head_kernel()), rng.normal(size=(400, 64))
    )
    lengths = np.array([len(prompt) for prompt in PROMPTS], "int32")
    tokens = np.zeros((len(PROMPTS), lengths.max()), "int32")
    for row, prompt in zip(tokens, PROMPTS, strict=True):
        row[: len(prompt)] = prompt
    prompts = Prompts(tokens, lengths, tokens * 0 - 1, ("own",) * 4, "")
    return made, *trace_generated(made, prompts, NEW)
