import dataclasses

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.kv_stubs import Lossless
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.decoder import Decoder
from tfshrink.models.generation import Generator
from tfshrink.models.generation import walk_of
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.ops import confidence
from tfshrink.ops.attention import by_head

# What about half of an untrained exit's tokens exceed.
MIDDLE = {"classifier": 0.5, "cosine": 0.0, "entropy": 0.01, "margin": 0.02}
PROMPT = [8, 400, 3, 3, 17, 3, 7]
PROMPTS = ([5, 7, 9, 30], [9], PROMPT)
GREEDY = {"temperature": 0, "stop_tokens": ()}


def model(source="tiny", layers=(1,), **options):
    """A tiny model whose exits answer something of their own."""
    options = {"rank": 8, "candidates": 8, **options}
    made = load_model(source, exits=ExitConfig(layers=layers, **options))
    for seed, head in enumerate(made.exit_heads):
        randomize(head, seed, size=0.2)
    kernel = np.asarray(made.head_kernel())
    states = np.random.default_rng(0).normal(size=(200, kernel.shape[1]))
    if made.light_head is not None:
        made.light_head.fit(kernel, states)
    return made


def deeper_model():
    """Three blocks, with exits behind two of them."""
    config = dataclasses.replace(open_source("tiny").config, layers=3)
    exits = ExitConfig(layers=(1, 2), rank=8, candidates=8)
    made = Decoder(config, exits=exits, name="decoder")
    made.build()
    randomize(made, 5, size=0.2)
    return made


def lossless(made):
    codecs = [Lossless(8)] * made.config.layers
    return BlockCodecs(codecs, window=8, sinks=2, dtype="float32")


def generator(made, spec, **options):
    return Generator(made, exits=ExitSpec.parse(spec), **options)


class Oracle:
    """What exits do, from whole sequences: no cache, nothing skipped."""

    def __init__(self, made):
        self.model = made
        self.run = Compiled(self._run, made.variables)

    def _run(self, tokens):
        """Of each exit: states, hidden; of the model: logits, hidden."""
        found = []

        def tap(x, rotation):
            head = self.model.exit_heads[len(found)]
            hidden = self.model.for_head(head(x, rotation=rotation)[0], None)
            found.append((x, hidden, head.sure(hidden)))

        hidden = self.model.hidden(tokens, tap=tap)
        return found, self.model.logits(hidden), hidden

    def generate(self, prompt, count, spec):
        """Tokens and depths, one at a time."""
        layers, made, depths, waiting = self.model.exits.layers, [], [], 0
        shift = 0.0
        for step in range(count):
            tokens = np.zeros((1, 64), "int32")
            tokens[0, : len(prompt) + step] = [*prompt, *made]
            found, logits, hidden = self.run(tokens)
            place = len(prompt) + step - 1
            token = to_numpy(logits)[0, place].argmax()
            if spec.head == "light":
                token = self._candidates(to_numpy(hidden)[0, place])[0][0]
            depth = self.model.config.layers
            room = spec.missing != "lazy" or waiting + 1 < spec.pending
            for index in range(len(layers) if room else 0):
                limit = spec.thresholds[min(index, len(spec.thresholds) - 1)]
                if spec.schedule == "decay":
                    fall = np.exp(-spec.rate * step / count)
                    limit *= spec.floor + (1 - spec.floor) * fall
                limit = np.clip(limit + shift, 0, 0.9999)
                sure, proposed = self._asked(found, index, place, spec)
                if sure > limit:
                    token, depth = proposed, layers[index]
                    break
            left = depth < self.model.config.layers
            waiting = waiting + 1 if left else 0
            if spec.target is not None:
                shift += 0.05 * (left - spec.target)
            made.append(int(token))
            depths.append(depth)
        return made, depths

    def _asked(self, found, index, place, spec):
        states, hidden, sure = (to_numpy(x)[0, place] for x in found[index])
        candidates, logits = self._candidates(hidden)
        if spec.confidence == "classifier":
            sure = 1 / (1 + np.exp(-sure))
        elif spec.confidence == "cosine":
            earlier = to_numpy(found[index - 1][0])[0, place]
            sure = to_numpy(confidence.state_cosine(states, earlier))
        else:
            read = confidence.OF_LOGITS[spec.confidence]
            sure = to_numpy(read(ops.convert_to_tensor(logits)))
        return sure, candidates[0]

    def _candidates(self, hidden):
        """Tokens that the light head proposes, the likeliest first; logits."""
        made = self.model
        light = hidden @ to_numpy(made.light_head.down)
        light = light @ to_numpy(made.light_head.up).T
        candidates = np.argsort(-light)[: made.exits.candidates]
        logits = to_numpy(made.head_kernel())[candidates] @ hidden
        order = np.argsort(-logits)
        return candidates[order], logits[order]


