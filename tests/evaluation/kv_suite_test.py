import contextlib
import io
import json
import os
import pathlib
import unittest
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests import forks
from tests.test_case import ON_TENSORFLOW
from tests.test_case import TestCase
from tfshrink.data.examples import Examples
from tfshrink.errors import UserError
from tfshrink.evaluation.codec_meter import copy_examples
from tfshrink.evaluation.kv_suite import kv_suite
from tfshrink.evaluation.kv_suite import suite_specs
from tfshrink.evaluation.kv_suite_report import print_suite

ROOT = pathlib.Path(__file__).parents[2]


@unittest.skipUnless(ON_TENSORFLOW, "JAX compiles each codec for long")
class KVSuiteTest(TestCase):
    def setUp(self):
        super().setUp()
        cache = self.create_tempdir().full_path
        self.enterContext(
            mock.patch.dict(os.environ, {"TFSHRINK_CACHE": cache})
        )

    def test_codecs_stand_beside_the_exact_cache(self):
        found = kv_suite(
            model="tiny",
            method=["int8", "pca"],
            compression=[0.4],
            context=256,
            limit=2,
            dtype="float32",
            verify=True,
            processes=False,
        )
        exact, eight, pca = found["rows"]
        self.assertEqual(exact["perplexity_ratio"], 1.0)
        self.assertEqual(exact["agreement"], 1.0)
        self.assertAlmostEqual(exact["bleu"], 100.0)
        self.assertIn("version:", exact["bleu_signature"])
        self.assertNotIn("verified", exact)
        self.assertLess(abs(eight["perplexity_ratio"] - 1), 0.01)
        self.assertBetween(1 - 1 / pca["kv_compression"], 0.4, 0.42)
        for row in (eight, pca):
            check = row["verified"]
            self.assertTrue(check["passed"], check)
            self.assertGreater(check["after"], 0.0)
            self.assertBetween(row["bleu"], 0.0, 100.0)
        self.assertLess(eight["verified"]["after"], pca["verified"]["after"])
        for row in found["rows"]:
            self.assertGreater(row["tokens_per_second"], 0.0)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_suite(json.loads(json.dumps(found)))
        for text in ("int8", "pca:1.67x", "40", "yes", "Bases of"):
            self.assertIn(text, out.getvalue())


class PartsTest(TestCase):
    def test_a_passage_is_said_again(self):
        tokens = np.arange(400, dtype="int32").reshape(2, 200)
        text = Examples(tokens, np.ones((2, 200), "float32"))
        found = copy_examples(text, 16, seed=1)
        for row, mask in zip(found.tokens, found.mask, strict=True):
            self.assertEqual(np.flatnonzero(mask).tolist(), [*range(186, 200)])
            windows = np.lib.stride_tricks.sliding_window_view(row, 16)
            same = np.flatnonzero((windows == row[-16:]).all(1))
            self.assertLen(same, 2)
            self.assertBetween(same[0], 20, 100)

    def test_rated_codecs_get_each_rate_and_others_their_own(self):
        names = [str(spec) for spec in suite_specs(["all"], [0.5, 0.75])]
        self.assertEqual(names[0], "identity")
        across = "channel:4x:method=layer_wise"
        for name in ("int2", "dct:2x", "dct:4x", "pca:2x", "pca:4x", across):
            self.assertIn(name, names)
        self.assertLen(set(names), len(names))

    def test_a_method_alone_is_of_the_transform_across_channels(self):
        specs = suite_specs(["per_vector", "int4"], [0.75])
        self.assertEqual(
            [str(spec) for spec in specs],
            ["identity", "channel:4x:method=per_vector", "int4"],
        )

    @parameterized.parameters(
        ({"method": ["dtc"]}, "Did you mean `dct`"),
        ({"compression": [1.5]}, r"`compression` must be.*Received: 1\.5"),
        ({"context": 64}, "`context` must be at least 160"),
        ({"context": 4096, "model": "tiny"}, "`context` must be at most"),
        ({"layers": "some"}, "`kv` layers must be one of"),
    )
    def test_mistake_is_named(self, options, message):
        with self.assertRaisesRegex(UserError, message):
            kv_suite(**{"model": "tiny", "context": 256, **options})


class BinaryTest(TestCase):
    def run_binary(self, *arguments):
        return forks.run(
            [ROOT / "bin/benchmark", *arguments],
            cwd=self.create_tempdir().full_path,
        )

    def test_help_and_list(self):
        done = self.run_binary("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n  bin/benchmark "), 3)
        self.assertLess(max(map(len, done.stdout.splitlines())), 80)
        self.assertIn("principal components", self.run_binary("--list").stdout)
        done = self.run_binary("--suite=styles", "--list")
        self.assertIn("instantnet", done.stdout)

    @parameterized.parameters(
        ("--keep=.5 --compression=.5", "exclude each other"),
        ("--keep=half", "`--keep` must be fractions"),
        ("--suite=kw", "Did you mean `kv`"),
        ("--seeds=1", "`--seeds` is of --suite=styles"),
        ("--suite=styles --keep=.5", "`--keep` is of --suite=kv"),
        ("--suite=styles --model=tiny --seeds=a", "`--seeds` must be"),
        ("--suite=styles --model=tiny --styles=a", "`styles` must be one of"),
    )
    def test_a_mistyped_flag_is_one_line(self, arguments, message):
        done = self.run_binary(*arguments.split())
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertLen(done.stderr.splitlines(), 1)
        self.assertIn(message, done.stderr)
