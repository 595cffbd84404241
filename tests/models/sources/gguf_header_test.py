import pathlib
import struct

import gguf
import numpy as np

from tests.models.sources.gguf_files import write_gguf
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.models.sources.gguf_header import GGUFHeader


def _extra(writer):
    writer.add_array("test.words", ["one", "zwei", "\u2603"])
    writer.add_array("test.numbers", [1, -2, 3])
    writer.add_bool("test.flag", True)
    writer.add_float64("test.double", 0.1)
    writer.add_uint64("test.large", 1 << 40)
    writer.add_int8("test.small", -3)


class GGUFHeaderTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.path = self.folder / "model.gguf"
        write_gguf(self.path, "llama", self.folder / "hf", edit=_extra)

    def test_matches_the_gguf_package(self):
        header = GGUFHeader.read(self.path)
        reader = gguf.GGUFReader(self.path)
        values = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not key.startswith("GGUF.")
        }
        self.assertEqual(header.metadata, values)
        self.assertEqual(
            list(header.tensors), [tensor.name for tensor in reader.tensors]
        )
        for tensor in reader.tensors:
            ours = header.tensors[tensor.name]
            self.assertEqual(ours.shape, tuple(tensor.shape[::-1]))
            self.assertEqual(ours.kind, tensor.tensor_type)
            self.assertEqual(ours.offset, tensor.data_offset)
            self.assertEqual(ours.size, tensor.n_bytes)

    def test_every_truncation_is_a_user_error(self):
        data = self.path.read_bytes()
        start = min(
            t.offset for t in GGUFHeader.read(self.path).tensors.values()
        )
        ends = [*range(0, start, 7), start, start + 100, len(data) // 2]
        short = self.folder / "short.gguf"
        for end in ends:
            short.write_bytes(data[:end])
            with self.assertRaisesRegex(UserError, "short.gguf: expected"):
                GGUFHeader.read(short)

    def test_a_damaged_header_is_read_or_refused(self):
        data = self.path.read_bytes()
        bad = self.folder / "bad.gguf"
        generator = np.random.default_rng(0)
        refused = 0
        for _ in range(300):
            damaged = bytearray(data)
            damaged[generator.integers(0, 2500)] = generator.integers(256)
            bad.write_bytes(damaged)
            try:
                GGUFHeader.read(bad)
            except UserError as error:
                self.assertIn("bad.gguf", str(error))
                self.assertNotIn("\n", str(error))
                refused += 1
        self.assertGreater(refused, 50)

    def test_other_files_and_versions(self):
        data = self.path.read_bytes()
        for start, expected in (
            (b"PK\x03\x04", "letters GGUF"),
            (b"GGUF" + struct.pack("<I", 1), "version 1"),
            (b"GGUF" + struct.pack(">I", 3), "little-endian"),
        ):
            self.path.write_bytes(start + data[len(start) :])
            with self.assertRaisesRegex(UserError, expected):
                GGUFHeader.read(self.path)

    def test_a_folder_and_nothing(self):
        for path in (self.folder, self.folder / "none.gguf"):
            with self.assertRaisesRegex(UserError, "readable GGUF"):
                GGUFHeader.read(path)
