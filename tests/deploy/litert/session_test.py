import dataclasses
import pathlib
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests.deploy import exports
from tests.test_case import TestCase
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.litert import exact_columns
from tfshrink.deploy.litert.packed_weight import unpack_codes
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.litert.write import litert_notes
from tfshrink.deploy.litert.write import write_litert
from tfshrink.errors import UserError

MIXED = "8,4,2,4,2,8,4,3"


class SessionTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path

    def opened(self, model, plan, **options):
        return exports.session(self.folder, model, plan, **options)

    @parameterized.named_parameters(
        ("float", "32", {}),
        ("half", "16", {}),
        ("8", "8", {}),
        ("4_groups", "4", {}),
        ("4_channel", "4", {"group": 0}),
        ("2_groups", "2", {}),
        ("2_channel", "2", {"group": 0}),
        ("mixed", MIXED, {}),
        ("mixed_channel", MIXED, {"group": 0}),
        ("no_adapters", MIXED, {"ranks": ()}),
        ("inside", MIXED, {"placement": "inside"}),
    )
    def test_prefill_and_decode_equal_keras(self, text, structure):
        self.check(exports.decoder(**structure), text)

    @parameterized.parameters("32", "4", "2,8,4,2,3,4,8,2")
    def test_the_gpt2_family_equals_keras(self, text):
        self.check(exports.decoder("tiny-gpt2", group=0), text)

    @parameterized.parameters(
        ("tiny", "32:heads=.5", 32),
        ("tiny", "4:channels=.25", 32),
        ("tiny", "2:heads=.5:channels=.5", 0),
        ("tiny-gpt2", "8:heads=.25:channels=.25", 0),
    )
    def test_what_a_plan_removes_is_not_there(self, name, text, group):
        model = exports.decoder(name, group=group)
        whole = exports.decoder(name, group=group)
        self.check(model, text)
        size = self.size()
        self.check(whole, text.split(":")[0])
        self.assertLess(size, self.size())

    def test_blocks_may_differ_in_what_is_left(self):
        model = exports.decoder()
        plan = exports.plan_for(model, "8")
        plan = dataclasses.replace(plan, heads=(0.5, 0.0), channels=(0, 0.5))
        self.check(model, plan)
        frozen = freeze(model, plan)
        self.assertEqual([b.kv_heads for b in frozen.blocks], [1, 2])
        self.assertEqual([b.heads for b in frozen.blocks], [2, 4])
        shapes = [b.groups["mlp_out"][0].codes.shape for b in frozen.blocks]
        self.assertEqual(shapes, [(64, 128), (64, 64)])

    def size(self):
        return pathlib.Path(self.folder, "model.tflite").stat().st_size

    def check(self, model, text, **options):
        plan = text
        if isinstance(text, str):
            plan = exports.plan_for(model, text)
        wanted = exports.logits(model, plan)
        # An input on the edge between two integers may fall either way.
        floats = min(plan.bits) == 32
        atol = 1e-5 if floats else 0.02 * np.abs(wanted).max()
        session = self.opened(model, plan, **options)
        found = session.prefill(exports.TOKENS[:8])
        self.assertAllClose(found, wanted[7], atol=atol)
        for place in range(8, 12):
            found = session.step(exports.TOKENS[place])
            self.assertAllClose(found, wanted[place], atol=atol)
        session.reset()
        self.assertAllClose(session.score(exports.TOKENS), wanted, atol=atol)

    @parameterized.parameters("8", "4", "2")
    def test_kernels_without_xnnpack_equal_keras(self, text):
        self.check(exports.decoder(), text, builtin=True)

    def test_the_cache_grows_and_prompts_come_in_chunks(self):
        model = exports.decoder()
        plan = exports.plan_for(model, "32")
        tokens = np.random.default_rng(0).integers(3, 500, 150)
        wanted = exports.logits(model, plan, tokens)
        session = self.opened(model, plan)
        with mock.patch.object(exact_columns, "CHUNK", 40):
            found = session.prefill(tokens[:130])
        self.assertAllClose(found, wanted[129], atol=1e-4)
        for place in range(130, 150):
            found = session.step(tokens[place])
        self.assertAllClose(found, wanted[149], atol=1e-4)

    @parameterized.parameters(
        ("tiny", "4", {}),
        ("tiny", "2", {"group": 0}),
        ("tiny", MIXED, {"ranks": ()}),
        ("tiny-gpt2", "8:heads=.25", {"group": 0}),
    )
    def test_one_token_is_one_partition(self, name, text, structure):
        """A second one would cost a pass over the cache between them."""
        from ai_edge_litert.interpreter import Interpreter

        model = exports.decoder(name, **structure)
        self.opened(model, exports.plan_for(model, text)).close()
        path = pathlib.Path(self.folder, "model.tflite")
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        kinds = [own["op_name"] for own in interpreter._get_ops_details()]
        self.assertEqual(kinds.count("DELEGATE"), 1)

    def test_no_token_is_one_error(self):
        model = exports.decoder()
        session = self.opened(model, exports.plan_for(model, "8"))
        for call in (session.prefill, session.score):
            with self.assertRaisesRegex(UserError, "`tokens` must hold"):
                call([])

    def test_rewinding_forgets_the_end(self):
        model = exports.decoder()
        plan = exports.plan_for(model, "32")
        wanted = exports.logits(model, plan)
        session = self.opened(model, plan)
        session.prefill([*exports.TOKENS[:5], 7, 9, 11])
        session.rewind(5)
        found = session.prefill(exports.TOKENS[5:])
        self.assertAllClose(found, wanted[-1], atol=1e-5)

    def test_a_sequence_beyond_the_context_is_refused(self):
        model = exports.decoder()
        session = self.opened(model, exports.plan_for(model, "8"))
        with self.assertRaisesRegex(UserError, "at most 512 tokens"):
            session.prefill(np.zeros(513, "int32"))

    @parameterized.parameters("missing", "empty", "half", "foreign")
    def test_a_file_that_cannot_be_run_is_one_error(self, kind):
        model = exports.decoder()
        path = pathlib.Path(self.folder, "model.tflite")
        if kind != "missing":
            write_litert(freeze(model, exports.plan_for(model, "8")), path)
            data = path.read_bytes()
            kinds = {"empty": b"", "half": data[:4000], "foreign": b"x" * 9999}
            path.write_bytes(kinds[kind])
        with self.assertRaisesRegex(UserError, "must be a .tflite file"):
            Session(path, model.config.to_json())


