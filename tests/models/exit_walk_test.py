import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.backend import Compiled
from tfshrink.exit_spec import ExitSpec
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.generation import Generator
from tfshrink.models.load import load_model
from tfshrink.ops import confidence

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


def generator(made, spec, **options):
    return Generator(made, exits=ExitSpec.parse(spec), **options)


class Oracle:
    """What exits do, from whole sequences: no cache, nothing skipped."""

    def __init__(self, made):
        self.model = made
        self.run = Compiled(self._run, made.variables)

    def _run(self, tokens):
        """Of each exit: states, hidden; of the model: logits."""
        found = []

        def tap(x, rotation):
            head = self.model.exit_heads[len(found)]
            hidden = self.model.for_head(head(x, rotation=rotation)[0], None)
            found.append((x, hidden, head.sure(hidden)))

        hidden = self.model.hidden(tokens, tap=tap)
        return found, self.model.logits(hidden)

    def generate(self, prompt, count, spec):
        """Tokens and depths, one at a time."""
        layers, made, depths, waiting = self.model.exits.layers, [], [], 0
        shift = 0.0
        for step in range(count):
            tokens = np.zeros((1, 64), "int32")
            tokens[0, : len(prompt) + step] = [*prompt, *made]
            found, logits = self.run(tokens)
            place = len(prompt) + step - 1
            token = to_numpy(logits)[0, place].argmax()
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
        made = self.model
        light = hidden @ to_numpy(made.light_head.down)
        light = light @ to_numpy(made.light_head.up).T
        candidates = np.argsort(-light)[: made.exits.candidates]
        logits = to_numpy(made.head_kernel())[candidates] @ hidden
        order = np.argsort(-logits)
        if spec.confidence == "classifier":
            sure = 1 / (1 + np.exp(-sure))
        elif spec.confidence == "cosine":
            earlier = to_numpy(found[index - 1][0])[0, place]
            sure = to_numpy(confidence.state_cosine(states, earlier))
        else:
            read = confidence.OF_LOGITS[spec.confidence]
            sure = to_numpy(read(ops.convert_to_tensor(logits[order])))
        return sure, candidates[order][0]


class ExitWalkTest(TestCase):
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
