"""One damaged file for each kind of defect that damaging many has found."""

import io
import json
import pathlib
import struct
import zipfile

import numpy as np
from absl.testing import parameterized

from tests.reliability import readers
from tests.test_case import TestCase
from tfshrink import arrays
from tfshrink.data import tf_example
from tfshrink.data import tfrecord
from tfshrink.data.records import read_records
from tfshrink.errors import UserError
from tfshrink.run_folder import RunFolder

DEEP = "[" * 100_000
ENDLESS = 2**31  # blocks
HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}"


class DamageTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def whole(self, name):
        """The reader of that name, and whole files that it reads."""
        reader = readers.READERS[name]
        reader.make(self.folder)
        return reader

    def change(self, file, /, **changes):
        """Sets values of a JSON file, deep ones by a path with `__`."""
        path = self.folder / file
        values = json.loads(path.read_text())
        for place, value in changes.items():
            *parts, last = place.split("__")
            own = values
            for part in parts:
                own = own[part]
            own[last] = value
        path.write_text(json.dumps(values))

    @parameterized.parameters(
        ("plan", "plan.json"),
        ("policy", "policy.json"),
        ("results", "results.json"),
        ("results", "sensitivity.json"),
        ("results", "certificate.json"),
        ("run", "config.json"),
        ("run", "range_test.json"),
        ("records", "rows.jsonl"),
        ("texts", "squad.json"),
        ("huggingface", "config.json"),
        ("artefact", "metadata.json"),
    )
    def test_brackets_without_end_are_one_error(self, name, file):
        reader = self.whole(name)
        (self.folder / file).write_text(DEEP + "\n")
        if file == "range_test.json":
            with self.assertRaisesRegex(UserError, file):
                RunFolder(self.folder, resume=True).read(file)
            return
        with self.assertRaisesRegex(UserError, file.partition(".")[0]):
            reader.read(self.folder)

    @parameterized.parameters(
        ("plan", "plan.json", {"layers": ENDLESS}, "at most 10000"),
        ("plan", "plan.json", {"layers": True}, "number of blocks"),
        ("plan", "plan.json", {"name": []}, "`name` must be text"),
        ("plan", "plan.json", {"group": 64.0}, "`group` must be"),
        ("plan", "plan.json", {"exit__thresholds": None}, "must be numbers"),
        ("plan", "plan.json", {"exit__missing": []}, "missing"),
        ("plan", "plan.json", {"kv__calibration": [1]}, "must be text"),
        ("plan", "plan.json", {"kv__rate": float("inf")}, "positive"),
        ("plan", "plan.json", {"kv__rotated": "no"}, "rotated"),
        ("huggingface", "config.json", {"eos_token_id": ["x"]}, "tokens"),
        (
            "huggingface",
            "config.json",
            {"num_hidden_layers": ENDLESS},
            "at most 10000 blocks",
        ),
        ("run", "config.json", {"settings__seed": "x"}, "config.json"),
        ("run", "config.json", {"settings": []}, "config.json"),
        ("run", "config.json", {"precision__ranks": [2**40, 1]}, "`ranks`"),
        ("run", "config.json", {"precision__widths": 8}, "`widths`"),
        ("artefact", "metadata.json", {"config__layers": 3}, "of 3 blocks"),
        ("artefact", "metadata.json", {"config__x": 3}, "must be whole"),
        ("artefact", "metadata.json", {"special_tokens": 3}, "must be whole"),
        (
            "artefact",
            "metadata.json",
            {"formats__litert__file": "../x"},
            "a file beside it",
        ),
        (
            "artefact",
            "metadata.json",
            {"formats__litert__file": "x" * 300},
            "must hold xxx",
        ),
    )
    def test_values_of_other_kinds_are_named(self, name, file, own, message):
        reader = self.whole(name)
        if "eos_token_id" in own:
            (self.folder / "generation_config.json").unlink()
        self.change(file, **own)
        with self.assertRaisesRegex(UserError, message):
            reader.read(self.folder)

    def test_a_shard_that_no_file_system_can_name(self):
        reader = self.whole("huggingface_shards")
        index = "model.safetensors.index.json"
        weight_map = json.loads((self.folder / index).read_text())["weight_map"]
        weight_map["lm_head.weight"] = "\ud800"
        self.change(index, weight_map=weight_map)
        with self.assertRaisesRegex(UserError, "complete safetensors"):
            reader.read(self.folder)

    @parameterized.parameters(
        ("not json", "line 2 must be"),
        ("[1]", "line 2 must be"),
        ('{"step": "two"}', "step 'two'"),
        ("\udcff", "line 2 must be"),
    )
    def test_a_damaged_line_of_metrics_is_named(self, line, message):
        run = RunFolder(self.folder / "run")
        run.log({"step": 1})
        path = run.path / "metrics.jsonl"
        data = line.encode("utf-8", "surrogateescape")
        path.write_bytes(path.read_bytes() + data + b'\n{"step": 3}\n')
        with self.assertRaisesRegex(UserError, message):
            RunFolder(run.path, resume=True)

    def test_half_a_character_reaches_the_page_as_a_sign(self):
        from tfshrink.report.report import report

        self.whole("results")
        self.change("results.json", model="\ud800")
        report([self.folder / "results.json"], self.folder / "page.html")
        page = (self.folder / "page.html").read_text("utf-8")
        self.assertRegex(page, r">\s*\?\s*<")

    def test_a_list_is_no_results(self):
        from tfshrink.report.report import report

        path = self.folder / "results.json"
        path.write_text('[1, "x", null]')
        with self.assertRaisesRegex(UserError, "must hold a JSON object"):
            report([path], self.folder / "page.html")

    def test_a_tensor_without_numbers_is_refused(self):
        from tfshrink.models.sources.gguf_header import GGUFHeader

        self.whole("gguf")
        path = self.folder / "model.gguf"
        name = b"output_norm.weight" + struct.pack("<IQ", 1, 32)
        self.assertIn(name, path.read_bytes())
        empty = name[:-8] + struct.pack("<Q", 0)
        path.write_bytes(path.read_bytes().replace(name, empty))
        with self.assertRaisesRegex(UserError, "output_norm.weight. of shape"):
            GGUFHeader.read(path)

    def test_statistics_of_another_shape_are_named(self):
        reader = self.whole("calibration")
        path = self.folder / "kv.npz"
        own = arrays.read_arrays(path)
        np.savez(path, **{**own, "left": own["left"][:, :, 1:]})
        with self.assertRaisesRegex(UserError, "kv.npz: `left` must be"):
            reader.read(self.folder)

    def test_text_of_squad_is_text(self):
        from tfshrink.data.squad import load_squad

        self.whole("texts")
        squad = self.folder / "squad.json"
        squad.write_text(squad.read_text().replace('"Which?"', "7"))
        with self.assertRaisesRegex(UserError, "SQuAD v1.1"):
            load_squad(str(squad))


