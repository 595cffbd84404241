"""A coded cache does not mind in which steps it is filled."""

import hypothesis.strategies as st
import keras
import numpy as np
from hypothesis import given
from hypothesis import settings

from tests.layers.kv_stubs import Lossless
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import LLAMA
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.coded_kv import CodedKV
from tfshrink.layers.int_codec import IntCodec

LENGTH, BATCH = 12, 2
FEWER = max(1, settings().max_examples // 4)  # each takes dozens of steps


@st.composite
def caches(draw, lossless=True):
    """A cache, padding, and the steps in which it is filled."""
    config = draw(st.sampled_from((LLAMA, GPT2)))
    block = draw(st.sampled_from((2, 3, 4)))
    if lossless:
        codec = Lossless(block, rotated=draw(st.booleans()))
    else:
        codec = IntCodec(bits=draw(st.sampled_from((4, 8))), block=block)
    store = CodedKV(
        config,
        LENGTH,
        codec,
        window=block * draw(st.integers(0, 2)) + draw(st.sampled_from((0, 2))),
        sinks=draw(st.integers(0, 2)),
        dtype="float32",
    )
    pad = np.array([draw(st.integers(0, 5)) for _ in range(BATCH)], "int32")
    steps, left = [], LENGTH
    while left:
        most = min(left, store.chunk)
        if store.window < store.chunk - 1:  # what leaves is still to come
            most = min(most, store.chunk - (LENGTH - left) % store.chunk)
        steps.append(draw(st.integers(1, most)))
        left -= steps[-1]
    return store, pad, steps


def rows(config, heads, seed):
    shape = (BATCH, LENGTH, heads, config.head_dim)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def filled(store, pad, steps, attend=None):
    """The state after all steps, and what each token attended to."""
    config = store.config
    key, value = (rows(config, config.kv_heads, seed) for seed in (0, 1))
    query = rows(config, config.heads, 2)
    state, column, out = store.create(BATCH), 0, []
    for count in steps:
        own = slice(column, column + count)
        step = store.begin(column, pad, count)
        state = store.append(state, key[:, own], value[:, own], step)
        if attend:
            out.append(to_numpy(store.attend(query[:, own], state, step)))
        column += count
    return state, out


class CodedKVPropertiesTest(TestCase):
    def same_state(self, store, pad, steps, tolerance):
        one, _ = filled(store, pad, steps)
        other, _ = filled(store, pad, [1] * LENGTH)
        self.assertEqual(str(_shapes(one)), str(_shapes(other)))
        for own, again in zip(
            keras.tree.flatten(one), keras.tree.flatten(other), strict=True
        ):
            self.assertAllClose(own, again, rtol=0, atol=tolerance)

    @settings(max_examples=FEWER)
    @given(caches())
    def test_any_steps_give_the_state_of_single_tokens(self, drawn):
        self.same_state(*drawn, 1e-6)

    @settings(max_examples=FEWER)
    @given(caches(lossless=False))
    def test_so_they_do_with_codes(self, drawn):
        self.same_state(*drawn, 1e-6)

    @settings(max_examples=FEWER)
    @given(caches())
    def test_without_loss_attention_is_that_of_all_keys(self, drawn):
        """Keys come rotated and lie at their places: the scores say so."""
        store, pad, steps = drawn
        _, out = filled(store, pad, steps, attend=True)
        found = np.concatenate(
            [own.reshape(BATCH, own.shape[1], -1) for own in out], axis=1
        )
        wanted = plain_attention(store.config, pad)
        for row, first in enumerate(pad):
            self.assertAllClose(
                found[row, first:], wanted[row, first:], rtol=1e-4, atol=1e-4
            )


def plain_attention(config, pad):
    """By definition, in NumPy."""
    key, value = (rows(config, config.kv_heads, seed) for seed in (0, 1))
    query = rows(config, config.heads, 2)
    share = config.heads // config.kv_heads
    key, value = (np.repeat(x, share, axis=2) for x in (key, value))
    scores = np.einsum("bthd,bshd->bhts", query, key) / config.head_dim**0.5
    places = np.arange(LENGTH)
    seen = places[None, :, None] >= places[None, None]
    seen = seen & (places[None, None] >= pad[:, None, None])
    scores = np.where(seen[:, None], scores, -np.inf)
    with np.errstate(invalid="ignore"):  # rows of padding see nothing
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
    out = np.einsum("bhts,bshd->bthd", weights, value)
    return out.reshape(BATCH, LENGTH, -1)


def _shapes(state):
    return keras.tree.map_structure(lambda x: tuple(x.shape), state)
