import dataclasses
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.layers.layer_inputs import randomize
from tests.models.exit_walk_test import MIDDLE
from tests.test_case import TestCase
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.frozen_exits import freeze_exits
from tfshrink.deploy.litert.exit_session import ExitSession
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.litert.write import write_litert
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.decoder import Decoder
from tfshrink.models.generation import Generator
from tfshrink.models.load import fit_scales
from tfshrink.models.sources import open_source
from tfshrink.plan import Plan

PROMPT = [8, 400, 3, 3, 17, 3, 7]
NEW = 24


def decoder(name="tiny", *, layers=3, exits=(1, 2), activations=0, **options):
    """A small model of random weights whose exits answer something."""
    config = dataclasses.replace(open_source(name).config, layers=layers)
    precision = PrecisionConfig(
        widths=(8, 4), ranks=(), group=32, activations=activations
    )
    options = {"rank": 8, "candidates": 8, **options}
    own = ExitConfig(layers=exits, **options)
    made = Decoder(config, precision, exits=own, name="decoder")
    made.build()
    randomize(made, 5, size=0.2)
    fit_scales(made, (8, 4))
    if made.light_head is not None:
        kernel = np.asarray(made.head_kernel())
        states = np.random.default_rng(0).normal(size=(200, kernel.shape[1]))
        made.light_head.fit(kernel, states)
    return made


def plan_for(made, text):
    config = made.config
    return Plan.parse(
        text,
        layers=config.layers,
        tied=config.tied,
        group=made.precision.group,
        activations=made.precision.activations,
    )


def generated(session, prompt, count=NEW):
    """Tokens of the greedy continuation, and how deep each went."""
    session.begin(count)
    logits, made, depths = session.prefill(prompt), [], []
    for _ in range(count):
        made.append(int(logits.argmax()))
        depths.append(session.depth)
        if len(made) < count:
            logits = session.step(made[-1])
    return made, depths


def simulated(made, spec, bits=None, prompt=PROMPT):
    generator = Generator(made, bits=bits, exits=spec)
    (wanted,) = generator.generate(
        [prompt], max_new_tokens=NEW, temperature=0, stop_tokens=()
    )
    return wanted, generator.depths[0]


