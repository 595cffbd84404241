"""The compiled half of generation: prefill, and a loop of decode steps."""

from keras import ops

from tfshrink.models.effective_weights import weights_in_force
from tfshrink.ops.sampling import next_token

EMPTY = -1  # in place of a token behind the end of a sequence
PREFILL = 256  # tokens read at once: all scores of a long prompt are gigabytes


def prefill(model, open_cache, weights, bits, tokens, pad, cache):
    """Fills the cache with the beginnings of the prompts.

    Args:
        model: `Decoder`.
        open_cache: Function of a cache state to its `KVCache`.
        weights: Of `effective_weights`.
        bits: Integer tensor `(groups,)`, or `None` when `weights` hold them.
        tokens: int32 `(B, T)`, padded on the left, T a multiple of the cache's
            `chunk` or below it.
        pad: int32 `(B,)`: leading columns that are padding.
        cache: Cache state.

    Returns:
        The new cache state.
    """
    store = open_cache(cache)
    count = tokens.shape[1]
    chunk = min(store.chunk or PREFILL, count)
    if count % chunk:
        chunk = count

    def run(index, cache):
        start = index * chunk
        own = ops.slice(tokens, (0, start), (tokens.shape[0], chunk))
        _, cache = model.hidden_cached(own, cache, start, pad, store, bits)
        return index + 1, cache

    with weights_in_force(model, weights):
        start = ops.convert_to_tensor(0, "int32")
        if chunk == count:
            return run(start, cache)[1]
        _, cache = ops.while_loop(
            lambda index, _: index < count // chunk, run, (start, cache)
        )
    return cache


def decode(
    model, open_cache, weights, bits, pad, settings, count, state, length
):
    """Makes new tokens, until all sequences have stopped or `count` is made.

    A cache that enters or leaves a compiled function is copied; therefore
    the loop is inside.

    Args:
        model: As in `prefill`.
        open_cache: As in `prefill`.
        weights: As in `prefill`.
        bits: As in `prefill`.
        pad: As in `prefill`.
        settings: Dict of tensors, see `sampling_settings`.
        count: int32 scalar, at most `length`.
        state: Dict of tensors: `cache`; `column`, the next one to fill;
            `step`, tokens made so far; `token` `(B,)`, made but not in the
            cache yet; `seen` `(B, V)`, tokens that occurred; `done` `(B,)`.
        length: Width of the returned array.

    Returns:
        `(new, state)`: int32 `(B, length)`, -1 where there is no token.
    """
    batch = pad.shape[0]
    store = open_cache(state["cache"])
    new = ops.full((batch, length), EMPTY, "int32")

    def more(index, new, state):
        return ops.logical_and(index < count, ~ops.all(state["done"]))

    def step(index, new, state):
        state = _step(model, store, bits, pad, settings, state)
        out = ops.where(state["done"], EMPTY, state["token"])
        new = ops.slice_update(new, (0, index), out[:, None])
        return index + 1, new, state

    with weights_in_force(model, weights):
        start = ops.convert_to_tensor(0, "int32")
        _, new, state = ops.while_loop(more, step, (start, new, state))
    return new, state


def _step(model, store, bits, pad, settings, state):
    """One token for each sequence."""
    hidden, cache = model.hidden_cached(
        state["token"][:, None],
        state["cache"],
        state["column"],
        pad,
        store,
        bits,
    )
    rows = ops.arange(pad.shape[0], dtype="int32")
    token = next_token(
        model.logits(hidden[:, 0], bits),
        state["seen"],
        rows,
        state["step"],
        settings,
        state["step"] < settings["greedy_steps"],
    )
    stops = ops.any(token[:, None] == settings["stop_tokens"], axis=-1)
    places = ops.stack([rows, token], axis=-1)
    return {
        "cache": cache,
        "column": state["column"] + 1,
        "step": state["step"] + 1,
        "token": token,
        "seen": ops.scatter_update(
            state["seen"], places, ops.ones(pad.shape, "bool")
        ),
        "done": ops.logical_or(state["done"], stops),
    }
