import numpy as np

from tests import oracles
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.load import load_model
from tfshrink.training.exit_loss import ExitLoss
from tfshrink.training.language_loss import LanguageLoss


class VocabularyTest(TestCase):
    """Over how much of the vocabulary exits are held to the last layer."""

    def setUp(self):
        super().setUp()
        self.model = load_model("tiny", exits=ExitConfig(layers=(1,), rank=16))
        random = np.random.default_rng(0)
        self.batch = {
            "tokens": random.integers(3, 500, (2, 9)).astype("int32"),
            "mask": np.ones((2, 9), "float32"),
        }
        self.batch["mask"][1, 5:] = 0.0

    def losses(self, **options):
        exits = ExitLoss(self.model, steps=1, **options)
        loss = LanguageLoss(self.model, exits=exits)
        values = loss(self.batch, None, {}, [], loss.at(0))[1]
        return [float(to_numpy(x)) for x in values]

    def logits(self):
        """Of the last layer and the exit, `(B (T - 1), V)`, float64."""
        taps = []
        hidden = self.model.hidden(
            self.batch["tokens"], tap=lambda *own: taps.append(own)
        )
        states, rotation = taps[0]
        own = self.model.exit_heads[0](states, rotation=rotation)[0]
        kernel = to_numpy(self.model.head_kernel()).astype("float64")
        return [
            to_numpy(x)[:, :-1].reshape(-1, kernel.shape[1]) @ kernel.T
            for x in (hidden, own)
        ]

    def test_the_likeliest_tokens_of_the_batch_are_compared(self):
        last, own = self.logits()
        counted = self.batch["mask"][:, 1:].reshape(-1) > 0
        mass = oracles.softmax(last)[counted].sum(axis=0)
        best = np.argsort(-mass)[:40]
        p, q = (oracles.softmax(x[counted][:, best]) for x in (last, own))
        want = (p * np.log(p / q)).sum(axis=-1).mean()
        self.assertAllClose(self.losses(vocabulary=40)[2], want, rtol=1e-4)

    def test_text_and_the_last_layer_are_judged_over_all_tokens(self):
        whole = self.losses()
        self.assertNotAllClose(self.losses(vocabulary=40)[2], whole[2])
        self.assertAllClose(self.losses(vocabulary=40)[1], whole[1])
        self.assertAllClose(self.losses(vocabulary=10**6), whole)
        self.assertAllClose(
            self.losses(vocabulary=40, cross_entropy=1.0),
            self.losses(cross_entropy=1.0),
        )
