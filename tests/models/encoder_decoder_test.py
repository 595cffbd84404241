import itertools

import numpy as np
from absl.testing import parameterized

from tests.layers.layer_inputs import randomize
from tests.models import translators
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.beam_search import BeamSearch
from tfshrink.models.encoder_decoder import EncoderDecoder
from tfshrink.models.generation import Generator
from tfshrink.models.load import _canonical
from tfshrink.models.load import fit_scales
from tfshrink.models.sources.weight_names import weight_shapes
from tfshrink.plan import Plan

GREEDY = {"temperature": 0.0, "stop_tokens": ()}
SOURCES = translators.sources([[9, 4, 33, 21], [7, 8]], 6)


def greedy_without_cache(model, sources, count):
    """What the last layer says, all of it computed anew for each token."""
    rows = [[model.config.bos] for _ in sources["source"]]
    for _ in range(count):
        logits = np.asarray(model(np.array(rows), **sources))[:, -1]
        rows = [
            [*row, int(token)]
            for row, token in zip(rows, logits.argmax(-1), strict=True)
        ]
    return [row[1:] for row in rows]


class EncoderDecoderTest(TestCase):
    @parameterized.parameters(True, False)
    def test_weights_have_canonical_names(self, norm_first):
        model = translators.model(norm_first)
        found = {_canonical(v.path): tuple(v.shape) for v in model.variables}
        self.assertEqual(found, weight_shapes(model.config))

    @parameterized.parameters(True, False)
    def test_padding_of_a_source_is_not_seen_and_the_rest_is(self, norm_first):
        model = translators.model(norm_first)
        tokens = np.array([[1, 5, 9], [1, 8, 3]])
        logits = np.asarray(model(tokens, **SOURCES))
        other = {**SOURCES, "source": SOURCES["source"].copy()}
        other["source"][1, 4:] = 17  # behind the end
        self.assertAllEqual(model(tokens, **other), logits)
        other["source"][1, 0] = 17
        changed = np.asarray(model(tokens, **other))
        self.assertAllEqual(changed[0], logits[0])
        self.assertGreater(np.abs(changed[1] - logits[1]).min(axis=-1).max(), 0)

    @parameterized.parameters(True, False)
    def test_later_targets_are_not_seen(self, norm_first):
        model = translators.model(norm_first)
        tokens = np.array([[1, 5, 9], [1, 8, 3]])
        logits = np.asarray(model(tokens, **SOURCES))
        tokens[:, 2] = 40
        changed = np.asarray(model(tokens, **SOURCES))
        self.assertAllClose(changed[:, :2], logits[:, :2], atol=1e-6)

    def test_a_bitmap_reaches_keys_and_values_of_the_source(self):
        model = EncoderDecoder(
            translators.CONFIG,
            PrecisionConfig(widths=(4,), group=0, ranks=(), bank="none"),
        )
        model.build()
        for block in model.blocks:
            randomize(block.cross)
        fit_scales(model, (4,))
        tokens = np.array([[1, 5, 9], [1, 8, 3]])
        bits = np.array(Plan.parse("4", layers=2).bits)
        want = model(tokens, bits, **SOURCES)
        model.set_bitmap(4)
        self.assertAllClose(model(tokens, **SOURCES), want, atol=1e-6)

    def test_the_encoder_sees_its_source_both_ways(self):
        model = translators.model(True)
        mask = SOURCES["source_mask"]
        states = np.asarray(model.encode(SOURCES["source"], mask))
        other = SOURCES["source"].copy()
        other[0, 3] = 40
        changed = np.asarray(model.encode(other, mask))
        self.assertGreater(np.abs(changed[0, 0] - states[0, 0]).max(), 1e-6)

    @parameterized.product(
        norm_first=(True, False),
        exit=("margin:1", "margin:1:missing=verify", "margin:0:missing=verify"),
    )
    def test_text_is_that_without_a_cache(self, norm_first, exit):
        model = translators.model(norm_first, exits=(1,))
        want = greedy_without_cache(model, SOURCES, 7)
        for spec in (None, ExitSpec.parse(exit)):
            generator = Generator(model, exits=spec)
            found = generator.generate(
                [[1], [1]], max_new_tokens=7, sources=SOURCES, **GREEDY
            )
            self.assertEqual(found, want)

    def test_tokens_leave_early(self):
        model = translators.model(True, exits=(1,))
        generator = Generator(model, exits=ExitSpec.parse("margin:0"))
        generator.generate(
            [[1], [1]], max_new_tokens=4, sources=SOURCES, **GREEDY
        )
        self.assertEqual(generator.depths, [[1] * 4] * 2)

    def test_sources_are_for_encoder_decoders_alone(self):
        model = translators.model(True)
        with self.assertRaisesRegex(UserError, "sources"):
            Generator(model).generate([[1], [1]], max_new_tokens=2)
        with self.assertRaisesRegex(UserError, "one of each of 1 prompts"):
            Generator(model).generate([[1]], max_new_tokens=2, sources=SOURCES)


class BeamSearchTest(TestCase):
    def test_one_beam_is_greedy(self):
        model = translators.model(False)
        want = greedy_without_cache(model, SOURCES, 6)
        found = BeamSearch(model, beams=1).translate(SOURCES, 6)
        self.assertEqual(found, [_until_end(row) for row in want])

    @parameterized.parameters(0.0, 0.6)
    def test_a_wide_beam_finds_the_best_of_all(self, penalty):
        model = translators.model(True, vocabulary=6)
        sources = translators.sources([[4, 5, 3], [3]], 5)
        search = BeamSearch(model, beams=36, penalty=penalty)
        found = search.translate(sources, 2)
        for row in range(2):
            own = {k: v[row : row + 1] for k, v in sources.items()}
            scores = {}
            for target in itertools.product(range(6), repeat=2):
                score = _score(model, own, target, penalty)
                kept = tuple(_until_end(list(target)))
                scores[kept] = max(score, scores.get(kept, -np.inf))
            best = max(scores, key=scores.get)
            self.assertEqual(tuple(found[row]), best)


def _until_end(row):
    return row[: row.index(2)] if 2 in row else row


def _score(model, source, target, penalty):
    """Log-probability by length of a target, up to its end."""
    ended = target.index(2) + 1 if 2 in target else len(target)
    tokens = np.array([[1, *target[: ended - 1]]])
    logits = np.asarray(model(tokens, **source))[0].astype("float64")
    nats = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = sum(nats[i, token] for i, token in enumerate(target[:ended]))
    return total / ((5 + ended) / 6) ** penalty
