"""Taking tokens through a decoder's depth, one round at a time."""

from keras import ops

from tfshrink.ops.sampling import next_token

EMPTY = -1  # in place of a token behind the end of a sequence


class Walk:
    """What a generation loop knows of a model's depth.

    A subclass has `settings`, `create`, `chunk` and `read`, as `FullWalk`
    describes them, and either `next` or a `round` of its own.

    Attributes:
        width: Most tokens that a round makes.
    """

    width = 1

    def round(self, bits, pad, settings, left, state):
        """Makes the next token of each sequence.

        Args:
            bits: As `Decoder` takes them.
            pad: Integer `(B,)`: leading columns that are padding.
            settings: As `decode_loop.decode` takes them.
            left: Scalar, most tokens that are wanted.
            state: As `decode_loop.decode` describes it.

        Returns:
            `(tokens, depth, count, state)`: int32 `(B, width)` each, the
            tokens and the blocks that each ran, `EMPTY` where there is none;
            how many columns are made; the new state.
        """
        logits, depth, cache = self.next(
            state["token"],
            state["cache"],
            state["column"],
            pad,
            bits,
            state["done"],
            state["step"],
            settings["exit"],
        )
        token = chosen(logits, state, settings)
        state = {
            "cache": cache,
            "column": state["column"] + 1,
            "step": state["step"] + 1,
            **self.after(token, state, settings),
        }
        made = (ops.where(state["done"], EMPTY, x) for x in (token, depth))
        return *(x[:, None] for x in made), 1, state

    def after(self, token, state, settings):
        """What a new token leaves behind: as `after` has it."""
        return after(token, state, settings)


def in_window(count, most, run):
    """What `run` gives for at least `count` tokens: 1, 2, 4, ... or `most`.

    Args:
        count: Integer scalar, from 1 to `most`.
        most: Integer.
        run: Function of a number of tokens to tensors of one shape.
    """
    widths = [1]
    while widths[-1] < most:
        widths.append(min(2 * widths[-1], most))

    def choose(first):
        width = widths[first]
        if width == most:
            return run(width)
        return ops.cond(
            count <= width, lambda: run(width), lambda: choose(first + 1)
        )

    return choose(0)


def chosen(logits, state, settings):
    """The next token of each sequence: int32 `(B,)`.

    Args:
        logits: `(B, V)`.
        state: Dict with `seen` and `step`.
        settings: Of `prompts.sampling_settings`, tensors.
    """
    rows = ops.arange(logits.shape[0], dtype="int32")
    greedy = state["step"] < settings["greedy_steps"]
    return next_token(
        logits, state["seen"], rows, state["step"], settings, greedy
    )


def after(token, state, settings):
    """What a new token leaves behind: `token`, `seen` and `done`."""
    rows = ops.arange(token.shape[0], dtype="int32")
    stops = ops.any(token[:, None] == settings["stop_tokens"], axis=-1)
    places = ops.stack([rows, token], axis=-1)
    return {
        "token": token,
        "seen": ops.scatter_update(
            state["seen"], places, ops.ones(token.shape, "bool")
        ),
        "done": ops.logical_or(state["done"], stops),
    }
