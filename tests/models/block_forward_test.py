from unittest import mock

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests import oracles
from tests.layers.layer_inputs import GPT2
from tests.layers.layer_inputs import precision
from tests.models.decoder_test import built
from tests.models.effective_weights_test import model
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tests.training import tiny
from tfshrink.models.block_forward import BlockForward
from tfshrink.models.block_forward import map_cosine
from tfshrink.models.load import load_model
from tfshrink.structure import plan_tensor

TOKENS = np.random.default_rng(0).integers(3, 500, (2, 12)).astype("int32")
PLANS = ("8", "stripe-8-2", "32", "4:heads=.5:channels=.25", "4:pruning=.3")


def tensors(own, *names):
    """Bits of plans, as `BlockForward` takes them."""
    return [plan_tensor(own.config, plan) for plan in tiny.plans(*names)]


def logits(forward, tokens, bits=None):
    """Logits, block by block."""
    x = forward.embed(tokens, bits)
    for index in range(len(forward.model.blocks)):
        x = forward.block(index, x, bits)
    head = forward.head(bits)
    return ops.cast(ops.matmul(forward.finish(x, bits), head), "float32")


def counted(forward):
    """Lets calls that compute weights be counted: a list of mocks."""
    forward._resolve = [mock.Mock(side_effect=f) for f in forward._resolve]
    forward._head = mock.Mock(side_effect=forward._head)
    return [*forward._resolve, forward._head]


def calls(counters):
    """How many weights of layer groups, and heads, were computed."""
    found = sum(one.call_count for one in counters)
    for one in counters:
        one.reset_mock()
    return found


class BlockForwardTest(TestCase):
    @parameterized.product(
        name=("tiny", "tiny-gpt2"),
        structure=(
            {"placement": "side", "bank": "codes"},
            {"placement": "inside"},
        ),
    )
    def test_logits_are_those_of_the_whole_decoder(self, name, structure):
        own = model(name, **structure)
        forward = BlockForward(own, TOKENS.shape[1])
        found = []
        for bits in tensors(own, *PLANS):
            found.append(to_numpy(logits(forward, TOKENS, bits)))
            self.assertAllClose(found[-1], own(TOKENS, bits), atol=5e-5)
        self.assertNotAllClose(found[0], found[1], atol=1e-2)
        self.assertNotAllClose(found[1], found[3], atol=1e-2)
        self.assertNotAllClose(found[3], found[4], atol=1e-2)
        self.assertAllClose(logits(forward, TOKENS), found[2], atol=5e-5)

    @parameterized.parameters(("tiny", "side"), ("tiny-gpt2", "inside"))
    def test_so_they_are_with_rounded_activations(self, name, placement):
        own = model(name, activations=8, placement=placement)
        forward = BlockForward(own, TOKENS.shape[1])
        for bits in tensors(own, "8", "4:heads=.5:channels=.25"):
            wanted = to_numpy(own(TOKENS, bits))
            # A last bit may tip a code: few tokens differ, and by little.
            found = np.abs(to_numpy(logits(forward, TOKENS, bits)) - wanted)
            self.assertLess(found.mean(), 1e-3)
        (bits,) = tensors(own, "32")
        found = logits(forward, TOKENS, bits)
        self.assertAllClose(found, own(TOKENS, bits), atol=5e-5)

    def test_a_model_without_precisions_is_run_as_it_is(self):
        own = load_model("tiny-gpt2")
        forward = BlockForward(own, TOKENS.shape[1])
        found = logits(forward, TOKENS)
        self.assertAllClose(found, own(TOKENS), atol=5e-5)

    def test_an_untied_head_has_bits_of_its_own(self):
        own = built(GPT2, precision())
        tokens = TOKENS % GPT2.vocabulary
        forward = BlockForward(own, tokens.shape[1])
        found = []
        for outer in ((8, 8), (8, 2), (4, 8), (16, 16)):
            bits = np.array([4] * 8 + [*outer], "int32")
            found.append(to_numpy(logits(forward, tokens, bits)))
            self.assertAllClose(found[-1], own(tokens, bits), atol=5e-5)
        self.assertNotAllClose(found[0], found[1], atol=1e-2)
        self.assertNotAllClose(found[0], found[2], atol=1e-2)

    def test_bfloat16_is_that_of_the_whole_decoder(self):
        own = tiny.model(dtype="bfloat16")
        forward = BlockForward(own, TOKENS.shape[1])
        (bits,) = tensors(own, "4")
        self.assertAllClose(
            logits(forward, TOKENS, bits), own(TOKENS, bits), atol=0.05
        )

    @parameterized.parameters(0, 8)
    def test_one_trace_serves_all_plans_of_a_structure(self, activations):
        own = tiny.model(activations=activations)
        forward = BlockForward(own, TOKENS.shape[1])
        maps = np.full((2, 4, 12, 12), 1 / 12, "float32")
        for bits in tensors(own, "8", "stripe-8-2", "32", "2", "4"):
            x = forward.embed(TOKENS, bits)
            for index in range(2):
                forward.block(index, x, bits)
                forward.block_and_maps(index, x, bits)
                forward.block_and_cosine(index, x, maps, bits)
        self.assertEqual(forward.traces, 3)

    def test_a_block_is_run_from_any_input(self):
        own = model("tiny")
        forward = BlockForward(own, TOKENS.shape[1])
        first, second = tensors(own, "8", "8,8,8,8,2,2,2,2")
        x = forward.block(0, forward.embed(TOKENS, first), first)
        # The second plan has the same first block.
        x = forward.block(1, x, second)
        found = ops.matmul(forward.finish(x, second), forward.head(second))
        self.assertAllClose(found, own(TOKENS, second), atol=5e-5)


