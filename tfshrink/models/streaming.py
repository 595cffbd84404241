"""A text read through the K/V cache, as generation reads it."""

from keras import ops

from tfshrink.layers.kv_cache import KVCache

STEP = 128  # tokens of a step where the cache does not say


def streamed_hidden(model, tokens, codecs, bits=None, *, chunk=None):
    """Hidden states of a text whose older tokens are seen as coded.

    The cache is the one that generation uses; its steps are as long as they
    may be without any token seeing more than it would alone.

    Args:
        model: `Decoder`.
        tokens: Integer `(B, T)`.
        codecs: `BlockCodecs`, or `None`.
        bits: As in a call of the model.
        chunk: Tokens of a step; `None` is as many as may be.

    Returns:
        `(B, T, C)`, as `Decoder.hidden`.
    """
    batch, length = tokens.shape
    chunk = min(chunk or (codecs and codecs.chunk) or STEP, length)
    count = -(-length // chunk)
    tokens = ops.pad(tokens, [(0, 0), (0, count * chunk - length)])
    # Blocks without a codec hold the last step whole.
    store = KVCache(model.config, count * chunk, model.compute_dtype, codecs)
    pad = ops.zeros((batch,), "int32")
    shape = (batch, count * chunk, model.config.width)
    hidden = ops.zeros(shape, model.compute_dtype)

    def run(index, hidden, state):
        start = index * chunk
        own = ops.slice(tokens, (0, start), (batch, chunk))
        new, state = model.hidden_cached(own, state, start, pad, store, bits)
        return index + 1, ops.slice_update(hidden, (0, start, 0), new), state

    _, hidden, _ = ops.while_loop(
        lambda index, *_: index < count,
        run,
        (ops.convert_to_tensor(0, "int32"), hidden, store.create(batch)),
    )
    return hidden[:, :length]
