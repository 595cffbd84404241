import pathlib
import random

from absl.testing import parameterized

from tests.reliability.fuzz import fuzz
from tests.reliability.mutations import mutated
from tests.reliability.readers import damaged_files
from tests.reliability.readers import READERS
from tests.test_case import TestCase
from tfshrink.errors import UserError

LIGHT = ("gguf", "huggingface", "mo", "plan", "policy", "texts", "tsv")
INPUTS = 30


class FuzzTest(TestCase):
    @parameterized.parameters(*LIGHT)
    def test_damaged_files_are_read_or_refused(self, name):
        folder = pathlib.Path(self.create_tempdir().full_path)
        reader, refused = READERS[name], 0
        reader.make(folder)
        reader.read(folder)
        files = damaged_files(reader, folder)
        before = {path: path.read_bytes() for path in files}
        for number in range(INPUTS):
            own = random.Random(number)
            path = own.choice(files)
            path.write_bytes(mutated(before[path], own, path.suffix))
            try:
                reader.read(folder)
            except UserError as error:
                self.assertNotEmpty(str(error))
                refused += 1
            path.write_bytes(before[path])
        self.assertGreater(refused, INPUTS // 5)
        reader.read(folder)

    @parameterized.parameters(
        ("bad_error", "KeyError in"),
        ("bad_crash", "crash (-11)"),
        ("bad_hang", "hang"),
        ("bad_hoard", "memory"),
        ("bad_size", "MemoryError in"),
    )
    def test_it_finds_what_it_looks_for(self, name, kind):
        folder = pathlib.Path(self.create_tempdir().full_path)
        seconds = 1 if kind == "hang" else 20
        row = fuzz(name, 2, timeout=seconds, findings=folder)
        found = sum(row["kinds"].values())
        self.assertGreater(found, 0)
        self.assertEqual(row["accepted"] + found, 2)
        for own in row["kinds"]:
            self.assertStartsWith(own, kind)
        # The file is kept, and what it did.
        kept = sorted(path.name for path in folder.glob("*/*/*"))
        self.assertEqual(kept, ["kind.txt"] * found + ["x.txt"] * found)
