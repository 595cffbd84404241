import glob
import os
import socket
from unittest import mock

import pytest
from absl.testing import parameterized

from tests.data import squad_files
from tests.test_case import TestCase
from tfshrink.data.tfds_source import official_split
from tfshrink.data.tfds_source import read_tfds
from tfshrink.errors import UserError

TEXTS = [f"Document {n}, “quoted”." for n in range(60)]


def read(*arguments, **options):
    return [record["text"][0] for record in read_tfds(*arguments, **options)]


class TfdsSourceTest(TestCase):
    def setUp(self):
        super().setUp()
        pytest.importorskip("tensorflow")  # TFDS needs it to write
        self.folder = self.create_tempdir().full_path

    def test_both_file_formats_hold_the_same_text(self):
        for file_format in ("tfrecord", "array_record"):
            squad_files.write_text_set(
                self.folder,
                f"{file_format}_news",
                {"train": TEXTS, "test": TEXTS[:7]},
                file_format,
            )
        for name in ("tfrecord_news", "tfds:array_record_news"):
            found = read(name, "test", data_dir=self.folder)
            self.assertEqual(found, TEXTS[:7])
        train = read("tfrecord_news", "train", data_dir=self.folder)
        self.assertEqual(
            read("array_record_news", "train", data_dir=self.folder), train
        )
        self.assertGreater(len(train), 40)

    def test_nested_fields(self):
        for number, file_format in enumerate(("tfrecord", "array_record")):
            folder = os.path.join(self.folder, str(number))
            squad_files.write_tfds(folder, file_format)
            records = list(
                read_tfds(
                    "squad/v1.1",
                    "validation",
                    ["answers/text", "id"],
                    data_dir=folder,
                )
            )
            self.assertEqual(
                records[1],
                {"answers/text": ["metres", "METRES"], "id": ["q01"]},
            )

    def test_missing_records_are_noticed(self):
        squad_files.write_text_set(self.folder, "news", {"test": TEXTS})
        (path,) = glob.glob(f"{self.folder}/**/*.tfrecord*", recursive=True)
        os.truncate(path, os.path.getsize(path) - 5)
        with self.assertRaisesRegex(UserError, "must hold 60 .* 59 whole"):
            read("news", "test", data_dir=self.folder)

    def test_unknown_names_and_splits(self):
        squad_files.write_text_set(self.folder, "news", {"validation": TEXTS})
        with self.assertRaisesRegex(UserError, "Did you mean `wikipedia`"):
            read("wikipeda", "train", data_dir=self.folder)
        with self.assertRaisesRegex(UserError, "v3 not found"):
            read("squad/v3", "train", data_dir=self.folder)
        with self.assertRaisesRegex(UserError, "Did you mean `validation`"):
            read("news", "validatoin", data_dir=self.folder)

    def test_no_network_is_one_line_at_once(self):
        # The machine's own resolver is what stands between us and the net.
        offline = mock.patch.object(
            socket, "getaddrinfo", side_effect=socket.gaierror(-2, "no name")
        )
        no_proxy = mock.patch("urllib.request.getproxies", return_value={})
        with offline, no_proxy:
            for name in ("lm1b", "wikitext", "truthful_qa", "squad"):
                with self.assertRaisesRegex(UserError, "use pydoc") as caught:
                    read(name, "train", data_dir=self.folder)
                self.assertNotIn("\n", str(caught.exception))
        self.assertEmpty(os.listdir(self.folder))

    def test_official_splits(self):
        choose = official_split
        both = ("train", "test", "validation")
        self.assertEqual(choose("test", both), ("test", None))
        self.assertEqual(choose("validation", both), ("validation", None))
        self.assertEqual(choose("test", both[::2]), ("validation", None))
        for split in ("train", "calibrate", "search"):
            official, shares = choose(split, both)
            self.assertEqual(official, "train")
            self.assertNotIn("test", shares)
        self.assertIn("test", choose("test", ("train",))[1])
        with self.assertRaisesRegex(UserError, "`split` must be one of"):
            choose("train", ("test", "validation"))
        with self.assertRaisesRegex(UserError, "Did you mean `search`"):
            choose("serch", ("generation",))

    @parameterized.parameters("train", "validation", "generation")
    def test_a_lone_split_of_any_name_is_divided(self, name):
        squad_files.write_text_set(self.folder, "news", {name: TEXTS})
        parts = {
            split: read("news", split, data_dir=self.folder)
            for split in ("train", "calibrate", "search", "test")
        }
        self.assertCountEqual(sum(parts.values(), []), TEXTS)
        self.assertTrue(all(parts.values()))
        self.assertEqual(official_split("search", (name,))[0], name)

    @parameterized.parameters("validation", "generation")
    def test_a_lone_split_is_whole_under_its_own_name(self, name):
        self.assertEqual(official_split(name, (name,)), (name, None))
