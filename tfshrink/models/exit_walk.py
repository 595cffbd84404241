"""One token through a decoder that it may leave early."""

import dataclasses

from keras import ops

from tfshrink.exit_spec import NEVER
from tfshrink.models.segments import among
from tfshrink.models.walk import in_window
from tfshrink.models.walk import Walk


class ExitWalk(Walk):
    """Takes tokens through a decoder as far as each needs, over a cache.

    A token that leaves waits, with its state, in front of the next segment;
    when a later one goes that deep, all that wait go with it in one product
    (`missing="lazy"`): keys and values are those of a full computation. The
    cache is that of `Segments` with `waiting`, states `(B, 2 P, C)` in front
    of each segment but the first, and `whole`, the column up to which each
    of them has seen all.

    Args:
        segments: `Segments`.

    Reference: FREE, 2310.05424, section 3.1 (waiting tokens go along).
    """

    def __init__(self, segments):
        self.segments = segments
        self.spec = segments.spec
        self.settings = segments.settings
        self.chunk = segments.chunk

    @property
    def model(self):
        """The `Decoder`."""
        return self.segments.model

    @property
    def codecs(self):
        """`BlockCodecs` of the cache, or `None`; may be set before a call."""
        return self.segments.codecs

    @codecs.setter
    def codecs(self, codecs):
        self.segments.codecs = codecs

    def create(self, batch, length):
        """Returns the empty cache of `batch` sequences of `length` columns."""
        model, pending = self.model, self.spec.pending
        shape = (batch, 2 * pending, model.config.width)
        layers = self.segments.layers
        return {
            # A window of waiting tokens writes past the last of them.
            **self.segments.create(batch, length + pending),
            "waiting": [ops.zeros(shape, model.compute_dtype) for _ in layers],
            "whole": [ops.zeros((), "int32") for _ in layers],
        }

    def read(self, tokens, cache, column, pad, bits):
        """Takes the tokens of a prompt through all blocks; the new cache."""
        cache = self.segments.read(tokens, cache, column, pad, bits)
        end = ops.cast(column + tokens.shape[1], "int32")
        return {**cache, "whole": [end for _ in self.segments.layers]}

    def next(self, token, cache, column, pad, bits, done, step, policy):
        """Takes one token of each sequence as far as it needs.

        Args:
            token: int32 `(B,)`.
            cache: Of `create`, or of an earlier call.
            column: Scalar, where the token goes.
            pad: Integer `(B,)`: leading columns that are padding.
            bits: As `Decoder` takes them.
            done: Boolean `(B,)`: sequences that need nothing more.
            step: Scalar, tokens made so far.
            policy: Of `settings`, tensors.

        Returns:
            `(logits, depth, cache)`: `(B, V)`; int32 `(B,)`, the blocks that
            each ran; the new cache.
        """
        config = self.model.config
        x = self.segments.embed(token[:, None], column, pad, bits)
        policy = self.segments.at(step, policy)
        limits = self.segments.limits(cache, policy)
        walk = _Token(column, pad, bits, limits, policy)
        carry = {
            **cache,
            "logits": ops.full((token.shape[0], config.vocabulary), NEVER),
            "depth": ops.where(done, config.layers, 0),
        }
        carry, state, hidden = self.segments.run(0, carry, x, column, pad, bits)
        last = x[:, 0], state[:, 0], hidden[:, 0]
        carry = self._at_exit(0, carry, state, column, last, walk)
        logits, depth = carry.pop("logits"), carry.pop("depth")
        left = depth < config.layers
        return (
            logits,
            depth,
            {
                **carry,
                "shift": self.segments.shifted(cache, left, policy),
            },
        )

    def _at_exit(self, index, carry, states, start, last, walk):
        """Asks at an exit about the newest token; deeper where one must on.

        Args:
            index: Number of the exit.
            carry: Cache, logits and depth.
            states: `(B, T, C)` behind the exit's block, of the columns from
                `start` on.
            start: Scalar.
            last: The newest token's state at the exit before and here, and
                what the exit's head made of it.
            walk: `_Token`.
        """
        spec, (earlier, state, hidden) = self.spec, last
        waiting, whole = list(carry["waiting"]), carry["whole"]
        waiting[index] = ops.slice_update(
            waiting[index], (0, start - whole[index], 0), states
        )
        carry = {**carry, "waiting": waiting}
        leaves, propose = self.segments.ask(
            index,
            state,
            earlier,
            hidden,
            walk.limits[index],
            walk.policy,
            walk.bits,
        )
        leaves = ops.logical_and(leaves, carry["depth"] == 0)
        if spec.missing == "lazy":
            room = walk.column + 1 - whole[-1] < spec.pending
            leaves = ops.logical_and(leaves, room)
        logits = ops.cond(
            ops.any(leaves),
            lambda: among(*propose(), self.model.config.vocabulary),
            lambda: carry["logits"],
        )
        carry["logits"] = ops.where(leaves[:, None], logits, carry["logits"])
        layer = self.segments.layers[index]
        carry["depth"] = ops.where(leaves, layer, carry["depth"])

        def deeper():
            return self._deeper(index, carry, state, walk)

        if spec.missing == "recompute":
            return deeper()

        def stay():
            if spec.missing == "lazy":
                return carry
            own = self.segments.propagated(
                index, carry, state, walk.column, walk.pad, walk.bits
            )
            whole = list(carry["whole"])
            whole[index:] = [walk.column + 1] * (len(whole) - index)
            return {**own, "whole": whole}

        return ops.cond(ops.any(carry["depth"] == 0), deeper, stay)

    def _deeper(self, index, carry, earlier, walk):
        """Runs the segment behind an exit on all tokens that wait there."""
        start = carry["whole"][index]
        count = walk.column + 1 - start
        own = {name: carry[name] for name in ("blocks", "exits")}

        def window(width):
            x = carry["waiting"][index][:, :width]
            new, *states = self.segments.run(
                index + 1, own, x, start, walk.pad, walk.bits
            )
            extra = [(0, 0), (0, self.spec.pending - width), (0, 0)]
            return new, *(ops.pad(x, extra) for x in states)

        if self.spec.missing != "lazy":
            new, states, hidden = window(1)
        elif self.segments.codecs is not None:
            new, states, hidden = self._one_by_one(
                index, own, carry, start, count, walk
            )
        else:
            new, states, hidden = in_window(count, self.spec.pending, window)
        whole = list(carry["whole"])
        whole[index] = walk.column + 1
        carry = {**carry, **new, "whole": whole}
        last = [ops.take(x, count - 1, axis=1) for x in (states, hidden)]
        if index + 1 < len(self.segments.layers):
            return self._at_exit(
                index + 1, carry, states, start, (earlier, *last), walk
            )
        logits = self.segments.last_logits(last[1], walk.bits)
        full = carry["depth"] == 0
        carry["logits"] = ops.where(full[:, None], logits, carry["logits"])
        layers = self.model.config.layers
        carry["depth"] = ops.where(full, layers, carry["depth"])
        return carry

    def _one_by_one(self, index, own, carry, start, count, walk):
        """What waits, token by token: a coded cache takes no garbage."""
        width = self.model.config.width
        shape = (walk.pad.shape[0], self.spec.pending, width)
        empty = ops.zeros(shape, self.model.compute_dtype)

        def run(i, own, states, hidden):
            x = ops.slice(
                carry["waiting"][index], (0, i, 0), (shape[0], 1, width)
            )
            own, *new = self.segments.run(
                index + 1, own, x, start + i, walk.pad, walk.bits
            )
            states, hidden = (
                ops.slice_update(whole, (0, i, 0), part)
                for whole, part in zip((states, hidden), new, strict=True)
            )
            return i + 1, own, states, hidden

        found = ops.while_loop(
            lambda i, *_: i < count,
            run,
            (ops.zeros((), "int32"), own, empty, empty),
        )
        return found[1:]


@dataclasses.dataclass(frozen=True)
class _Token:
    """What stays the same while a token walks."""

    column: object
    pad: object
    bits: object
    limits: object
    policy: object
