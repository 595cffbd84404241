"""Noise on weights, tokens and activations, none of it aimed."""

import numpy as np
from keras import ops

from tfshrink.ops.noise import with_relative_noise
from tfshrink.ops.noise import with_step_noise


def _gaussian(weight, strength, random, axis):
    noise = random.standard_normal(weight.shape, "float32")
    return with_relative_noise(weight, ops.convert_to_tensor(noise), strength)


def _half_steps(weight, strength, random, axis):
    noise = random.random(weight.shape, "float32") - np.float32(0.5)
    noise = ops.convert_to_tensor(noise)
    return with_step_noise(weight, noise, strength, axis=axis)


def _dropped(random, tokens, strength, vocabulary):
    return (random.random(len(tokens)) >= strength).astype("float32")


def _substituted(random, tokens, strength, vocabulary):
    other = random.integers(vocabulary - 1, size=len(tokens))
    other = other + (other >= tokens)  # any token but the one that stood there
    chosen = random.random(len(tokens)) < strength
    return np.where(chosen, other, tokens).astype("int32")


# Of a weight, and of the tokens of one window.
ON_WEIGHTS = {"weight_noise": _gaussian, "weight_quantization": _half_steps}
ON_TOKENS = {
    "token_dropout": ("kept", _dropped),
    "token_substitution": ("inputs", _substituted),
}


def noisy_plan(forward, plan, condition, seed):
    """Weights of a plan with noise on every matrix.

    Args:
        forward: `DisturbedForward`.
        plan: `InForce`.
        condition: `Condition` on weights; others leave the plan as it is.
        seed: Of the study. Plans share what is drawn.

    Returns:
        `InForce`.
    """
    if condition.kind not in ON_WEIGHTS:
        return plan
    disturb, weights = ON_WEIGHTS[condition.kind], dict(plan.weights)
    for place, (variable, axis) in enumerate(_matrices(forward.model)):
        random = condition.random(seed, "matrix", place)
        weights[variable.path] = disturb(
            weights[variable.path], condition.strength, random, axis
        )
    return forward.with_weights(weights, plan.bits)


def noisy_inputs(condition, batch, *, seed, scale, config):
    """What `DisturbedForward.scores` is to do beside its plan.

    Args:
        condition: `Condition` of a noise; of one on weights: nothing.
        batch: `WindowBatch`.
        seed: Of the study. Plans share what is drawn.
        scale: The RMS of the embedding.
        config: `DecoderConfig`.

    Returns:
        A dict of its keyword arguments.
    """
    kind, strength = condition
    randoms = [condition.random(seed, "window", row) for row in batch.rows]
    if kind in ON_TOKENS:
        name, draw = ON_TOKENS[kind]
        drawn = [
            draw(random, tokens, strength, config.vocabulary)
            for random, tokens in zip(randoms, batch.tokens, strict=False)
        ]
        return {name: batch.filled(np.stack(drawn))}
    if kind == "random_signs":
        shape = (batch.tokens.shape[1], config.width)
        drawn = [random.random(shape) < 0.5 for random in randoms]
        signs = np.where(np.stack(drawn), 1, -1).astype("float32")
        return {"offset": batch.filled(np.float32(scale * strength) * signs)}
    if kind == "activation_quantization":
        drawn = randoms[0].integers(2**31, size=2)
        return {"noise": (strength, drawn.astype("int32"))}
    return {}


def _matrices(model):
    """Variables of the weights in force, each with its input axis."""
    layers = [x for own in model.groups().values() for x in own]
    return [
        (x.table, 1) if hasattr(x, "table") else (x.kernel, 0) for x in layers
    ]
