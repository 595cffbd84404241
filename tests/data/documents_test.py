import os
import subprocess
import sys
import textwrap

import pytest

from tests.data import squad_files
from tests.data.pack_test import Characters
from tests.test_case import TestCase
from tfshrink.data.documents import load_documents
from tfshrink.data.documents import load_examples
from tfshrink.data.pydoc import load_pydoc
from tfshrink.data.records import append_records
from tfshrink.errors import UserError


class DocumentsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path
        self.rows = os.path.join(self.folder, "a+b,c.jsonl")
        append_records(self.rows, [{"text": f"row {n}"} for n in range(5)])

    def test_pydoc_and_limit(self):
        self.assertEqual(
            load_documents("pydoc", "test", limit=3), load_pydoc("test")[:3]
        )

    def test_a_file_is_read_whole_for_any_split(self):
        for split in ("train", "test"):
            self.assertLen(load_documents(self.rows, split), 5)
        self.assertLen(load_documents(self.rows, limit=2), 2)

    def test_mixtures_take_the_limit_of_each(self):
        path = os.path.join(self.folder, "plain.txt")
        with open(path, "w") as file:
            file.write("plain")
        for joint in ("+", ",", " + "):
            self.assertEqual(
                load_documents(f"pydoc{joint}{path}", limit=2),
                [*load_pydoc("train")[:2], "plain"],
            )

    def test_tfds_and_squad_by_name(self):
        pytest.importorskip("tensorflow")
        squad_files.write_tfds(self.folder)
        squad_files.write_text_set(
            self.folder, "news", {"train": ["a"], "test": ["one", "two", " "]}
        )
        squad_files.write_text_set(self.folder, "blank", {"test": [" ", ""]})
        self.assertEqual(
            load_documents("news+squad", "test", data_dir=self.folder),
            ["one", "two", *squad_files.CONTEXTS[:2]],
        )
        with self.assertRaisesRegex(UserError, "blank must hold text"):
            load_documents("blank", "test", data_dir=self.folder)

    def test_examples_of_text_are_packed(self):
        examples = load_examples(self.rows, Characters(), 7, separator=0)
        self.assertEqual("".join(map(chr, examples.tokens[0])), "row 0\0r")
        self.assertAllEqual(examples.mask[0], [0, 1, 1, 1, 1, 1, 1])

    def test_examples_of_squad_are_questions(self):
        path = os.path.join(self.folder, "dev.json")
        squad_files.write_official_json(path)
        examples = load_examples(path, Characters(), 128, separator=0, limit=3)
        self.assertLen(examples, 3)
        counted = examples.tokens[0][examples.mask[0] > 0]
        self.assertEqual("".join(map(chr, counted)), " tower\0")

    def test_bad_input(self):
        with self.assertRaisesRegex(UserError, "Did you mean `pydoc`"):
            load_documents("pydco")
        with self.assertRaisesRegex(UserError, "`limit` must be at least 1"):
            load_documents("pydoc", limit=0)
        with self.assertRaisesRegex(UserError, "none.txt: No such file"):
            load_documents("pydoc+none.txt")
        with self.assertRaisesRegex(UserError, "must be one of .json"):
            load_documents("./nothing")
        for name in ("", "pydoc+"):
            with self.assertRaisesRegex(UserError, "`data` must be a name"):
                load_documents(name)

    def test_everything_is_read_without_tensorflow(self):
        if "tensorflow" not in sys.modules:
            self.skipTest("TFDS needs TensorFlow to write")
        for file_format in ("tfrecord", "array_record"):
            squad_files.write_text_set(
                self.folder,
                f"{file_format}_set",
                {"test": ["one"]},
                file_format,
            )
        squad_files.write_tfds(self.folder)
        append_records(f"{self.folder}/a.tfrecord", [{"text": "two"}])
        script = """
            from tests import conftest
            import sys
            from tfshrink.data.batches import Batches
            from tfshrink.data.documents import load_documents
            from tfshrink.data.documents import load_examples
            from tests.data.pack_test import Characters
            name = "tfrecord_set+array_record_set+squad+a.tfrecord+pydoc"
            texts = load_documents(name, "test", data_dir=".")
            assert texts[:2] == ["one", "one"], texts[:2]
            assert texts[4] == "two", texts[:5]
            examples = load_examples(
                "squad", Characters(), 99, separator=0, split="test",
                data_dir=".",
            )
            batches = Batches(examples, batch_size=2, seed=0)
            assert len(list(batches.iterate(0, 5))) == 5
            assert "tensorflow" not in sys.modules
        """
        root = os.path.abspath(f"{__file__}/../../..")
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": root,
                "KERAS_BACKEND": "jax",
                "TFSHRINK_BLOCK_TENSORFLOW": "1",
            },
            check=True,
            timeout=120,
        )
