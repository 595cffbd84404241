"""The compiled half of generation: prefill, and a loop of decode steps."""

from keras import ops

from tfshrink.backend import kept_in_loop
from tfshrink.models.effective_weights import weights_in_force
from tfshrink.models.walk import EMPTY

PREFILL = 256  # tokens read at once: all scores of a long prompt are gigabytes


def prefill(walk, weights, bits, tokens, pad, cache, *, turned=False):
    """Fills the cache with the beginnings of the prompts.

    Args:
        walk: `Walk`.
        weights: Of `EffectiveWeights`.
        bits: Integer tensor `(groups,)`, or `None` when `weights` hold them.
        tokens: int32 `(B, T)`, padded on the left, T a multiple of the cache's
            `chunk` or below it.
        pad: int32 `(B,)`: leading columns that are padding.
        cache: Of the walk.
        turned: Whether the weights' kernels are, see `EffectiveWeights`.

    Returns:
        The new cache.
    """
    count = tokens.shape[1]
    chunk = min(walk.chunk(cache) or PREFILL, count)
    if count % chunk:
        chunk = count

    def run(index, cache):
        start = index * chunk
        own = ops.slice(tokens, (0, start), (tokens.shape[0], chunk))
        return index + 1, walk.read(own, cache, start, pad, bits)

    with weights_in_force(walk.model, weights, turned=turned):
        start = ops.convert_to_tensor(0, "int32")
        if chunk == count:
            return run(start, cache)[1]
        _, cache = ops.while_loop(
            lambda index, _: index < count // chunk, run, (start, cache)
        )
    return cache


def decode(
    walk,
    weights,
    bits,
    pad,
    settings,
    count,
    state,
    *,
    length,
    turned=False,
):
    """Makes new tokens, until all sequences have stopped or `count` is made.

    A cache that enters or leaves a compiled function is copied; therefore
    the loop is inside.

    Args:
        walk: As in `prefill`.
        weights: As in `prefill`.
        bits: As in `prefill`.
        pad: As in `prefill`.
        settings: Dict of tensors, see `sampling_settings`; `exit`, those of
            the walk.
        count: int32 scalar, at most `length`.
        state: Dict of tensors: `cache`; `column`, the next one to fill;
            `step`, tokens made so far; `token` `(B,)`, made but not in the
            cache yet; `seen` `(B, V)`, tokens that occurred; `done` `(B,)`.
        length: Width of the returned arrays.
        turned: As in `prefill`.

    Returns:
        `(new, depth, state)`: int32 `(B, length)`, the tokens and the blocks
        that each ran, -1 where there is none.
    """
    # A round writes all its columns; the next writes over those it left empty.
    shape = (pad.shape[0], length + walk.width - 1)
    new, depth = (ops.full(shape, EMPTY, "int32") for _ in range(2))

    def more(index, new, depth, state):
        return ops.logical_and(index < count, ~ops.all(state["done"]))

    def step(index, new, depth, state):
        own = kept_in_loop(weights, index)
        with weights_in_force(walk.model, own, turned=turned):
            *made, columns, state = walk.round(
                bits, pad, settings, count - index, state
            )
        new, depth = (
            ops.slice_update(whole, (0, index), own)
            for whole, own in zip((new, depth), made, strict=True)
        )
        return index + columns, new, depth, state

    start = ops.convert_to_tensor(0, "int32")
    _, new, depth, state = ops.while_loop(
        more, step, (start, new, depth, state)
    )
    return new[:, :length], depth[:, :length], state