class WeightsTest(TestCase):
    def test_weights_are_computed_once_for_a_bit_width(self):
        own = model("tiny")
        forward = BlockForward(own, TOKENS.shape[1])
        counters = counted(forward)
        found = []
        for bits in tensors(
            own, "8", "8", "stripe-8-2", "2", "4", "stripe-8-4"
        ):
            logits(forward, TOKENS, bits)
            found.append(calls(counters))
        # Eight layer groups, and the head; a stripe has half of each width.
        self.assertEqual(found, [9, 0, 4, 4, 8, 0])

    def test_kept_weights_stay_within_their_room(self):
        own = model("tiny")
        (bits,) = tensors(own, "8")
        # float32 bytes of a block: 64 x (64 + 32 + 32), 64 x 64, 2 x 64 x 128
        # and 128 x 64; of the head 64 x 512.
        block, head = 4 * 36_864, 4 * 32_768
        for room, wanted in (
            (2 * block + head, 0),
            (2 * block + head - 1, 9),  # what is needed next has just gone
            (0, 9),
        ):
            forward = BlockForward(own, TOKENS.shape[1], weight_bytes=room)
            counters = counted(forward)
            first = to_numpy(logits(forward, TOKENS, bits))
            self.assertEqual(calls(counters), 9)
            second = to_numpy(logits(forward, TOKENS, bits))
            self.assertEqual(calls(counters), wanted, room)
            self.assertAllEqual(first, second)
            self.assertAllClose(first, own(TOKENS, bits), atol=5e-5)

    def test_what_was_wanted_longest_ago_goes_first(self):
        own = model("tiny")
        head = 4 * 32_768
        forward = BlockForward(own, 12, weight_bytes=2 * head)
        counters = counted(forward)
        eight, four, two = (
            np.array([8] * 8 + [outer], "int32") for outer in (8, 4, 2)
        )
        found = []
        for bits in (eight, four, eight, two, eight, four):
            forward.head(bits)
            found.append(calls(counters))
        self.assertEqual(found, [1, 1, 0, 1, 0, 1])

    def test_changed_weights_are_read_once_old_ones_are_forgotten(self):
        own = model("tiny")
        (bits,) = tensors(own, "4")
        forward = BlockForward(own, TOKENS.shape[1])
        before = to_numpy(logits(forward, TOKENS, bits))
        kernel = own.blocks[1].mlp.down.kernel
        kernel.assign(2.0 * np.asarray(kernel))
        self.assertAllEqual(logits(forward, TOKENS, bits), before)
        forward.forget()
        found = logits(forward, TOKENS, bits)
        self.assertAllClose(found, own(TOKENS, bits), atol=5e-5)
        self.assertNotAllClose(found, before, atol=1e-2)


