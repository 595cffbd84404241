"""The formats an export may have: how each is checked, written and run."""

import time

import numpy as np

from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.frozen_exits import freeze_exits
from tfshrink.deploy.litert.coded_cache import CodedCache
from tfshrink.deploy.litert.library import require_litert
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.litert.write import check_litert
from tfshrink.deploy.litert.write import litert_notes
from tfshrink.deploy.litert.write import write_litert
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.structure import kept_parts

TIMED = 32  # tokens that are decoded to measure a speed


class LiteRTFormat:
    """One plan as a `.tflite` file; its inputs are rounded to int8.

    Args:
        plans: `Plan`s that are asked for.
        config: `DecoderConfig` of the model.
        exits: `ExitSpec` with its layers, by which tokens of a text leave
            early; or `None`.

    Raises:
        UserError: the format cannot hold them.
    """

    file = "model.tflite"
    activations = 8

    def __init__(self, plans, config, exits=None):
        if len(plans) != 1:
            raise UserError(
                "`--plan` must be one plan for --format=litert. "
                f"Received: {len(plans)}"
            )
        check_litert(plans[0], config)
        require_litert()
        self.plans = plans
        self.exits = exits

    def write(self, model, path, codecs=None):
        """Writes the file; returns what is to be said about it.

        Args:
            model: The model, loaded.
            path: File to write.
            codecs: `BlockCodecs` of the plan's `kv`, or `None`.
        """
        frozen, cache = freeze(model, self.plans[0]), None
        if codecs is not None:
            spec = KVSpec.from_json(self.plans[0].kv)
            cache = CodedCache(spec, codecs, model.config)
        exits = None
        if self.exits is not None:
            exits = freeze_exits(model, self.plans[0], self.exits.layers)
        write_litert(frozen, path, cache, exits)
        return litert_notes(frozen)

    def run(self, model, path, tokens):
        """Runs the file over a text.

        Returns:
            `(logits, rate)`: of each token `(T, V)`, and tokens/s of decoding
            behind them.
        """
        session = Session(path, model.config.to_json())
        logits = session.score(tokens)
        session.step(tokens[0])
        room = model.config.context - len(tokens) - 1
        return logits, _rate(lambda i: session.step(tokens[0]), room)


class SavedModelFormat:
    """One plan, or several to be mixed in every call, as a SavedModel.

    Args:
        plans: As for `LiteRTFormat`.
        config: The same.
        exits: Of none (`exits_to_export`).
    """

    file = "saved_model"
    activations = 0

    def __init__(self, plans, config, exits=None):
        for plan in plans:
            for name in ("pruning", "kv", "exit"):
                if getattr(plan, name):
                    raise UserError(
                        f"`plan` {plan.name} must not set {name} for "
                        f"--format=saved_model. Received: {getattr(plan, name)}"
                    )
            if _structure(plan) != _structure(plans[0]):
                raise UserError(
                    "`--plan` must be plans that remove the same heads and "
                    "channels, for one SavedModel. "
                    f"Received: {plans[0].name} and {plan.name}"
                )
        self.plans = plans
        self.exits = exits

    def write(self, model, path, codecs=None):
        """As `LiteRTFormat.write`; no plan of it has codecs."""
        from tfshrink.deploy.saved_model.packed_decoder import PackedDecoder

        frozen = [freeze(model, plan) for plan in self.plans]
        PackedDecoder(frozen).save(path)
        if len(frozen) == 1:
            return []
        names = ", ".join(plan.name for plan in self.plans)
        return [f"takes bits, of {names}"]

    def run(self, model, path, tokens):
        """As `LiteRTFormat.run`."""
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        signatures, extra = loaded.signatures, {}
        if len(self.plans) > 1:
            extra["bits"] = tf.constant(self.plans[0].bits, "int32")
        text = tf.constant([tokens], "int32")
        logits = signatures["serving_default"](tokens=text, **extra)["logits"]
        config, count = model.config, len(tokens)
        room = min(TIMED + 1, config.context - count)
        heads = sum(kv for kv, _ in kept_parts(config, self.plans[0]))
        shape = (2, 1, heads, count + room, config.head_dim)
        extra["pad"] = tf.zeros((1,), "int32")
        state = signatures["prefill"](
            tokens=text,
            column=tf.constant(0),
            cache=tf.zeros(shape),
            **extra,
        )

        def step(index):
            signatures["decode"](
                tokens=text[:, :1],
                column=tf.constant(count + index),
                cache=state["cache"],
                **extra,
            )["logits"].numpy()

        step(0)
        return logits.numpy()[0], _rate(step, room - 1)


def _structure(plan):
    return plan.heads, plan.channels


def _rate(step, room):
    """Tokens/s of `step(index)`; `None` where there is no room to measure."""
    times = [time.perf_counter()]
    for index in range(min(TIMED, room)):
        step(index)
        times.append(time.perf_counter())
    return float(1 / np.median(np.diff(times))) if len(times) > 2 else None


FORMATS = {"litert": LiteRTFormat, "saved_model": SavedModelFormat}
