"""What a policy says along a given text, through the cache it makes itself."""

import numpy as np
from keras import ops

from tfshrink.models.generation import Generator
from tfshrink.models.walk import Walk


def needs_following(spec):
    """Whether a trace does not know what a policy does.

    Where keys and values of skipped blocks are made up, tokens behind them
    see something else than a full computation has.

    Args:
        spec: `ExitSpec`.
    """
    return spec.missing == "propagate"


def followed(own, prompts, rows, trace, spec, new):
    """Takes a policy along rows, each token behind those before it.

    Args:
        own: `OpenExits`.
        prompts: `Prompts`.
        rows: Of `trace_generated`: token lists, prompts included.
        trace: `ExitTrace` of the same rows.
        spec: `ExitSpec`, not of `missing="verify"`.
        new: Tokens that were to be made.

    Returns:
        `(exits, right)`: int32 `(N, T)`, number of the exit that each token
        took, E for none; boolean `(N, T)`, whether it is the text's next.
    """
    generator = generator_of(own, spec, new)
    generator.walk = FollowingWalk(generator.walk)
    exits = np.full(trace.made.shape, len(trace.layers), "int32")
    right = np.zeros(trace.made.shape, bool)
    places = {layer: index for index, layer in enumerate(trace.layers)}
    for index, row in enumerate(rows):
        length = prompts.lengths[index]
        text = np.array(row[length:], "int32")
        if not len(text):
            continue
        generator.walk.text = np.pad(text, (0, new - len(text)))[None]
        (said,) = generator.generate(
            [row[:length]],
            max_new_tokens=new,
            sources=prompts[index : index + 1].sources,
            temperature=0.0,
            stop_tokens=(),
        )
        own_exits = exits[index, trace.made[index]]
        depths = generator.depths[0][: len(own_exits)]
        exits[index, trace.made[index]] = [
            places.get(depth, len(trace.layers)) for depth in depths
        ]
        right[index, trace.made[index]] = said[: len(text)] == text
    return exits, right


def generator_of(own, spec, new):
    """A `Generator` of a policy that keeps its weights.

    Args:
        own: `OpenExits`.
        spec: `ExitSpec`, or `None` for all blocks.
        new: Most tokens of a call.
    """
    return Generator(
        own.model,
        bits=own.bits,
        exits=spec,
        chunk=new,
        codecs=own.codecs,
        frozen=True,
    )


class FollowingWalk(Walk):
    """Goes on with a given text, whatever the walk inside would choose.

    Args:
        walk: `Walk` with `next`.

    Attributes:
        text: int32 `(B, total)`, the tokens to go on with; to be set before
            each call of a generator.
    """

    def __init__(self, walk):
        self.walk = walk
        self.text = None

    @property
    def model(self):
        """The `Decoder`."""
        return self.walk.model

    @property
    def codecs(self):
        """`BlockCodecs` of the cache, or `None`."""
        return self.walk.codecs

    def settings(self, total):
        """Those of the walk inside, and the text."""
        return {**self.walk.settings(total), "text": self.text}

    def create(self, batch, length):
        """As the walk inside has it."""
        return self.walk.create(batch, length)

    def chunk(self, cache):
        """As the walk inside has it."""
        return self.walk.chunk(cache)

    def read(self, tokens, cache, column, pad, bits):
        """As the walk inside has it."""
        return self.walk.read(tokens, cache, column, pad, bits)

    def next(self, *arguments):
        """As the walk inside has it."""
        return self.walk.next(*arguments)

    def after(self, token, state, settings):
        """Goes on with the text, whatever was chosen."""
        text = settings["exit"]["text"]
        return {
            "token": ops.take(text, state["step"], axis=1),
            "seen": state["seen"],
            "done": state["done"],
        }
