from unittest import mock

from tests.layers.kv_stubs import Lossless
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.layers.block_codecs import BlockCodecs
from tfshrink.layers.int_codec import IntCodec
from tfshrink.training import train as train_module
from tfshrink.training.fit import make_trainer

SETTINGS = tiny.settings(plan="8", total_steps=2)


def first_loss(codec):
    """Loss of the first step, of rows seen through a codec."""
    codecs = codec and BlockCodecs([codec] * 2, window=2, dtype="float32")
    model = tiny.model(widths=(8,), ranks=(2,))
    trainer = make_trainer(model, SETTINGS, tiny.plans("8"), codecs)
    rows = next(tiny.text().batches(4))
    return trainer.step(0, lambda micro: rows)["loss"]


class TrainWithKVTest(TestCase):
    def test_what_is_trained_sees_the_codec_and_its_teacher_does_not(self):
        exact, lossless, rough = map(
            first_loss, (None, Lossless(4), IntCodec(2, 4))
        )
        self.assertAllClose(lossless, exact, rtol=1e-3)
        self.assertGreater(rough, 2 * exact)

    def test_a_run_keeps_its_codec(self):
        settings = tiny.settings(
            plan="8",
            kv="int2:block=8:window=8",
            context=32,
            ranks="2",
            total_steps=1,
        )
        folder = self.create_tempdir().full_path + "/run"
        with mock.patch.object(train_module, "judge", lambda *_: None):
            train_module.train(settings, workdir=folder)
        [candidate] = run_candidates([folder])
        [plan] = candidate.plans
        self.assertEqual(plan.kv["codec"], "int2")
