import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import parameterized

from tests import forks
from tests.evaluation.evaluate_test import write_run
from tests.layers.layer_inputs import randomize
from tests.test_case import TestCase
from tfshrink.deploy.export import export
from tfshrink.deploy.frozen_exits import freeze_exits
from tfshrink.deploy.generate import generate
from tfshrink.deploy.runtime import Runtime
from tfshrink.deploy.sampling import Sampling
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.exit_spec import ExitSpec
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import save_model
from tfshrink.models.generation import Generator
from tfshrink.models.load import fit_scales
from tfshrink.models.load import load_model
from tfshrink.plan import Plan

ROOT = pathlib.Path(__file__).parents[2]
GREEDY = {"temperature": 0.0, "repetition_penalty": 1.0}
PROMPT = [5, 7, 11, 300]
POLICY = "classifier:.5"


def write_exit_run(folder):
    """A finished run of `tiny` with an exit behind its first block."""
    precision = PrecisionConfig(widths=(8, 4), ranks=(), group=32)
    exits = ExitConfig(layers=(1,), rank=8, candidates=8)
    model = load_model("tiny", precision=precision, fit=False, exits=exits)
    fit_scales(model, (8, 4))
    randomize(model.exit_heads[0], 0, size=0.2)
    kernel = np.asarray(model.head_kernel())
    states = np.random.default_rng(0).normal(size=(200, kernel.shape[1]))
    model.light_head.fit(kernel, states)
    folder.joinpath("checkpoints").mkdir(parents=True)
    save_model(f"{folder}/checkpoints/final.safetensors", model)
    config = {
        "model": "tiny",
        "precision": precision.to_json(),
        "plans": [Plan.parse("8", layers=2, group=32).to_json()],
        "exits": exits.to_json(),
    }
    folder.joinpath("config.json").write_text(json.dumps(config))


def round_exits(model, plan):
    """Gives a model the exits' weights that a file at this plan holds."""
    frozen = freeze_exits(model, plan, model.exits.layers)
    for head, own in zip(model.exit_heads, frozen.exits, strict=True):
        for block, parts in zip(head.inner, own.blocks, strict=True):
            for name, members in block.groups().items():
                pairs = zip(members, parts.groups[name], strict=True)
                for member, part in pairs:
                    member.kernel.assign(part.values().T)
        head.translate.assign(own.translate.values().T)
    model.light_head.up.assign(frozen.up.values())


