import json
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.search import stubs
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.sensitivity import VERSION
from tfshrink.search.space import SearchSpace

NAMES = tuple(SearchSpace(stubs.CONFIG, (8, 4), (8,)).groups)
IDENTITY = {"model": {"name": "tiny", "revision": "seed-0"}, "run": None}


def row(group, bits, kl, pruning=0.0, **more):
    return {
        "group": NAMES[group],
        "bits": bits,
        "pruning": pruning,
        "sparsity": "unstructured",
        "kl": kl,
        **more,
    }


ROWS = [
    row(0, 8, 0.125),
    row(0, 4, 0.5, estimate=0.25),
    row(8, 4, 2.0, estimate=None),
    row(0, 16, 9.0, pruning=0.5),
]


def text(**changes):
    """A file of `save` that somebody has changed."""
    values = {
        "version": VERSION,
        "identity": IDENTITY,
        "names": NAMES,
        "correlation": None,
        "rows": ROWS,
    }
    return json.dumps({**values, **changes})


class SensitivityTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(self.create_tempdir().full_path, "s.json")

    def test_a_file_is_read_back(self):
        own = Sensitivity(ROWS, NAMES, IDENTITY, {"correlation": 0.5})
        own.save(self.path)
        self.assertEqual(Sensitivity.load(self.path), own)
        self.assertEqual(Sensitivity.load(self.path, IDENTITY), own)

    def test_table_holds_the_changes_of_bits(self):
        own = Sensitivity(ROWS, NAMES, IDENTITY, {})
        values, widths = own.table()
        wanted = np.full((len(NAMES), 2), np.nan)
        wanted[0], wanted[8, 1] = (0.125, 0.5), 2.0
        self.assertEqual(widths, [8, 4])
        self.assertAllEqual(values, wanted)
        values, _ = own.table("estimate")
        self.assertEqual(np.isfinite(values).sum(), 1)
        self.assertEqual(values[0, 1], 0.25)

    @parameterized.parameters(
        ("{",),
        ("",),
        ("{}",),
        ("[]",),
        ("5",),
        ("null",),
        (text(rows=None),),
        (text(names=None),),
        (text(identity=None),),
        (text(rows=[{}]),),
        (text(rows=[{**ROWS[0], "kl": None}]),),
        (text(rows=[{k: v for k, v in ROWS[0].items() if k != "kl"}]),),
        (text(rows=[{k: v for k, v in ROWS[0].items() if k != "sparsity"}]),),
    )
    def test_a_damaged_file_is_one_clear_error(self, content):
        self.path.write_text(content)
        with self.assertRaisesRegex(UserError, "sensitivity_file.*s.json"):
            Sensitivity.load(self.path, IDENTITY)

    def test_a_missing_file_is_one_clear_error(self):
        with self.assertRaisesRegex(UserError, "sensitivity_file.*s.json"):
            Sensitivity.load(self.path)

    def test_another_version_is_refused(self):
        self.path.write_text(text(version=VERSION + 1))
        with self.assertRaisesRegex(UserError, f"of version {VERSION}.*s.json"):
            Sensitivity.load(self.path)

    @parameterized.parameters(
        ("model", {"name": "tiny", "revision": "seed-1"}, "seed-1.*seed-0"),
        ("run", "0" * 64, "run that is searched, 0+"),
    )
    def test_a_file_of_something_else_is_refused(self, key, value, message):
        self.path.write_text(text())
        with self.assertRaisesRegex(UserError, message):
            Sensitivity.load(self.path, {**IDENTITY, key: value})
