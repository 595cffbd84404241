"""Self-speculation: an exit drafts tokens, all blocks confirm them."""

from keras import ops

from tfshrink.errors import UserError
from tfshrink.models.segments import among
from tfshrink.models.walk import after
from tfshrink.models.walk import chosen
from tfshrink.models.walk import EMPTY
from tfshrink.models.walk import in_window
from tfshrink.models.walk import Walk


class DraftWalk(Walk):
    """Drafts at one exit while it is sure, then runs the rest on the draft.

    What comes out is what the full model makes, token by token with the same
    random numbers; a batch keeps as many as its worst sequence confirms. The
    reported depth of a token is that of the exit where the draft was right,
    and all blocks where the full model had to make it.

    Args:
        segments: `Segments` with one exit.

    Raises:
        UserError: Several exits, or a cache that cannot forget.

    Reference: Elhoushi et al., LayerSkip, 2404.16710, section 3.3.
    """

    def __init__(self, segments):
        spec = segments.spec
        if len(segments.layers) != 1:
            raise UserError(
                "`exit` missing=verify drafts behind one layer: name it, as in "
                f"{spec.confidence}:layers={segments.layers[0]}:"
                f"missing=verify. Received: {len(segments.layers)} layers"
            )
        self.segments = segments
        self.codecs = segments.codecs
        self.width = spec.pending
        self.settings = segments.settings
        self.read = segments.read
        self.chunk = segments.chunk

    @property
    def model(self):
        """The `Decoder`."""
        return self.segments.model

    @property
    def codecs(self):
        """`None`: a coded cache cannot take back what was drafted wrongly."""
        return None

    @codecs.setter
    def codecs(self, codecs):
        if codecs is not None:
            raise UserError(
                "`exit` missing=verify needs an exact K/V cache: what was "
                "drafted wrongly is taken back. Received: a coded one"
            )

    def create(self, batch, length):
        """As `FullWalk` has it; drafts write past the last token."""
        return self.segments.create(batch, length + self.width)

    def round(self, bits, pad, settings, left, state):
        """Drafts, confirms, and makes at least one token."""
        limit = ops.minimum(left, self.width)
        made, states, drafts, cache = self._draft(
            bits, pad, settings, limit, state
        )

        def rest(width):
            own, _, hidden = self.segments.run(
                1, cache, states[:, :width], state["column"], pad, bits
            )
            logits = self.model.logits(hidden, bits)
            extra = self.width - width
            logits = ops.pad(logits, [(0, 0), (0, extra), (0, 0)])
            return own["blocks"], logits

        blocks, logits = in_window(made, self.width, rest)
        cache = {**cache, "blocks": blocks}
        return self._confirm(cache, logits, drafts, made, settings, state)

    def _draft(self, bits, pad, settings, limit, state):
        """Draft tokens, until the exit is unsure of one or `limit` are read.

        Returns:
            `(made, states, drafts, cache)`: tokens read; their states behind
            the exit `(B, P, C)`; int32 `(B, P)`, what the exit says follows
            each.
        """
        segments, policy = self.segments, settings["exit"]
        config, batch = self.model.config, pad.shape[0]
        shape = (batch, self.width, config.width)

        def more(made, going, *_):
            return ops.logical_and(going, made < limit)

        def step(made, going, token, seen, done, states, drafts, cache):
            column, place = state["column"] + made, state["step"] + made
            asked = segments.at(place, policy)
            x = segments.embed(token[:, None], column, pad, bits)
            cache, own, hidden = segments.run(0, cache, x, column, pad, bits)
            states = ops.slice_update(states, (0, made, 0), own)
            leaves, propose = segments.ask(
                0,
                own[:, 0],
                x[:, 0],
                hidden[:, 0],
                segments.limits(cache, asked)[0],
                asked,
                bits,
            )
            cache["shift"] = segments.shifted(cache, leaves, policy)
            going = ops.all(ops.logical_or(leaves, done))
            now = {"seen": seen, "done": done, "step": place, "token": token}

            def draft():
                logits = among(*propose(), config.vocabulary)
                left = after(chosen(logits, now, settings), now, settings)
                return left["token"], left["seen"], left["done"]

            token, seen, done = ops.cond(
                going, draft, lambda: (token, seen, done)
            )
            drafts = ops.slice_update(drafts, (0, made), token[:, None])
            return made + 1, going, token, seen, done, states, drafts, cache

        found = ops.while_loop(
            more,
            step,
            (
                ops.zeros((), "int32"),
                ops.ones((), "bool"),
                state["token"],
                state["seen"],
                state["done"],
                ops.zeros(shape, self.model.compute_dtype),
                ops.zeros(shape[:2], "int32"),
                state["cache"],
            ),
        )
        return found[0], *found[-3:]

    def _confirm(self, cache, logits, drafts, made, settings, state):
        """Takes over drafts as far as the full model says the same."""
        layers = self.model.config.layers
        first = self.segments.layers[0]
        state = {**state, "cache": cache}

        def more(count, right, *_):
            return ops.logical_and(right, count < made)

        def step(count, right, tokens, depth, state):
            token = chosen(ops.take(logits, count, axis=1), state, settings)
            state = {
                **state,
                **after(token, state, settings),
                "column": state["column"] + 1,
                "step": state["step"] + 1,
            }
            drafted = ops.take(drafts, count, axis=1)
            same = ops.logical_and(token == drafted, count + 1 < made)
            right = ops.all(ops.logical_or(same, state["done"]))
            columns = (token, ops.where(same, first, layers))
            tokens, depth = (
                ops.slice_update(
                    whole,
                    (0, count),
                    ops.where(state["done"], EMPTY, own)[:, None],
                )
                for whole, own in zip((tokens, depth), columns, strict=True)
            )
            return count + 1, right, tokens, depth, state

        empty = ops.full(drafts.shape, EMPTY, "int32")
        count, _, tokens, depth, state = ops.while_loop(
            more,
            step,
            (
                ops.zeros((), "int32"),
                ops.ones((), "bool"),
                empty,
                empty,
                state,
            ),
        )
        return tokens, depth, count, state
