import os
import pathlib
from unittest import mock

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.data.prompts import Prompts
from tfshrink.models.load import load_model
from tfshrink.models.sources import open_source
from tfshrink.models.sources.tiny import TinySource
from tfshrink.stl import reference
from tfshrink.stl.reference import ARRAYS
from tfshrink.stl.reference import Reference
from tfshrink.stl.reference import reference_run

SOURCE = open_source("tiny")


def prompts(seed=0, rows=2, length=12):
    """Random tokens."""
    random = np.random.default_rng(seed)
    tokens = random.integers(3, 500, (rows, length)).astype("int32")
    lengths = np.full(rows, length, "int32")
    gold = np.full_like(tokens, -1)
    return Prompts(tokens, lengths, gold, ("text",) * rows, "0" * 64)


def quick(source, tokens, dtype="float32"):
    """Stands for `run`: arrays of 8 kB in all that depend on the tokens."""
    random = np.random.default_rng(int(tokens.sum()) + len(dtype))
    shape = tokens.shape
    return Reference(
        random.random((*shape, 20)).astype("float32"),
        random.random((*shape, 8)).astype("float32"),
        random.random((2, shape[0], 2, shape[1], 12)).astype("float32"),
    )


def quick_runs():
    """A patch that counts the runs, and takes no time for them."""
    return mock.patch.object(reference, "run", side_effect=quick)


def arrays(found):
    return {name: np.asarray(getattr(found, name)) for name in ARRAYS}


class RunTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2")
    def test_it_is_what_the_decoder_does(self, name):
        own = prompts()
        found = reference_run(open_source(name), own)
        model, seen = load_model(name), []
        self.assertAllClose(found.logits, model(own.tokens), atol=5e-5)
        hidden = model.hidden(own.tokens)
        self.assertAllClose(found.hidden, hidden, atol=5e-5)
        for block in model.blocks:
            block.attention.tap = seen.append
        model(own.tokens)
        self.assertAllClose(found.maps, ops.stack(seen), atol=1e-5)
        for name in ARRAYS:
            self.assertEqual(getattr(found, name).dtype, np.float32)
        self.assertAllEqual(found.top, to_numpy(model(own.tokens)).argmax(-1))
        self.assertEqual(found.top.dtype, np.int32)

    def test_compute_type_is_the_models(self):
        own = prompts()
        found = reference_run(SOURCE, own, dtype="bfloat16")
        model = load_model("tiny", dtype="bfloat16")
        self.assertEqual(found.logits.dtype, np.float32)
        self.assertAllClose(found.logits, model(own.tokens), atol=0.05)
        self.assertNotAllClose(
            found.logits, load_model("tiny")(own.tokens), atol=1e-3
        )