class ExitSessionTest(TestCase):
    def setUp(self):
        super().setUp()
        folder = self.create_tempdir().full_path
        self.path = pathlib.Path(folder, "model.tflite")

    def opened(self, made, text, policy):
        """A plan and a policy as a file, opened."""
        plan, spec = plan_for(made, text), ExitSpec.parse(policy)
        layers = spec.layers_of(made.exits.layers)
        exits = freeze_exits(made, plan, layers)
        write_litert(freeze(made, plan), self.path, exits=exits)
        return self.reopened(made, dataclasses.replace(spec, layers=layers))

    def reopened(self, made, spec):
        return ExitSession(self.path, made.config.to_json(), spec, threads=1)

    def check(self, made, policy, least=2):
        """Text and depths are those of Keras; of several depths."""
        session = self.opened(made, "32", policy)
        found, depths = generated(session, PROMPT)
        wanted, expected = simulated(made, ExitSpec.parse(policy))
        self.assertEqual(found, wanted)
        self.assertEqual(depths, expected)
        self.assertGreaterEqual(len(set(depths)), least)
        return session

    @parameterized.parameters(
        f"classifier:{MIDDLE['classifier']}",
        "classifier:.55,.5:pending=3",
        "classifier:.5:layers=2",
        "cosine:.3",
        "margin:.1:schedule=decay:floor=.1",
        "max:.3:margin=.05",
        "multi_level:.2:schedule=dynamic:target=.6",
        "entropy:.3",
    )
    def test_text_is_that_of_the_simulation(self, policy):
        self.check(decoder(), policy)

    @parameterized.parameters(
        ("tiny-gpt2", {}), ("tiny", {"blocks": 0}), ("tiny", {"rank": 0})
    )
    def test_other_models_and_exits(self, name, options):
        self.check(decoder(name, **options), "classifier:.5")

    def test_a_threshold_of_one_is_the_full_model(self):
        made = decoder(activations=8)
        session = self.opened(made, "4", "classifier:1")
        full = Session(self.path, made.config.to_json(), threads=1)
        for prompt in (PROMPT, PROMPT * 40, [9]):
            found, depths = generated(session, prompt)
            self.assertEqual(found, generated(full, prompt)[0])
            self.assertEqual(set(depths), {3})
            session.reset()
            full.reset()

    def test_logits_of_all_blocks_are_the_full_models_own(self):
        made = decoder(activations=8)
        session = self.opened(made, "4", "classifier:.5")
        full = Session(self.path, made.config.to_json(), threads=1)
        session.begin(NEW)
        logits, wanted, deep = session.prefill(PROMPT), full.prefill(PROMPT), 0
        for _ in range(NEW):
            if session.depth == 3:
                self.assertAllClose(
                    logits, wanted, atol=0.02 * np.abs(wanted).max()
                )
                deep += 1
            token = int(wanted.argmax())
            logits, wanted = session.step(token), full.step(token)
        self.assertBetween(deep, 1, NEW - 1)

    def test_tokens_wait_and_go_together(self):
        made = decoder()
        session = self.opened(made, "32", "classifier:0:pending=4")
        session.begin(9)
        session.prefill(PROMPT)
        waits, depths = [session.waiting], [session.depth]
        for token in range(3, 9):
            session.step(token)
            waits.append(session.waiting)
            depths.append(session.depth)
        self.assertEqual(depths, [1, 1, 1, 3, 1, 1, 1])
        self.assertEqual([first for first, _ in waits], [1, 2, 3, 0, 1, 2, 3])

    def test_rewinding_forgets_what_waits_too(self):
        made = decoder()
        session = self.opened(made, "32", "classifier:0:pending=4")
        session.begin(9)
        session.prefill(PROMPT)
        for token in (3, 4):
            session.step(token)
        self.assertEqual(session.rewind(len(PROMPT) + 1), len(PROMPT) + 1)
        self.assertEqual(session.waiting, [2, 0])
        found = session.prefill([30, 31, 32]).copy()
        fresh = self.reopened(made, session.rule.spec)
        fresh.begin(9)
        wanted = fresh.prefill([*PROMPT, 3, 30, 31, 32])
        self.assertAllClose(found, wanted, rtol=1e-4, atol=1e-4)
        session.reset()
        self.assertEqual((session.length, session.waiting), (0, [0, 0]))

    def test_the_cache_grows_and_prompts_come_in_chunks(self):
        made = decoder()
        policy = "classifier:.5"
        session = self.opened(made, "32", policy)
        prompt = np.random.default_rng(0).integers(3, 500, 250).tolist()
        found = generated(session, prompt)
        wanted = simulated(made, ExitSpec.parse(policy), prompt=prompt)
        self.assertEqual(found, wanted)

    def test_weights_are_stored_once(self):
        made = decoder(exits=(1,))
        plan = plan_for(made, "8")
        decoder_only = freeze(made, plan)
        write_litert(decoder_only, self.path)
        plain = self.path.stat().st_size
        codes = decoder_only.blocks[0].groups["mlp_out"][0].codes.tobytes()
        self.opened(made, "8", "classifier:.5").close()
        data = self.path.read_bytes()
        self.assertEqual(data.count(codes), 1)
        exits = freeze_exits(made, plan, (1,))
        own = sum(
            member.codes.nbytes
            for members in exits.exits[0].blocks[0].groups.values()
            for member in members
        )
        own += exits.up.codes.nbytes + exits.exits[0].translate.codes.nbytes
        # Beside the exit's weights: its graphs, small layers and scales.
        self.assertBetween(len(data) - plain, own, own + 150_000)

    def test_no_graph_but_the_last_multiplies_the_head(self):
        from ai_edge_litert import schema_py_generated as schema

        made = decoder(exits=(1,))
        self.opened(made, "8", "margin:.5").close()
        file = schema.ModelT.InitFromPackedBuf(self.path.read_bytes(), 0)
        dense = schema.BuiltinOperator.FULLY_CONNECTED
        found = set()
        for graph in file.subgraphs:
            for operator in graph.operators:
                code = file.operatorCodes[operator.opcodeIndex].builtinCode
                if code != dense:
                    continue
                shape = tuple(graph.tensors[operator.inputs[1]].shape)
                if shape == (made.config.vocabulary, made.config.width):
                    found.add(graph.name.decode())
        self.assertEqual(
            found,
            {"prefill", "decode", "head", "segment_1", "segment_1_many"},
        )

    def test_a_file_without_these_exits_is_one_error(self):
        made = decoder()
        session = self.opened(made, "32", "classifier:.5:layers=1")
        spec = dataclasses.replace(session.rule.spec, layers=(1, 2))
        with self.assertRaisesRegex(UserError, "exits behind 2 blocks"):
            self.reopened(made, spec)
        with self.assertRaisesRegex(UserError, "`tokens` must hold"):
            session.prefill([])