class FileTest(TestCase):
    """The integers in the file are those that were trained."""

    @parameterized.parameters(0, 32)
    def test_codes_and_scales_are_read_back(self, group):
        from ai_edge_litert import schema_py_generated as schema

        path = pathlib.Path(self.create_tempdir().full_path, "x.tflite")
        model = exports.decoder(group=group, ranks=())
        plan = exports.plan_for(model, MIXED)
        decoder = freeze(model, plan)
        write_litert(decoder, path)
        data = path.read_bytes()
        file = schema.ModelT.InitFromPackedBuf(data, 0)
        graph = file.subgraphs[0]
        found = [
            operator
            for operator in graph.operators
            if file.operatorCodes[operator.opcodeIndex].builtinCode
            == schema.BuiltinOperator.FULLY_CONNECTED
            and graph.tensors[operator.inputs[1]].shape[0] > 1
        ]
        wanted = [
            members
            for block in decoder.blocks
            for members in block.groups.values()
        ]
        wanted.append([decoder.embedding])
        for operator, members in zip(found, wanted, strict=True):
            tensor = graph.tensors[operator.inputs[1]]
            codes, scale = self.read(file, graph, tensor, data)
            parts = np.concatenate([m.codes for m in members])
            own = np.concatenate([m.scale for m in members])
            if members[0].bits == 2 and group:  # exact in int4 blocks
                parts, own = 2 * parts + 1, own / 2
            self.assertAllEqual(codes, parts)
            self.assertAllEqual(scale, own)

    def read(self, file, graph, tensor, data):
        """Codes and scales of a tensor."""
        from ai_edge_litert import schema_py_generated as schema

        bits = {
            schema.TensorType.INT8: 8,
            schema.TensorType.INT4: 4,
            schema.TensorType.INT2: 2,
        }[tensor.type]
        count = int(np.prod(tensor.shape))
        codes = unpack_codes(self.bytes_of(file, tensor, data), bits, count)
        quantization = tensor.quantization
        if quantization.details is None:
            scale = np.array(quantization.scale, "float32")[:, None]
        else:
            scales = graph.tensors[quantization.details.scales]
            scale = np.frombuffer(self.bytes_of(file, scales, data), "float16")
            scale = scale.astype("float32").reshape(tensor.shape[0], -1)
        return codes.reshape(tensor.shape), scale

    def bytes_of(self, file, tensor, data):
        buffer = file.buffers[tensor.buffer]
        return data[buffer.offset : buffer.offset + buffer.size]

    def test_a_tied_table_is_stored_once(self):
        path = pathlib.Path(self.create_tempdir().full_path, "x.tflite")
        model = exports.decoder(ranks=())
        write_litert(freeze(model, exports.plan_for(model, "8")), path)
        table = np.asarray(
            freeze(model, exports.plan_for(model, "8")).embedding.codes
        ).tobytes()
        self.assertEqual(path.read_bytes().count(table), 1)

    def test_what_ships_wider_is_said(self):
        model = exports.decoder()
        decoder = freeze(model, exports.plan_for(model, "2,3,4,5,6,7,8,8"))
        self.assertEqual(
            litert_notes(decoder),
            [
                "2 bits in int4",
                "3 bits in int4",
                "5 bits in int8",
                "6 bits in int8",
                "7 bits in int8",
            ],
        )
