import dataclasses
import pathlib
from unittest import mock

import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.deploy import exports
from tests.layers.kv_stubs import statistics
from tests.test_case import TestCase
from tfshrink.deploy.export import export
from tfshrink.deploy.formats import LiteRTFormat
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.runtime import Runtime
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.models import kv_codecs
from tfshrink.models.sources import open_source
from tfshrink.models.streaming import streamed_hidden
from tfshrink.structure import plan_tensor

TOKENS = np.random.default_rng(0).integers(3, 500, 90).astype("int32")
SHAPE = ":block=8:window=8:sinks=2:rotated=true"
CASES = [
    ("tiny", "int8" + SHAPE),
    ("tiny", "int4" + SHAPE),
    ("tiny", "int4:block=8:window=0:sinks=0:rotated=true"),
    ("tiny", "pca:bits=4" + SHAPE),
    ("tiny-gpt2", "int8:block=8:window=8"),
    ("tiny-gpt2", "pca:bits=4:block=8:window=4:rotated=true"),
]


def codecs_of(name, text):
    """`BlockCodecs` of a tiny model, and the spec."""
    source, spec = open_source(name), KVSpec.parse(text)
    config = source.config
    numbers = config.kv_heads * config.head_dim
    known = statistics(config.layers, numbers, config.kv_heads)
    with mock.patch.object(kv_codecs, "load_statistics", lambda _: known):
        codecs = kv_codecs.open_codecs(spec, source, 128)
    codecs.dtype = "float32"  # as in the file
    return codecs, spec


class CodedCacheTest(TestCase):
    def setUp(self):
        super().setUp()
        self.path = pathlib.Path(
            self.create_tempdir().full_path, "model.tflite"
        )

    def written(self, name, text, bits="32"):
        """A session of a model with a codec, and what Keras says."""
        model = exports.decoder(name, group=0)
        codecs, spec = codecs_of(name, text)
        plan = exports.plan_for(model, bits)
        plan = dataclasses.replace(plan, kv=spec.to_json())
        LiteRTFormat([plan], model.config).write(model, self.path, codecs)
        hidden = streamed_hidden(
            model,
            ops.convert_to_tensor(TOKENS[None]),
            codecs,
            plan_tensor(model.config, plan),
        )
        wanted = model.logits(hidden, plan_tensor(model.config, plan))
        self.exact = exports.logits(model, plan, TOKENS)
        session = Session(self.path, model.config.to_json(), threads=1)
        return session, np.asarray(wanted)[0]

    @parameterized.parameters(*CASES)
    def test_prefill_and_decode_equal_keras(self, name, text):
        session, wanted = self.written(name, text)
        self.assertNotAllClose(wanted[-1], self.exact[-1], atol=1e-3)
        atol = 1e-2 * np.abs(wanted).max()
        found = session.prefill(TOKENS[:45])
        self.assertAllClose(found, wanted[44], atol=atol)
        for place in range(45, 62):
            found = session.step(TOKENS[place])
            self.assertAllClose(found, wanted[place], atol=atol)
        found = session.prefill(TOKENS[62:])
        self.assertAllClose(found, wanted[-1], atol=atol)
        session.reset()
        self.assertAllClose(session.score(TOKENS), wanted, atol=atol)

    @parameterized.parameters((60, 60), (84, 0), (89, 89), (12, 0), (0, 0))
    def test_rewinding_keeps_what_it_can(self, length, kept):
        session, wanted = self.written("tiny", CASES[0][1])
        session.prefill(TOKENS[:60] if length <= 60 else TOKENS)
        if length == 60:
            session.step(5)
        self.assertEqual(session.rewind(length), kept)
        found = session.prefill(TOKENS[kept:])
        atol = 1e-2 * np.abs(wanted).max()
        self.assertAllClose(found, wanted[-1], atol=atol)

    @parameterized.parameters("int4" + SHAPE, "pca:bits=4" + SHAPE)
    def test_it_takes_fewer_bytes(self, text):
        session, _ = self.written("tiny", text)
        session.prefill(TOKENS)
        first = session.cache.nbytes()
        session.prefill(np.tile(TOKENS, 3))
        tokens = 3 * len(TOKENS)
        config = open_source("tiny").config
        numbers = 2 * config.layers * config.kv_heads * config.head_dim
        grown = (session.cache.nbytes() - first) / tokens
        self.assertBetween(grown, 0.4 * numbers, 2.0 * numbers)

    def test_an_export_runs_and_is_described(self):
        folder = self.path.with_name("out")
        text = self.path.with_name("text.txt")
        text.write_text("One fish, two fish; red fish, blue fish. " * 80)
        kv = "int8:block=8:window=8:rotated=true"
        _, [row] = export(
            model="tiny",
            plan="8",
            group=32,
            kv=kv,
            out=folder,
            data=str(text),
        )
        self.assertGreater(row["same next token"], 0.9)
        self.assertIn(
            f"K/V cache: {kv}, what", (folder / "README.md").read_text()
        )
        runtime = Runtime(folder)
        prompt = runtime.encode("One fish, two fish; " * 6)
        for _ in range(2):  # the second one rewinds
            made = list(runtime.tokens(prompt, max_new_tokens=24))
            self.assertLen(made, 24)
        self.assertGreater(runtime.session.cache.coded, 2)
        again = list(Runtime(folder).tokens(prompt, max_new_tokens=24))
        self.assertEqual(made, again)

    @parameterized.parameters(
        ("int2" + SHAPE, "must be identity, int8, int4 or pca"),
        ("int4:block=8", "must have rotated=true"),
        ("int4:rotated=true:layers=even", "must code all layers"),
        ("int8:rotated=true:block=9", "must have an even block"),
    )
    def test_what_no_file_can_have_is_refused(self, text, message):
        model = exports.decoder()
        plan = exports.plan_for(model, "8")
        kv = KVSpec.parse(text).to_json()
        plan = dataclasses.replace(plan, kv=kv)
        with self.assertRaisesRegex(UserError, message):
            LiteRTFormat([plan], model.config)
