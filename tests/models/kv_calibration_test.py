import dataclasses
import pathlib
from unittest import mock

import numpy as np

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.models import kv_calibration
from tfshrink.models.kv_calibration import calibrate
from tfshrink.models.kv_calibration import load_statistics
from tfshrink.models.kv_calibration import read_calibration
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan


class KVCalibrationTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_they_are_measured_once_for_each_model(self):
        first = load_statistics(open_source("tiny"), self.folder)
        with mock.patch.object(kv_calibration, "kv_statistics") as measure:
            again = load_statistics(open_source("tiny"), self.folder)
            measure.assert_not_called()
        self.assertAllEqual(first.backward, again.backward)
        load_statistics(open_source("tiny-gpt2"), self.folder)
        files = sorted(self.folder.iterdir())
        self.assertLen(files, 2)
        for file in files:
            file.write_bytes(file.read_bytes()[:100])
        mended = load_statistics(open_source("tiny"), self.folder)
        self.assertAllClose(mended.backward, first.backward)

    def test_a_file_goes_with_a_plan(self):
        text = self.folder / "text.txt"
        text.write_text("One fish, two fish; red fish, blue fish. " * 200)
        path = self.folder / "plans" / "kv.npz"
        about = calibrate("tiny", path, data=str(text), rows=2)
        self.assertEqual(about["tokens"], 1024)
        spec = KVSpec.parse("pca:2x:block=16:window=16:calibration=kv.npz")
        self.assertEqual(KVSpec.parse(str(spec)), spec)
        plan = Plan.parse("16", layers=2, kv=spec.to_json())
        plan.save(path.with_name("plan.json"))
        loaded = Plan.load(path.with_name("plan.json"))
        self.assertEqual(loaded.kv["calibration"], str(path))
        source = open_source("tiny")
        codecs = open_codecs(KVSpec.from_json(loaded.kv), source, 512)
        [own] = read_calibration(path, source).mean[:1, 0]
        self.assertAllEqual(codecs.codecs[0].key_table.mean, own)
        default = dataclasses.replace(spec, calibration=None)
        other = open_codecs(default, source, 512)
        self.assertNotAllClose(other.codecs[0].key_table.mean, own, atol=1e-3)
        self.assertRaisesRegex(
            UserError, "must be new, or come with", calibrate, "tiny", path
        )

    def test_what_is_no_calibration_of_the_model_is_named(self):
        source, path = open_source("tiny"), self.folder / "kv.npz"
        text = self.folder / "text.txt"
        text.write_text("One fish, two fish. " * 400)
        calibrate("tiny-gpt2", path, data=str(text), rows=1)
        with self.assertRaisesRegex(
            UserError, "must be that of the model, .*tiny-gpt2"
        ):
            read_calibration(path, source)
        for damage in (b"", path.read_bytes()[:500]):
            path.write_bytes(damage)
            with self.assertRaisesRegex(UserError, "file of bin/calibrate"):
                read_calibration(path, source)
        np.savez(path, about=np.array("{}"))
        with self.assertRaisesRegex(UserError, "file of bin/calibrate"):
            read_calibration(path, source)
        with self.assertRaisesRegex(UserError, "file of bin/calibrate"):
            read_calibration(self.folder / "none.npz", source)
        with self.assertRaisesRegex(UserError, "left out but for pca"):
            KVSpec.parse("dct:4x:calibration=kv.npz")