class RecordsTest(TestCase):
    def record(self, data):
        path = self.create_tempfile("x.tfrecord").full_path
        pathlib.Path(path).write_bytes(data)
        return list(read_records(path))

    def test_a_length_that_lies_asks_for_no_memory(self):
        length = struct.pack("<Q", 2**40)
        crc = tfrecord.FOOTER.pack(tfrecord.masked_crc(length))
        with self.assertRaisesRegex(UserError, "cut short"):
            self.record(length + crc + b"little")

    @parameterized.parameters(
        (b"\xff" * 100_000,),  # a number of 700,000 bits
        (b"\x08\x01",),  # a number for a message
        (b"\x0a\x05\x0a\x03\x0a\x01\xff",),  # a name that is no text
        (tf_example.encode_example({"settings": "{"}),),
    )
    def test_what_is_no_example_is_one_error(self, data):
        with self.assertRaisesRegex(UserError, "x.tfrecord"):
            self.record(tfrecord.frame(data))

    def test_rows_of_generated_text_are_checked(self):
        from tfshrink.data.generated import load_generated

        for row in ("[1]", '{"tokens": 3, "prompt_length": 1}', "7"):
            path = self.create_tempfile("x.jsonl", row + "\n").full_path
            with self.assertRaisesRegex(UserError, "row 1 must have `tokens`"):
                load_generated(path)


class ArraysTest(TestCase):
    def archive(self, header, data=b"\0" * 32, packed=zipfile.ZIP_STORED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", packed) as archive:
            own = np.lib.format.magic(1, 0) + struct.pack("<H", len(header))
            archive.writestr("a.npy", own + header.encode("latin1") + data)
        path = self.create_tempfile("x.npz").full_path
        pathlib.Path(path).write_bytes(file.getvalue())
        return path

    def test_they_are_those_of_numpy(self):
        random = np.random.default_rng(0)
        own = {
            "a": random.normal(size=(2, 3, 4)).astype("float32"),
            "b": np.asfortranarray(random.normal(size=(3, 2))),
            "text": np.array("x y"),
            "none": np.zeros((0, 4), "int8"),
        }
        path = self.create_tempfile("x.npz").full_path
        np.savez(path, **own)
        found = arrays.read_arrays(path)
        self.assertEqual(list(found), list(own))
        for name, array in np.load(path).items():
            self.assertAllEqual(found[name], array)
            self.assertEqual(found[name].dtype, array.dtype)

    @parameterized.parameters(
        (HEADER.format("<f4", "(1099511627776,)"),),
        (HEADER.format("<f4", "(-8,)"),),
        (HEADER.format("|O", "(4,)"),),
        (HEADER.format("<f4", "(")[:-1],),
        ("((((",),
    )
    def test_a_header_that_lies_is_refused_before_memory_is_asked_for(
        self, text
    ):
        with self.assertRaises(ValueError):
            arrays.read_arrays(self.archive(text))

    def test_a_packed_array_is_refused(self):
        text = HEADER.format("<f4", "(8,)")
        self.assertLen(arrays.read_arrays(self.archive(text))["a"], 8)
        with self.assertRaisesRegex(ValueError, "compressed"):
            arrays.read_arrays(self.archive(text, packed=zipfile.ZIP_DEFLATED))
