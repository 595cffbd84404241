"""Tiny decoders, their plans and their files, for the tests of exports."""

import pathlib

import numpy as np

from tests.training import tiny
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.litert.write import write_litert
from tfshrink.plan import Plan
from tfshrink.structure import plan_tensor

TOKENS = np.random.default_rng(1).integers(3, 500, 12).astype("int32")


def decoder(name="tiny", *, seed=0, **structure):
    """A tiny decoder with int8 inputs and adapters that do something."""
    model = tiny.model(name, **{"activations": 8, **structure})
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.endswith(("adapters/up", "norm/scale")):
            noise = random.normal(size=variable.shape)
            variable.assign(np.asarray(variable) + 0.02 * noise)
    return model


def plan_for(model, text):
    """The plan that `--plan` would be."""
    precision = model.precision
    return Plan.parse(
        text,
        layers=model.config.layers,
        tied=model.config.tied,
        group=precision.group,
        activations=precision.activations,
    )


def logits(model, plan, tokens=TOKENS):
    """What Keras says: `(T, V)`."""
    bits = plan_tensor(model.config, plan)
    return np.asarray(model(np.asarray(tokens)[None], bits))[0]


def session(folder, model, plan, **options):
    """The plan as a file in `folder`, opened."""
    path = pathlib.Path(folder, "model.tflite")
    write_litert(freeze(model, plan), path)
    return Session(path, model.config.to_json(), threads=1, **options)
