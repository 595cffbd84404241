import contextlib
import errno
import hashlib
import json
import os
import pathlib
from unittest import mock

import numpy as np

from tests.test_case import TestCase
from tfshrink.files import atomic_folder
from tfshrink.files import atomic_write
from tfshrink.files import sha256_file
from tfshrink.files import sha256_json
from tfshrink.files import write_json


class FilesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_json_round_trip(self):
        path = self.folder / "new" / "x.json"
        write_json(
            path,
            {
                "a": np.float32(0.5),
                "b": np.arange(3),
                "c": (1, "ă"),
                "d": float("nan"),
                8: pathlib.PurePosixPath("x/y"),
            },
        )
        self.assertEqual(
            json.loads(path.read_text()),
            {"a": 0.5, "b": [0, 1, 2], "c": [1, "ă"], "d": None, "8": "x/y"},
        )

    def test_a_folder_is_whole_or_as_it_was(self):
        path = self.folder / "new" / "own"
        with atomic_folder(path) as hidden:
            (hidden / "a").write_text("1")
            self.assertFalse(path.exists())
        with self.assertRaisesRegex(ValueError, "stop"):
            with atomic_folder(path) as hidden:
                (hidden / "b").write_text("2")
                raise ValueError("stop")
        self.assertEqual(os.listdir(path.parent), ["own"])
        self.assertEqual(os.listdir(path), ["a"])
        with atomic_folder(path) as hidden:
            (hidden / "b").write_text("2")
        self.assertEqual(os.listdir(path), ["b"])

    def test_an_error_leaves_the_old_file_and_nothing_else(self):
        path = self.folder / "x.txt"
        path.write_text("old")
        for error in (KeyboardInterrupt, ValueError):
            with contextlib.suppress(error), atomic_write(path) as file:
                file.write("half")
                raise error
        self.assertEqual(path.read_text(), "old")
        self.assertEqual(os.listdir(self.folder), ["x.txt"])

    def test_a_full_disk_is_named_and_leaves_the_old_file(self):
        path = self.folder / "x.json"
        write_json(path, "old")
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("os.fsync", side_effect=full):
            with self.assertRaises(OSError) as caught:
                write_json(path, "new")
        self.assertEqual(caught.exception.errno, errno.ENOSPC)
        self.assertEqual(caught.exception.filename, str(path))
        self.assertEqual(json.loads(path.read_text()), "old")
        self.assertEqual(os.listdir(self.folder), ["x.json"])

    def test_what_is_no_json_leaves_the_old_file(self):
        path = self.folder / "x.json"
        write_json(path, "old")
        with self.assertRaises(TypeError):
            write_json(path, {"a": object()})
        self.assertEqual(json.loads(path.read_text()), "old")

    def test_a_pipe_is_never_replaced_by_a_file(self):
        path = self.folder / "pipe"
        os.mkfifo(path)
        with self.assertRaisesRegex(OSError, "Not a regular file"):
            write_json(path, 1)
        self.assertTrue(path.is_fifo())

    def test_a_folder_in_the_way_is_named(self):
        with self.assertRaises(OSError) as caught:
            write_json(self.folder, 1)
        self.assertIn(str(self.folder), caught.exception.filename)

    def test_hashes_match_hashlib(self):
        path = self.folder / "x"
        path.write_bytes(b"abc")
        expected = hashlib.sha256(b"abc").hexdigest()
        self.assertEqual(sha256_file(path), expected)
        self.assertEqual(
            sha256_json({"b": 1, "a": np.array([2])}),
            hashlib.sha256(b'{"a":[2],"b":1}').hexdigest(),
        )