class ExitWalkTest(TestCase):
    decodes_by_xla = True

    @parameterized.parameters(
        ("tiny", "lazy"),
        ("tiny", "propagate"),
        ("tiny", "recompute"),
        ("tiny", "verify"),
        ("tiny-gpt2", "lazy"),
    )
    def test_a_threshold_of_one_is_the_full_model(self, source, missing):
        made = model(source)
        wanted = Generator(made).generate(PROMPTS, max_new_tokens=20, **GREEDY)
        own = generator(made, f"margin:1:missing={missing}")
        found = own.generate(PROMPTS, max_new_tokens=20, **GREEDY)
        self.assertEqual(found, wanted)
        self.assertEqual(own.depths, [[2] * 20] * 3)

    @parameterized.parameters(
        "classifier:.5:pending=1",
        "classifier:.5:pending=3",
        "classifier:.5:pending=32",
        "classifier:.5:pending=3:head=light",
        "classifier:.5:missing=recompute",
        "entropy:.005:pending=4",
        "margin:.01:pending=8",
        "margin:.05:schedule=decay:floor=.1:rate=3",
        "margin:.02:schedule=dynamic:target=.5",
    )
    def test_tokens_are_those_of_whole_sequences(self, text):
        made, spec = model(), ExitSpec.parse(text)
        wanted, depths = Oracle(made).generate(PROMPT, 30, spec)
        own = generator(made, text)
        found = own.generate([PROMPT], max_new_tokens=30, **GREEDY)
        self.assertEqual(found, [wanted])
        self.assertEqual(own.depths, [depths])

    def test_each_of_several_exits_is_asked(self):
        made = deeper_model()
        spec = ExitSpec.parse("margin:.2,.1:layers=1,2:pending=4")
        wanted, depths = Oracle(made).generate(PROMPT, 30, spec)
        own = Generator(made, exits=spec)
        found = own.generate([PROMPT], max_new_tokens=30, **GREEDY)
        self.assertEqual((found, own.depths), ([wanted], [depths]))
        self.assertEqual(set(depths), {1, 2, 3})

    @parameterized.parameters(1, 3, 8)
    def test_what_an_exit_drafts_the_full_model_confirms(self, pending):
        made = model()
        own = generator(made, f"classifier:.4:missing=verify:pending={pending}")
        for options in (GREEDY, {"temperature": 0.9, "seed": 4}):
            options = {**options, "repetition_penalty": 1.1}
            for prompts in (PROMPTS, PROMPTS[-1:]):
                found = own.generate(prompts, max_new_tokens=21, **options)
                full = Generator(made, chunk=21)
                wanted = full.generate(prompts, max_new_tokens=21, **options)
                self.assertEqual(found, wanted)

    def test_a_right_draft_is_reported_with_its_depth(self):
        """The head of the full model behind a block that changes nothing."""
        made = model(blocks=0, rank=0)
        for name in ("output", "down"):
            for variable in made.blocks[1].variables:
                if f"/{name}/" in variable.path:
                    variable.assign(np.zeros(variable.shape, "float32"))
        head = made.exit_heads[0]
        for mine, theirs in zip(
            head.norm.variables, made.final_norm.variables, strict=True
        ):
            mine.assign(theirs)
        head.translate.assign(np.eye(made.config.width, dtype="float32"))
        own = generator(made, "margin:0:missing=verify:pending=4")
        own.generate([PROMPT], max_new_tokens=10, **GREEDY)
        self.assertEqual(own.depths, [[1, 1, 1, 2, 1, 1, 1, 2, 1, 2]])

    def test_propagated_keys_and_values_are_of_the_exit_state(self):
        made = model(blocks=0)
        spec = ExitSpec.parse("margin:0:missing=propagate")
        walk = walk_of(made, spec)
        pad = np.zeros(1, "int32")
        cache = walk.create(1, 16)
        tokens = np.array([PROMPT[:-1]], "int32")
        cache = walk.read(tokens, cache, 0, pad, None)
        column = len(PROMPT) - 1
        policy = walk.settings(1)
        _, depth, cache = walk.next(
            np.array(PROMPT[-1:]), cache, column, pad, None, False, 0, policy
        )
        self.assertAllEqual(to_numpy(depth), [1])
        states = []
        made.hidden(np.array([PROMPT]), tap=lambda x, _: states.append(x))
        key, value = made.blocks[1].keys_and_values(states[0])
        rotation = made.rotation(np.arange(len(PROMPT))[None])
        _, key, value = by_head(key, key, value, made.config.head_dim, rotation)
        for cached, wanted in zip(
            cache["blocks"][1], (key, value), strict=True
        ):
            wanted = to_numpy(wanted)[:, column].transpose(1, 0, 2)
            found = to_numpy(cached)[0, :, column]
            self.assertAllClose(found, wanted[:, 0], atol=1e-5)

    def test_a_coded_cache_gets_what_waited_one_by_one(self):
        made = model()
        codecs = lossless(made)
        own = generator(made, "classifier:.5:pending=4", codecs=codecs)
        exact = generator(made, "classifier:.5:pending=4")
        found = own.generate([PROMPT], max_new_tokens=20, **GREEDY)
        wanted = exact.generate([PROMPT], max_new_tokens=20, **GREEDY)
        self.assertEqual(found, wanted)
        self.assertEqual(own.depths, exact.depths)

    def test_mistakes_are_named(self):
        with self.assertRaisesRegex(UserError, "bin/train --style=early_exit"):
            generator(load_model("tiny"), "margin:.5")
        bare = model(rank=0)
        with self.assertRaisesRegex(UserError, "needs a model with a light"):
            generator(bare, "margin:.5:head=light")
        with self.assertRaisesRegex(UserError, "behind: 1. Received: 2"):
            generator(model(), "margin:.5:layers=2")
        with self.assertRaisesRegex(UserError, "between 1 and 1.*Received: 2"):
            model(layers=(2,))
        with self.assertRaisesRegex(UserError, "below the width of 64"):
            model(rank=64)
        own = generator(model(), "margin:.5:missing=verify")
        with self.assertRaisesRegex(UserError, "needs an exact K/V cache"):
            own.codecs = lossless(own.model)