class CacheTest(TestCase):
    def setUp(self):
        super().setUp()
        folder = self.create_tempdir().full_path
        self.folder = pathlib.Path(folder) / "new/cache"

    def run_on(self, own, source=SOURCE, dtype="float32"):
        return reference_run(source, own, dtype=dtype, folder=self.folder)

    def entries(self):
        return sorted(self.folder.iterdir())

    def test_a_kept_run_is_read_and_equals_a_fresh_one(self):
        own = prompts()
        fresh = reference_run(SOURCE, own)
        first = self.run_on(own)
        with mock.patch.object(reference, "run") as run:
            second = self.run_on(own)
        run.assert_not_called()
        for found in (first, second):
            self.assertAllEqual(arrays(found), arrays(fresh))
        self.assertAllEqual(second.top, fresh.top)
        self.assertLen(self.entries(), 1)

    def test_no_folder_keeps_nothing(self):
        with quick_runs() as run:
            for _ in range(2):
                reference_run(SOURCE, prompts())
        self.assertEqual(run.call_count, 2)
        self.assertFalse(self.folder.exists())

    def test_whatever_changes_a_run_makes_another_entry(self):
        own = prompts()
        cases = (
            (own, SOURCE, "float32"),
            (own, SOURCE, "bfloat16"),
            (own, TinySource("tiny", seed=1), "float32"),
            (own, open_source("tiny-gpt2"), "float32"),
            (prompts(seed=1), SOURCE, "float32"),
            # The same tokens in other rows.
            (prompts(rows=4, length=6), SOURCE, "float32"),
        )
        with quick_runs() as run:
            wanted = [arrays(self.run_on(*case)) for case in cases]
            self.assertEqual(run.call_count, len(cases))
            found = [arrays(self.run_on(*case)) for case in cases]
            self.assertEqual(run.call_count, len(cases))
        self.assertAllEqual(found, wanted)
        self.assertLen(self.entries(), len(cases))

    @parameterized.product(
        name=(*(f"{name}.npy" for name in ARRAYS), "shape.json"),
        damage=("removed", "emptied", "cut", "overwritten"),
    )
    def test_a_damaged_entry_is_computed_again(self, name, damage):
        own = prompts()
        with quick_runs() as run:
            wanted = arrays(self.run_on(own))
            (entry,) = self.entries()
            DAMAGES[damage](entry / name)
            self.assertAllEqual(arrays(self.run_on(own)), wanted)
            self.assertEqual(run.call_count, 2)
            # What was computed again is kept.
            self.assertAllEqual(arrays(self.run_on(own)), wanted)
            self.assertEqual(run.call_count, 2)
        self.assertEqual(self.entries(), [entry])

    def test_an_entry_of_another_shape_is_computed_again(self):
        own, other = prompts(), prompts(rows=3)
        with quick_runs() as run:
            self.run_on(own)
            (entry,) = self.entries()
            for name, value in arrays(quick(SOURCE, other.tokens)).items():
                np.save(entry / f"{name}.npy", value)
            wanted = arrays(quick(SOURCE, own.tokens))
            self.assertAllEqual(arrays(self.run_on(own)), wanted)
            self.assertEqual(run.call_count, 2)

    @parameterized.parameters("numpy.save", "tempfile.mkdtemp")
    def test_a_full_disk_costs_only_the_keeping(self, function):
        own = prompts()
        full = mock.patch(function, side_effect=OSError(28, "No space left"))
        with quick_runs(), full:
            found = self.run_on(own)
        self.assertAllEqual(arrays(found), arrays(quick(SOURCE, own.tokens)))
        self.assertEmpty(self.entries())


class RoomTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.enter_context(quick_runs())
        self.run_on(0)
        (entry,) = self.folder.iterdir()
        self.size = size_of(entry)
        self.made = [entry]

    def run_on(self, seed):
        reference_run(SOURCE, prompts(seed), folder=self.folder)

    def make(self, seed):
        """Keeps another run, made a second after the ones before."""
        before = set(self.folder.iterdir())
        there = [entry for entry in reversed(self.made) if entry in before]
        for age, entry in enumerate(there):
            backdate(entry, 1 + age)
        self.run_on(seed)
        (entry,) = set(self.folder.iterdir()) - before
        self.made.append(entry)

    def test_what_was_wanted_longest_ago_goes(self):
        self.limit(2 * self.size)
        self.make(1)
        self.assertCountEqual(self.folder.iterdir(), self.made)
        self.make(2)
        self.assertCountEqual(self.folder.iterdir(), self.made[1:])
        self.assertLessEqual(self.total(), 2 * self.size)
        self.make(3)
        self.assertCountEqual(self.folder.iterdir(), self.made[2:])

    def test_reading_a_run_makes_it_new(self):
        self.limit(2 * self.size)
        self.make(1)
        first, second = self.made
        backdate(first, 9)
        backdate(second, 5)
        self.run_on(0)  # is read
        self.run_on(2)
        self.assertLen(list(self.folder.iterdir()), 2)
        self.assertTrue(first.exists())
        self.assertFalse(second.exists())

    def test_the_newest_stays_however_large_it_is(self):
        self.limit(self.size // 2)
        self.make(1)
        self.assertEqual(list(self.folder.iterdir()), self.made[1:])

    def test_one_byte_too_many_is_too_much(self):
        self.limit(2 * self.size - 1)
        self.make(1)
        self.assertEqual(list(self.folder.iterdir()), self.made[1:])

    def limit(self, size):
        self.enter_context(mock.patch.object(reference, "KEPT_BYTES", size))

    def total(self):
        return sum(map(size_of, self.folder.iterdir()))


def size_of(entry):
    return sum(file.stat().st_size for file in entry.iterdir())


def backdate(entry, seconds):
    """Lets a folder look as if it was last used some seconds ago."""
    now = entry.parent.stat().st_mtime
    os.utime(entry, (now - seconds, now - seconds))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "removed": os.remove,
    "emptied": lambda path: os.truncate(path, 0),
    "cut": cut,
    "overwritten": lambda path: path.write_bytes(b"\xff{nothing of the kind}"),
}
