import os

from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.records import append_records
from tfshrink.data.records import read_records
from tfshrink.data.records import repair_records
from tfshrink.errors import UserError

ROWS = [
    {
        "index": 0,
        "text": "“Bună\nziua”",
        "tokens": [3, 4, 49151],
        "prompt_length": 1,
        "settings": {"top_p": 0.95, "model": "tiny"},
    },
    {"index": 1, "text": "", "tokens": [7], "prompt_length": 1},
]

BOTH = parameterized.parameters("jsonl", "tfrecord")


class RecordsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def path(self, ending):
        return os.path.join(self.folder, f"rows.{ending}")

    @BOTH
    def test_rows_come_back(self, ending):
        append_records(self.path(ending), ROWS[:1])
        append_records(self.path(ending), ROWS[1:])
        self.assertEqual(list(read_records(self.path(ending))), ROWS)

    @BOTH
    def test_a_torn_end_is_refused_and_repaired(self, ending):
        path = self.path(ending)
        append_records(path, ROWS[:1])
        whole = os.path.getsize(path)
        append_records(path, ROWS[1:])
        with open(path, "rb") as file:
            data = file.read()
        for size in range(whole + 1, len(data) - 1):
            with open(path, "wb") as file:
                file.write(data[:size])
            with self.assertRaisesRegex(UserError, "ends inside a row"):
                list(read_records(path))
            self.assertEqual(repair_records(path), ROWS[:1])
            self.assertEqual(os.path.getsize(path), whole)
        append_records(path, ROWS[1:])
        self.assertEqual(list(read_records(path)), ROWS)

    def test_a_last_line_without_its_newline_stays_whole(self):
        path = self.path("jsonl")
        append_records(path, ROWS)
        os.truncate(path, os.path.getsize(path) - 1)
        self.assertEqual(list(read_records(path)), ROWS)
        self.assertEqual(repair_records(path), ROWS)
        append_records(path, ROWS)
        self.assertEqual(list(read_records(path)), ROWS + ROWS)

    def test_a_damaged_middle_is_named_and_left_alone(self):
        path = self.path("jsonl")
        with open(path, "w") as file:
            file.write('{"text": "a"}\n{"text": \n{"text": "c"}\n')
        for read in (repair_records, lambda path: list(read_records(path))):
            with self.assertRaisesRegex(UserError, "rows.jsonl line 2 must"):
                read(path)
        self.assertEqual(os.path.getsize(path), 38)

    def test_a_record_that_is_no_example_is_named(self):
        from tfshrink.data.tfrecord import frame

        path = self.path("tfrecord")
        with open(path, "wb") as file:
            file.write(frame(b"\xff\xff plain text"))
        with self.assertRaisesRegex(UserError, "must be a tf.train.Example"):
            list(read_records(path))

    def test_unknown_format_and_missing_file(self):
        with self.assertRaisesRegex(UserError, "Did you mean `jsonl`"):
            append_records(self.path("json"), ROWS)
        with self.assertRaisesRegex(UserError, "No such file"):
            list(read_records(self.path("jsonl")))

    def test_a_full_disk_leaves_the_file_as_it_was(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("needs /dev/full")
        path = self.path("jsonl")
        os.symlink("/dev/full", path)
        with self.assertRaisesRegex(UserError, "No space left on device"):
            append_records(path, ROWS)
