"""One sequence in a SavedModel of a decoder, run by TensorFlow."""

import numpy as np

from tfshrink.decoder_config import DecoderConfig
from tfshrink.errors import UserError
from tfshrink.structure import kept_parts

ROOM = 64  # columns that a cache grows by


class SavedModelSession:
    """Runs the signatures of `PackedDecoder` as `litert.Session` runs its.

    Args:
        path: A SavedModel folder of bin/export.
        shape: Dict of `DecoderConfig.to_json`.
        plan: `Plan` that it holds.
        bits: Bit-widths that each call takes, of one that holds several plans;
            `None` of one that holds this plan alone.

    Raises:
        UserError: TensorFlow cannot read the folder, or it holds something
            else.

    Example:
        >>> session = SavedModelSession("saved_models/4/saved_model", *own)
        >>> logits = session.prefill([1, 17, 240])
        >>> logits = session.step(int(logits.argmax()))
    """

    def __init__(self, path, shape, plan, *, bits=None):
        import tensorflow as tf

        self.shape = shape
        try:
            self._model = tf.saved_model.load(str(path))
            signatures = self._model.signatures
            names = ("serving_default", "prefill", "decode")
            self._run = {name: signatures[name] for name in names}
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise UserError(
                f"`{path}` must be a SavedModel of bin/export. Received: "
                f"{str(error).splitlines()[0]}"
            ) from error
        parts = kept_parts(DecoderConfig.from_json(shape), plan)
        self._heads = sum(heads for heads, _ in parts)
        self._more = {"pad": tf.zeros((1,), "int32")}
        self._bits = {}
        if bits is not None:
            self._bits["bits"] = tf.constant(bits, "int32")
        self.reset()

    def reset(self):
        """Forgets the sequence."""
        self.length, self._cache = 0, None

    def score(self, tokens):
        """Logits of each of the tokens of a new sequence, `(T, V)`."""
        tokens = np.asarray([tokens], "int32")
        run = self._run["serving_default"]
        return run(tokens=_tensor(tokens), **self._bits)["logits"].numpy()[0]

    def prefill(self, tokens):
        """Appends tokens; returns the logits of the last one, `(V,)`."""
        return self._append("prefill", tokens)

    def step(self, token):
        """Appends one token; returns its logits as `prefill` does."""
        return self._append("decode", [token])

    def _append(self, name, tokens):
        stop = self.length + len(tokens)
        if stop > self.shape["context"]:
            raise UserError(
                "A sequence must have at most "
                f"{self.shape['context']} tokens. Received: {stop}"
            )
        self._make_room(stop)
        found = self._run[name](
            tokens=_tensor(np.asarray([tokens], "int32")),
            column=_tensor(np.int32(self.length)),
            cache=self._cache,
            **self._more,
            **self._bits,
        )
        self._cache, self.length = found["cache"], stop
        return found["logits"].numpy()[0]

    def _make_room(self, length):
        """Makes the cache as long as a number of tokens needs."""
        import tensorflow as tf

        now = 0 if self._cache is None else self._cache.shape[3]
        if length <= now:
            return
        missing = -(-length // ROOM) * ROOM - now
        head = self.shape["head_dim"]
        new = tf.zeros((2, 1, self._heads, missing, head), "float32")
        parts = [new] if self._cache is None else [self._cache, new]
        self._cache = tf.concat(parts, axis=3)


def _tensor(value):
    import tensorflow as tf

    return tf.constant(value, "int32")
