import io
import os

import pytest

from tests.test_case import TestCase
from tfshrink.data import tfrecord
from tfshrink.errors import UserError

RECORDS = [b"", b"one", bytes(range(256)) * 5]


class TfrecordTest(TestCase):
    def test_crc32c_matches_rfc_3720(self):
        # RFC 3720, appendix B.4.
        self.assertEqual(tfrecord.crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(tfrecord.crc32c(b"\xff" * 32), 0x62A8AB43)
        self.assertEqual(tfrecord.crc32c(bytes(range(32))), 0x46DD794E)

    def test_frames_match_tensorflows_writer(self):
        tf = pytest.importorskip("tensorflow")
        path = os.path.join(self.create_tempdir(), "a.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for record in RECORDS:
                writer.write(record)
        with open(path, "rb") as file:
            theirs = file.read()
        self.assertEqual(b"".join(map(tfrecord.frame, RECORDS)), theirs)

    def test_read_returns_records_and_their_ends(self):
        data = b"".join(map(tfrecord.frame, RECORDS))
        found = list(tfrecord.read_frames(io.BytesIO(data)))
        self.assertEqual([record for record, _ in found], RECORDS)
        self.assertEqual(found[0][1], 16)
        self.assertEqual(found[-1][1], len(data))

    def test_a_cut_record_ends_the_reading(self):
        data = b"".join(map(tfrecord.frame, RECORDS))
        for cut in range(1, len(tfrecord.frame(RECORDS[-1])), 97):
            found = list(tfrecord.read_frames(io.BytesIO(data[:-cut])))
            self.assertLen(found, 2)

    def test_a_damaged_record_is_named(self):
        path = os.path.join(self.create_tempdir(), "a.tfrecord")
        for place in (0, 9, 14):  # length, its checksum, data
            data = bytearray(tfrecord.frame(b"some text"))
            data[place] ^= 1
            with open(path, "wb") as file:
                file.write(data)
            with open(path, "rb") as file:
                with self.assertRaisesRegex(UserError, "a.tfrecord must be"):
                    list(tfrecord.read_frames(file))