def numpy_maps(block, x, inverse):
    """Attention of a block in full precision `(B, H, T, T)`, in NumPy."""
    config, own = block.attention.config, block.attention
    scale = to_numpy(block.attention_norm.scale)
    bias = getattr(block.attention_norm, "bias", None)
    x = oracles.normalize(
        to_numpy(x),
        scale,
        None if bias is None else to_numpy(bias),
        kind=config.norm,
        epsilon=config.norm_epsilon,
    )
    query, key = (
        (x @ to_numpy(dense.kernel)).reshape(*x.shape[:2], -1, config.head_dim)
        + (
            0
            if dense.bias is None
            else to_numpy(dense.bias).reshape(-1, config.head_dim)
        )
        for dense in (own.query, own.key)
    )
    if inverse is not None:
        places = np.arange(x.shape[1])[None]
        query, key = (oracles.rotate(y, places, inverse) for y in (query, key))
    key = np.repeat(key, config.heads // config.kv_heads, axis=2)
    scores = np.einsum("bthd,bshd->bhts", query, key) / config.head_dim**0.5
    seen = np.tri(x.shape[1], dtype=bool)
    return oracles.softmax(np.where(seen, scores, -np.inf))


def numpy_cosine(a, b):
    """Cosine of all heads' attention of a token, one token at a time."""
    found = np.zeros((len(a), a.shape[2]))
    for row, place in np.ndindex(found.shape):
        x, y = a[row, :, place].ravel(), b[row, :, place].ravel()
        found[row, place] = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    return found


class AttentionMapsTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_maps_are_numpys_softmax(self, name):
        own = model(name)
        forward = BlockForward(own, TOKENS.shape[1])
        x = forward.embed(TOKENS)
        for index, block in enumerate(own.blocks):
            wanted = numpy_maps(block, x, own._inverse)
            plain = forward.block(index, x)
            x, maps = forward.block_and_maps(index, x)
            self.assertAllClose(x, plain, atol=2e-5)
            self.assertAllClose(maps, wanted, rtol=1e-4, atol=1e-5)
            self.assertAllClose(
                to_numpy(maps).sum(-1), np.ones((2, 4, 12)), atol=1e-5
            )
        self.assertIsNone(own.blocks[0].attention.tap)

    def test_maps_are_those_of_a_whole_call_at_a_plan(self):
        own = model("tiny")
        forward = BlockForward(own, TOKENS.shape[1])
        for bits in tensors(own, "stripe-8-2", "4:heads=.5"):
            seen = []
            for block in own.blocks:
                block.attention.tap = seen.append
            own(TOKENS, bits)
            for block in own.blocks:
                block.attention.tap = None
            x = forward.embed(TOKENS, bits)
            for index in range(2):
                x, maps = forward.block_and_maps(index, x, bits)
                self.assertAllClose(maps, seen[index], rtol=1e-4, atol=1e-5)

    def test_cosine_is_numpys(self):
        own = model("tiny")
        forward = BlockForward(own, TOKENS.shape[1])
        (bits,) = tensors(own, "2")
        x = forward.embed(TOKENS)
        for index in range(2):
            plain, maps = forward.block_and_maps(index, x)
            wanted, coarse = forward.block_and_maps(index, x, bits)
            found, cosine = forward.block_and_cosine(index, x, maps, bits)
            self.assertAllClose(found, wanted, atol=2e-5)
            expected = numpy_cosine(to_numpy(maps), to_numpy(coarse))
            self.assertAllClose(cosine, expected, atol=1e-5)
            self.assertLess(to_numpy(cosine).min(), 0.99)
            # A model is like itself.
            _, same = forward.block_and_cosine(index, x, maps)
            self.assertAllClose(same, np.ones((2, 12)), atol=1e-5)
            x = plain

    def test_cosine_joins_all_heads(self):
        random = np.random.default_rng(0)
        a, b = random.random((2, 3, 4, 5, 5)).astype("float32")
        self.assertAllClose(map_cosine(a, b), numpy_cosine(a, b), atol=1e-6)
        narrow = [ops.cast(x, "bfloat16") for x in (a, b)]
        found = map_cosine(*narrow)
        self.assertIn("float32", str(found.dtype))
        self.assertAllClose(found, numpy_cosine(a, b), atol=1e-2)
