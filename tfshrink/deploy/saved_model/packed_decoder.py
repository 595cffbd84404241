"""A decoder over packed weights, as a TensorFlow module that can be saved."""

import functools

import tensorflow as tf

from tfshrink.deploy.saved_model.forward import forward
from tfshrink.deploy.saved_model.forward import head
from tfshrink.deploy.saved_model.packed_store import PackedStore


class PackedDecoder(tf.Module):
    """Logits, prefill and decode of one plan, or of any plan.

    Nothing is kept of unpacked weights: one token multiplies packed ones, more
    unpack a weight at a time. Activations are float.

    Args:
        frozen: `FrozenDecoder`s of one model. One is that plan alone; several
            make a module whose calls take `bits`, one a layer group: those
            at which the group was frozen may be mixed at will.

    Example:
        >>> module = PackedDecoder([freeze(model, plan)])
        >>> module.save("saved_models/four/saved_model")
    """

    def __init__(self, frozen):
        super().__init__()
        self._frozen = _Untracked(frozen[0])
        self.switchable = len(frozen) > 1
        tables = {"embedding"}
        stores = {}
        for one in frozen:
            for name, dense in one.weights().items():
                own = stores.setdefault(name, {})
                if dense.bits not in own:
                    own[dense.bits] = PackedStore(dense, int(name in tables))
        self._stores = _Untracked(stores)
        self.tracked = [x for own in stores.values() for x in own.values()]

    def weights(self, bits=None):
        """The weights in force by name: `PackedStore`s, or a choice of them."""
        names = self._frozen.value.plan.names
        groups = {name: index for index, name in enumerate(names)}
        found = {}
        for name, stores in self._stores.value.items():
            if len(stores) == 1:
                (found[name],) = stores.values()
                continue
            group = name if name in groups else name.rpartition("/")[0]
            found[name] = _Choice(stores, bits[groups[group]])
        return found

    def _logits(self, tokens, bits=None):
        decoder = self._frozen.value
        weights = self.weights(bits)
        states, _ = forward(decoder, weights, tokens)
        return {"logits": head(decoder, weights, states)}

    def _step(self, tokens, column, pad, cache, bits=None):
        """New tokens over a cache; logits of the last of them."""
        decoder = self._frozen.value
        weights = self.weights(bits)
        states, cache = forward(
            decoder, weights, tokens, column=column, pad=pad, cache=cache
        )
        logits = head(decoder, weights, states[:, -1:])
        return {"logits": logits[:, 0], "cache": cache}

    def signatures(self):
        """The functions that a SavedModel offers, by name."""
        decoder = self._frozen.value
        heads = sum(block.kv_heads for block in decoder.blocks)
        spec = functools.partial(tf.TensorSpec, dtype="int32")
        rest = [
            spec((), name="column"),
            spec((None,), name="pad"),
            tf.TensorSpec(
                (2, None, heads, None, decoder.config.head_dim),
                "float32",
                "cache",
            ),
        ]
        bits = []
        if self.switchable:
            groups = len(decoder.plan.names)
            bits = [spec((groups,), name="bits")]

        def concrete(function, *specs):
            function = tf.function(function, autograph=False)
            return function.get_concrete_function(*specs, *bits)

        many, one = (
            spec((None, None), name="tokens"),
            spec((None, 1), name="tokens"),
        )
        return {
            "serving_default": concrete(self._logits, many),
            "prefill": concrete(self._step, many, *rest),
            "decode": concrete(self._step, one, *rest),
        }

    def save(self, path):
        """Writes a SavedModel folder."""
        signatures = self.signatures()
        tf.saved_model.save(self, str(path), signatures=signatures)


class _Choice:
    """The store of one weight that belongs to the bits of a call.

    Args:
        stores: Bits to `PackedStore`.
        bits: Scalar integer tensor; what no store has is the first.
    """

    def __init__(self, stores, bits):
        self.stores = list(stores.values())
        matches = tf.equal(list(stores), bits)
        self.index = tf.argmax(matches, output_type="int32")

    def product(self, x):
        """As `PackedStore.product`."""
        return self._of_own(lambda store: store.product(x))

    def rows(self, indices):
        """As `PackedStore.rows`."""
        return self._of_own(lambda store: store.rows(indices))

    def _of_own(self, take):
        branches = [functools.partial(take, store) for store in self.stores]
        return tf.switch_case(self.index, branches)


class _Untracked:
    """Holds what TensorFlow is not to save, or not in this form."""

    def __init__(self, value):
        self.value = value