class ExitExportTest(TestCase):
    """From a run with exits to text, and what the folder says of them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.root = pathlib.Path(folder)
        cls.run_folder = cls.root / "run"
        write_exit_run(cls.run_folder)
        cls.folder, cls.rows = cls.exported(POLICY)

    @classmethod
    def exported(cls, policy, name="early", plan="32"):
        return export(
            workdir=cls.run_folder,
            plan=plan,
            exit=policy,
            out=cls.root / name,
        )

    @parameterized.parameters("32", "8")
    def test_text_is_that_of_the_run(self, plan):
        (one,) = run_candidates([self.run_folder], plan, activations=8)
        model = one.load("float32")
        folder = self.folder
        if plan == "8":
            folder, _ = self.exported(POLICY, "eight", plan)
            round_exits(model, one.plans[0])
        generator = Generator(
            model,
            bits=one.plans[0].bits,
            exits=ExitSpec.parse(POLICY),
        )
        (wanted,) = generator.generate(
            [PROMPT], max_new_tokens=20, temperature=0.0
        )
        runtime = Runtime(folder)
        found = runtime.tokens(
            PROMPT, max_new_tokens=20, sampling=Sampling(**GREEDY)
        )
        self.assertEqual(list(found), wanted)
        self.assertEqual(runtime.depths[: len(wanted)], generator.depths[0])
        self.assertEqual(set(runtime.depths), {1, 2})

    def test_metadata_and_card_name_the_policy(self):
        metadata = json.loads((self.folder / "metadata.json").read_text())
        spec = ExitSpec.from_json(metadata["exit"])
        self.assertEqual(spec, ExitSpec.parse(f"{POLICY}:layers=1"))
        card = (self.folder / "README.md").read_text()
        self.assertIn("behind block 1 where the policy `classifier:0.5", card)

    def test_row_says_how_true_the_exits_are(self):
        (row,) = self.rows
        self.assertEqual(row["same next token"], 1.0)
        self.assertGreater(row["same through exits"], 0.98)
        self.assertBetween(row["blocks a token"], 1.01, 1.99)

    def test_a_threshold_of_one_is_the_export_without_exits(self):
        texts, folders = [], []
        for name, policy in (("one", "classifier:1"), ("full", None)):
            folder, _ = self.exported(policy, name, plan="8")
            folders.append(folder)
            result = generate(
                "Once",
                lambda piece: None,
                artifact=folder,
                max_new_tokens=30,
                **GREEDY,
            )
            texts.append(result["text"])
            blocks = {"one": 2.0, "full": None}[name]
            self.assertEqual(result["layers"], blocks)
        self.assertEqual(*texts)
        full, one = self._side_by_side(*reversed(folders))
        self.assertEqual((full["layers"], one["layers"]), (2.0, 2.0))
        self.assertEqual((one["agreement"], one["same_text"]), (1.0, 1.0))
        self.assertEqual((full["exit"], full["speedup"]), (None, 1.0))
        self.assertEqual(one["exit"], "classifier:1:layers=1")

    def _side_by_side(self, full, *others):
        """Rows of benchmarks/exported_exits.py."""
        out = self.root / "exits.json"
        done = forks.run(
            (
                "benchmarks/exported_exits.py",
                f"--full={full}",
                f"--artifacts={','.join(map(str, others))}",
                "--prompts=2",
                "--prompt_tokens=16",
                "--new_tokens=6",
                f"--json={out}",
            ),
            cwd=ROOT,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(out.read_text())["rows"]

    def test_a_conversation_goes_on_where_it_was(self):
        settings = {"max_new_tokens": 6, "sampling": Sampling(**GREEDY)}
        runtime = Runtime(self.folder)
        first = list(runtime.tokens(PROMPT, **settings))
        longer = [*PROMPT, *first, 9, 17]
        again = list(runtime.tokens(longer, **settings))
        fresh = list(Runtime(self.folder).tokens(longer, **settings))
        self.assertEqual(again, fresh)

    def test_running_it_needs_no_tensorflow(self):
        code = (
            "import sys\n"
            "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
            "from tfshrink.deploy.runtime import Runtime\n"
            f"runtime = Runtime({str(self.folder)!r})\n"
            "print(len(list(runtime.tokens([5], max_new_tokens=4))))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        self.assertBetween(int(done.stdout.split("\n")[0]), 1, 4)

    @parameterized.parameters(
        ({"exit": "classifier:.5:layers=2"}, "has exits behind: 1"),
        ({"exit": "classifier:.5,.6"}, "one for each of the 1 exits"),
        ({"exit": "classifier:2"}, "must lie in 0..1"),
        ({"exit": "classifer:.5"}, "classifier"),
        ({"exit": "margin:.5:missing=propagate"}, "must have missing=lazy"),
        ({"exit": "margin:.5:head=light"}, "must have head=full"),
        ({"exit": "margin:.5:missing=verify"}, "must have missing=lazy"),
        ({"exit": "policy:.5:weights=x.json"}, "a learned policy"),
        ({"exit": POLICY, "format": ["saved_model"]}, "--format=litert alone"),
        ({"exit": POLICY, "kv": "int8:rotated=true"}, "`--kv` exclude"),
        ({"exit": POLICY, "workdir": None}, "whose model has exits"),
    )
    def test_mistake_is_named_before_anything_is_written(
        self, options, message
    ):
        folder = pathlib.Path(self.create_tempdir().full_path, "x")
        values = {"workdir": self.run_folder, "plan": "8", **options}
        if values["workdir"] is None:
            values.update(model="tiny", group=32)
        with self.assertRaisesRegex(UserError, message):
            export(out=folder, **values)
        self.assertEqual(os.listdir(folder.parent), [])

    def test_a_run_without_exits_is_refused(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        write_run(folder / "run")
        with self.assertRaisesRegex(UserError, "whose model has exits"):
            export(
                workdir=folder / "run",
                plan="4",
                exit=POLICY,
                out=folder / "x",
            )
        self.assertEqual(os.listdir(folder), ["run"])

    def test_commands_export_and_generate(self):
        folder = self.root / "command"
        forks.run(
            (
                "bin/export",
                f"--workdir={self.run_folder}",
                "--plan=8",
                f"--exit={POLICY}",
                f"--out={folder}",
            ),
            check=True,
            cwd=ROOT,
        )
        done = forks.run(
            (
                "bin/generate",
                f"--artifact={folder}",
                "--prompt=Once",
                "--max_new_tokens=8",
            ),
            check=True,
            cwd=ROOT,
        )
        self.assertRegex(done.stderr, r"A token ran \d\.\d blocks in the mean")
