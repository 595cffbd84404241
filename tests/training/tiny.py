"""A small model, rows and settings that the tests of training share."""

import functools

import numpy as np

from tfshrink.data.examples import Examples
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.load import load_model
from tfshrink.plan import Plan
from tfshrink.training.settings import TrainSettings


def plans(*names):
    """Plans for the tiny model."""
    return [Plan.parse(name, layers=2, group=32) for name in names]


def model(name="tiny", *, remat=False, dtype="float32", fit=True, **structure):
    """The tiny model with scales for 8, 4 and 2 bits."""
    structure = {
        "widths": (8, 4, 2),
        "ranks": (2, 4, 4),
        "group": 32,
        **structure,
    }
    precision = PrecisionConfig(**structure)
    made = load_model(
        name, precision=precision, remat=remat, dtype=dtype, fit=False
    )
    if fit:
        for variable, value in zip(
            made.variables, _fitted(name, precision), strict=True
        ):
            variable.assign(value)
    return made


@functools.cache
def _fitted(name, precision):
    """Values of a model whose scales are fitted, which takes seconds."""
    return [
        np.array(variable)
        for variable in load_model(name, precision=precision).variables
    ]


def text(rows=8, length=16, seed=0):
    """Random rows; the second half of every other row is padding."""
    random = np.random.default_rng(seed)
    tokens = random.integers(3, 500, (rows, length)).astype("int32")
    mask = np.ones((rows, length), "float32")
    mask[:, 0] = 0
    mask[1::2, length // 2 :] = 0
    return Examples(tokens, mask)


def settings(**values):
    """Settings of a run that takes seconds."""
    return TrainSettings(
        **{
            "model": "tiny",
            "plan": "8;4;2",
            "group": 32,
            "ranks": "2,4,4",
            "bank": "none",
            "init": "mse",
            "data": "pydoc",
            "limit": 4,
            "total_steps": 4,
            "batch_size": 2,
            "context": 16,
            "dtype": "float32",
            "checkpoint_minutes": 0.0,
            "use_tensorboard": False,
            **values,
        }
    )
