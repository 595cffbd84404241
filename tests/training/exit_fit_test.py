import numpy as np

from tests.test_case import TestCase
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.models.generation import Generator
from tfshrink.models.load import load_model
from tfshrink.training.exit_fit import fit_classifier
from tfshrink.training.exit_fit import own_text


class OwnTextTest(TestCase):
    def test_the_second_half_is_what_the_model_writes(self):
        model = load_model("tiny")
        rows = np.random.default_rng(0).integers(3, 500, (3, 16))
        found = own_text(model, rows)
        self.assertAllEqual(found["tokens"][:, :8], rows[:, :8])
        self.assertAllEqual(found["mask"][:, :8], np.zeros((3, 8)))
        want = Generator(model).generate(
            rows[:, :8].tolist(), max_new_tokens=8, temperature=0.0
        )
        for tokens, mask, row in zip(
            found["tokens"], found["mask"], want, strict=True
        ):
            self.assertEqual(tokens[8:][mask[8:] > 0].tolist(), row)
            self.assertEqual(int(mask.sum()), len(row))


class ClassifierTest(TestCase):
    def test_it_learns_what_a_state_tells(self):
        model = load_model("tiny", exits=ExitConfig(layers=(1,), rank=16))
        hidden = np.random.default_rng(0).normal(size=(4096, 64))
        right = hidden[:, 3] > 0.5
        head = model.exit_heads[0]
        fit_classifier(head, hidden.astype("float32"), right)
        other = np.random.default_rng(1).normal(size=(1000, 64))
        sure = np.asarray(head.sure(other.astype("float32"))) > 0
        self.assertGreater((sure == (other[:, 3] > 0.5)).mean(), 0.9)
