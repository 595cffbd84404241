import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

from tests.layers.kv_stubs import Lossless
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.errors import UserError
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.kv_cache import KVCache
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.generation import Generator
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source

PROMPTS = ([5, 7, 9, 30], [9], [8, 400, 3, 3, 17, 3, 7])
FAMILIES = ("tiny", "tiny-gpt2")
GREEDY = {"temperature": 0, "stop_tokens": ()}


def precise_model(**options):
    """A switchable `tiny` whose adapters do something."""
    options = {"group": 32, "ranks": (4, 8, 16), **options}
    precision = PrecisionConfig(**options)
    model = load_model("tiny", precision=precision, fit=False)
    random = np.random.default_rng(0)
    for variable in model.variables:
        if "/adapters/up" in variable.path:
            variable.assign(random.normal(size=variable.shape, scale=0.05))
        if "scales" in variable.path:
            # Whatever fits: these are not the scales of a good model.
            variable.assign(random.uniform(-3.5, -3.0, variable.shape))
        if variable.path.endswith("/bank"):
            codes = random.integers(-1, 2, variable.shape)
            variable.assign(codes.astype("int8"))
    return model


def full_logits(model, sequences, bits=None):
    """Logits `(B, T, V)` of whole sequences, without a cache."""
    length = max(map(len, sequences))
    tokens = np.zeros((len(sequences), -(-length // 32) * 32), "int32")
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence  # what follows is not looked at
    bits = None if bits is None else np.array(bits, "int32")
    forward = Compiled(lambda x, b: model(x, bits=b), model.variables)
    return to_numpy(forward(tokens, bits))


class GenerationTest(TestCase):
    decodes_by_xla = True

    def assert_recomputed(self, model, prompts, made, bits=None, penalty=1.0):
        """Each token is the likeliest of a full forward pass."""
        whole = [p + m for p, m in zip(prompts, made, strict=True)]
        for prompt, tokens, logits in zip(
            prompts, whole, full_logits(model, whole, bits), strict=True
        ):
            for place in range(len(prompt), len(tokens)):
                row = logits[place - 1]
                seen = sorted(set(tokens[:place]))
                scale = np.where(row[seen] > 0, 1 / penalty, penalty)
                row[seen] *= scale
                self.assertGreaterEqual(row[tokens[place]], row.max() - 1e-4)

    @parameterized.parameters(*FAMILIES)
    def test_greedy_matches_full_recomputation(self, name):
        model = load_model(name)
        made = Generator(model).generate(PROMPTS, max_new_tokens=12, **GREEDY)
        self.assertEqual([len(tokens) for tokens in made], [12] * 3)
        self.assert_recomputed(model, PROMPTS, made)

    @parameterized.parameters(*FAMILIES)
    def test_cached_logits_match_full_recomputation(self, name):
        model = load_model(name)
        store = KVCache(model.config, 16)
        tokens = np.array([PROMPTS[0], [0, 0, 0, 9]], "int32")
        pad = ops.convert_to_tensor(np.array([0, 3], "int32"))
        states, column = store.create(2), 0
        context, found = [list(PROMPTS[0]), [9]], []
        for _ in range(5):
            hidden, states = model.hidden_cached(
                ops.convert_to_tensor(tokens), states, column, pad, store
            )
            found.append(to_numpy(model.logits(hidden[:, -1])))
            column += tokens.shape[1]
            tokens = found[-1].argmax(-1).astype("int32")[:, None]
            for row, token in zip(context, tokens, strict=True):
                row.append(int(token[0]))
        expected = full_logits(model, context)
        for row, start in enumerate((3, 0)):
            self.assertAllClose(
                np.stack(found)[:, row],
                expected[row, start : start + 5],
                rtol=0,
                atol=1e-4,
            )

    @parameterized.parameters(*FAMILIES)
    def test_a_batch_equals_each_prompt_alone(self, name):
        generator = Generator(load_model(name))
        together = generator.generate(PROMPTS, max_new_tokens=9, **GREEDY)
        for prompt, tokens in zip(PROMPTS, together, strict=True):
            alone = generator.generate([prompt], max_new_tokens=9, **GREEDY)
            self.assertEqual(alone, [tokens])

    @parameterized.parameters(*FAMILIES)
    def test_in_bfloat16_one_prompt_is_as_right_as_several(self, name):
        model = load_model(name, dtype="bfloat16")
        generator = Generator(model)
        for prompts in (PROMPTS, PROMPTS[2:]):
            (*_, made) = generator.generate(
                prompts, max_new_tokens=12, **GREEDY
            )
            (logits,) = full_logits(model, [PROMPTS[2] + made])
            for place, token in enumerate(made, len(PROMPTS[2]) - 1):
                # Two likeliest may change places by rounding.
                self.assertGreater(
                    logits[place, token], logits[place].max() - 0.05
                )

    @parameterized.parameters(
        {}, {"placement": "inside"}, {"bank": "codes"}, {"activations": 8}
    )
    def test_a_plan_matches_full_recomputation(self, **options):
        model = precise_model(**options)
        generator = Generator(model, bits=(4,) * 9)
        made = generator.generate(PROMPTS, max_new_tokens=6, **GREEDY)
        self.assert_recomputed(model, PROMPTS, made, generator.bits)
        generator.bits = (2, 8, 3, 4, 4, 2, 16, 5, 8)
        mixed = generator.generate(PROMPTS, max_new_tokens=6, **GREEDY)
        self.assert_recomputed(model, PROMPTS, mixed, generator.bits)
        self.assertNotEqual(made, mixed)
        alone = generator.generate(PROMPTS[2:], max_new_tokens=6, **GREEDY)
        self.assert_recomputed(model, PROMPTS[2:], alone, generator.bits)

    def test_weights_are_read_anew(self):
        model = load_model("tiny")
        generator = Generator(model)
        generator.generate(PROMPTS, max_new_tokens=4, **GREEDY)
        for variable in model.trainable_variables:
            variable.assign(ops.flip(variable.value, axis=0))
        made = generator.generate(PROMPTS, max_new_tokens=4, **GREEDY)
        self.assert_recomputed(model, PROMPTS, made)

    def test_frozen_weights_are_read_once_for_the_same_bits(self):
        model = precise_model()
        generator = Generator(model, bits=(4,) * 9, frozen=True)
        first = generator.generate(PROMPTS, max_new_tokens=6, **GREEDY)
        for variable in model.blocks[0].trainable_variables:
            if variable.path.endswith("/kernel"):
                variable.assign(ops.flip(variable.value, axis=0))
        again = generator.generate(PROMPTS, max_new_tokens=6, **GREEDY)
        self.assertEqual(again, first)
        generator.bits = (8,) * 9
        made = generator.generate(PROMPTS, max_new_tokens=6, **GREEDY)
        self.assert_recomputed(model, PROMPTS, made, generator.bits)

    def test_one_trace_serves_all_settings(self):
        generator = Generator(precise_model(), bits=(4,) * 9, chunk=8)
        random = np.random.default_rng(0)
        for call, bits in enumerate((4, 8, 2, 16, 3, 5)):
            generator.bits = (bits,) * 9
            lengths = random.integers(1, 16, 2)
            generator.generate(
                [random.integers(3, 512, 1 + n).tolist() for n in lengths],
                max_new_tokens=4 + 3 * call,
                temperature=0.5 * call,
                top_k=7 * call,
                top_p=1 - 0.1 * call,
                repetition_penalty=1 + 0.1 * call,
                greedy_prefix=call,
                seed=call,
                stop_tokens=range(call),
            )
        (programs,) = generator.compiled.values()
        traces = [
            compiled.traces
            for compiled in (
                programs.prepare,
                programs.prefill,
                programs.decode,
            )
        ]
        self.assertEqual(traces, [1, 1, 1])

    @parameterized.parameters(("tiny", False), ("tiny-gpt2", True))
    def test_a_coded_cache_without_loss_changes_nothing(self, name, alone):
        model = load_model(name)
        layers = [Lossless(8), None if alone else Lossless(8, rotated=True)]
        codecs = BlockCodecs(layers, window=16, sinks=2, dtype="float32")
        random = np.random.default_rng(0)
        prompts = [*PROMPTS, random.integers(3, 512, 70).tolist()]
        for own in (prompts, prompts[1:2]):
            expected, found = (
                Generator(model, codecs=kind).generate(
                    own, max_new_tokens=40, **GREEDY
                )
                for kind in (None, codecs)
            )
            self.assertEqual(found, expected)

    def test_streaming_equals_the_batch(self):
        generator = Generator(load_model("tiny"))
        settings = {
            "max_new_tokens": 30,
            "temperature": 0.9,
            "top_k": 50,
            "top_p": 0.95,
            "repetition_penalty": 1.2,
            "seed": 4,
        }
        for prompt in PROMPTS:
            expected = generator.generate([prompt], **settings)
            found = list(generator.stream(prompt, **settings))
            self.assertEqual([found], expected)

    def test_streamed_text_equals_decoding_at_once(self):
        tokenizer = open_source("tiny").tokenizer()
        generator = Generator(load_model("tiny"), tokenizer)
        settings = {"max_new_tokens": 60, "seed": 3, "stop_tokens": ()}
        prompt = tokenizer("one two")["input_ids"]
        expected = tokenizer.decode(
            generator.generate([prompt], **settings)[0],
            skip_special_tokens=True,
        )
        pieces = list(generator.stream_text("one two", **settings))
        self.assertEqual("".join(pieces), expected)
        self.assertGreater(len(pieces), 10)
        middle = len(expected) // 2
        stop = expected[middle : middle + 5]
        stopped = generator.stream_text(
            "one two", stop_strings=[stop], **settings
        )
        self.assertEqual("".join(stopped), expected.partition(stop)[0])

    def test_stop_tokens_end_a_row_and_are_left_out(self):
        generator = Generator(load_model("tiny"), chunk=4)
        settings = {"max_new_tokens": 24, "temperature": 0}
        free = generator.generate(PROMPTS, stop_tokens=(), **settings)
        stops = [free[0][5], free[1][11]]
        stopped = generator.generate(PROMPTS, stop_tokens=stops, **settings)
        for tokens, shorter in zip(free, stopped, strict=True):
            ends = [tokens.index(stop) for stop in stops if stop in tokens]
            self.assertEqual(shorter, tokens[: min(ends, default=24)])
        self.assertLess(len(stopped[0]), 6)

    def test_the_models_own_stop_token_is_the_default(self):
        generator = Generator(load_model("tiny"))
        settings = {"max_new_tokens": 100, "temperature": 3.0}
        prompts = [[token] for token in range(8)]
        free = generator.generate(prompts, stop_tokens=(), **settings)
        self.assertTrue(any(2 in tokens for tokens in free))
        for tokens, shorter in zip(
            free, generator.generate(prompts, **settings), strict=True
        ):
            end = tokens.index(2) if 2 in tokens else 100
            self.assertEqual(shorter, tokens[:end])

    def test_a_seed_repeats_itself_whatever_the_chunk(self):
        model = load_model("tiny")
        settings = {"max_new_tokens": 20, "stop_tokens": ()}
        generator = Generator(model)
        first = generator.generate(PROMPTS, seed=1, **settings)
        self.assertEqual(
            Generator(model, chunk=7).generate(PROMPTS, seed=1, **settings),
            first,
        )
        for seed in (0, 2, 2**32 + 1):
            self.assertNotEqual(
                generator.generate(PROMPTS, seed=seed, **settings), first
            )

    def test_equal_prompts_get_different_continuations(self):
        made = Generator(load_model("tiny")).generate(
            [[5, 6]] * 4, max_new_tokens=10, stop_tokens=()
        )
        self.assertEqual(len(set(map(tuple, made))), 4)

    def test_a_greedy_prefix_comes_before_sampling(self):
        generator = Generator(load_model("tiny"))
        settings = {"max_new_tokens": 12, "stop_tokens": ()}
        greedy = generator.generate(PROMPTS, temperature=0, **settings)
        mixed = generator.generate(
            PROMPTS, temperature=2.0, greedy_prefix=5, **settings
        )
        for expected, tokens in zip(greedy, mixed, strict=True):
            self.assertEqual(tokens[:5], expected[:5])
            self.assertNotEqual(tokens[5:], expected[5:])

    def test_repetition_penalty_counts_prompt_and_new_tokens(self):
        model = load_model("tiny")
        made = Generator(model).generate(
            PROMPTS, max_new_tokens=10, repetition_penalty=1.5, **GREEDY
        )
        self.assert_recomputed(model, PROMPTS, made, penalty=1.5)

    def test_the_context_can_be_filled_to_the_last_token(self):
        for name in FAMILIES:
            made = Generator(load_model(name)).generate(
                [[5] * 500, [7]], max_new_tokens=12, **GREEDY
            )
            self.assertEqual([len(tokens) for tokens in made], [12, 12])

    @parameterized.parameters(
        ({"prompts": []}, "`prompts`.*at least one prompt"),
        ({"prompts": [[5], []]}, r"`prompts\[1\]`.*at least one token"),
        ({"prompts": [[5, 512]]}, "from 0 to 511. Received: 512"),
        ({"prompts": [[-3]]}, "from 0 to 511. Received: -3"),
        (
            {"prompts": [[5] * 500], "max_new_tokens": 13},
            "500 tokens.*`max_new_tokens` of 13.*context of 512.*: 513",
        ),
        ({"max_new_tokens": 0}, "`max_new_tokens`.*at least 1"),
        ({"temperature": -0.1}, "`temperature`.*-0.1"),
        ({"top_k": -1}, "`top_k`.*-1"),
        ({"top_p": 0.0}, "`top_p`.*above 0"),
        ({"top_p": 1.1}, "`top_p`.*1.1"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty`.*above 0"),
        ({"greedy_prefix": -1}, "`greedy_prefix`"),
        ({"seed": -1}, "`seed`.*-1"),
    )
    def test_mistakes_are_named(self, settings, message):
        generator = Generator(load_model("tiny"))
        settings = {"prompts": [[5]], "max_new_tokens": 4, **settings}
        with self.assertRaisesRegex(UserError, message):
            generator.generate(**settings)

    def test_a_cache_may_be_just_as_long_as_it_must(self):
        model = load_model("tiny")
        prompt = [list(range(5, 45))]
        settings = {"max_new_tokens": 8, "temperature": 0.0}
        roomy = Generator(model).generate(prompt, **settings)
        tight = Generator(model, cache_length=47)
        self.assertEqual(tight.generate(prompt, **settings), roomy)

    def test_bits_and_cache_that_do_not_fit_are_named(self):
        settings = {"prompts": [[5]], "max_new_tokens": 65}
        generator = Generator(load_model("tiny"), bits=(4,) * 9)
        with self.assertRaisesRegex(UserError, "`bits`.* 0 .*Received: 9"):
            generator.generate(**settings)
        generator = Generator(precise_model(), bits=(4,) * 8)
        with self.assertRaisesRegex(UserError, "`bits`.* 9 .*Received: 8"):
            generator.generate(**settings)
        generator = Generator(load_model("tiny"), cache_length=64)
        with self.assertRaisesRegex(UserError, "`cache_length`.*65.*: 64"):
            generator.generate(**settings)
        with self.assertRaisesRegex(UserError, "`tokenizer`"):
            next(generator.stream_text("a", max_new_tokens=4))

    @pytest.mark.smollm2
    def test_smollm2_matches_full_recomputation(self):
        source = open_source("smollm2-135m")
        model = load_model(source)
        tokenizer = source.tokenizer()
        prompts = [
            tokenizer(text)["input_ids"]
            for text in ("The capital of France is", "def add(a, b):")
        ]
        made = Generator(model).generate(prompts, max_new_tokens=6, **GREEDY)
        self.assert_recomputed(model, prompts, made)
        self.assertIn("Paris", tokenizer.decode(made[0]))
