import contextlib
import io
import json
import pathlib

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exits import diagnosis
from tfshrink.exits import ppo_study
from tfshrink.exits.diagnosis import study_exits
from tfshrink.exits.diagnosis_report import print_study
from tfshrink.exits.study_board import EVENTS
from tfshrink.exits.study_board import KEPT


class Subject:
    """Stands for a run: the tiny model, a made-up trace of its exit."""

    def __init__(self):
        self.model = traces.of_tiny()[0]

    def open(self):
        return self

    def prompts(self, split):
        return {"calibrate": 0, "test": 1}[split]

    def trace(self, seed):
        return traces.made_up(rows=8, seed=seed, layers=(1,), depth=2), []

    def results(self, **values):
        return {"run": "tiny", **values}


def events(folder):
    """Tags of scalars and histograms of the one event file in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    (path,) = pathlib.Path(folder).glob(EVENTS)
    found = EventAccumulator(str(path), {"tensors": 0, "scalars": 0})
    return found.Reload()


class StudyTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        for name, value in (("COST_WEIGHTS", (0.4,)), ("CURVE", (0.4,))):
            before = getattr(ppo_study, name)
            self.addCleanup(setattr, ppo_study, name, before)
            setattr(ppo_study, name, value)

    def test_everything_is_written_and_printed(self):
        study = study_exits(Subject(), output_dir=self.folder, ppo=True)
        for path in study["files"]:
            self.assertGreater(pathlib.Path(path).stat().st_size, 0, path)
        read = json.loads((self.folder / "exits.json").read_text("utf-8"))
        self.assertEqual(read["presets"], study["presets"])
        self.assertLen(read["ppo"]["policies"], 2)
        lines = (self.folder / "exits_tokens.jsonl").read_text("utf-8")
        rows = [json.loads(line) for line in lines.splitlines()]
        self.assertLen(rows, 8 * 16)
        positions = study["behaviour"]["positions"]
        self.assertEqual(
            sum(row["agrees"] for row in rows),
            round(sum(r["agreement"] * r["tokens"] for r in positions)),
        )
        log = (self.folder / "exits.log").read_text("utf-8")
        for word in ("traced 8 prompts", "suggested", "preset ultra", "done"):
            self.assertIn(word, log)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            print_study(study)
        for word in ("One change at a time", "Learned by PPO", "conservative"):
            self.assertIn(word, printed.getvalue())

    def test_tensorboard_shows_the_study(self):
        study = study_exits(Subject(), output_dir=self.folder)
        self.assertIsNone(study["ppo"])
        found = events(self.folder / "tb")
        scalars = found.Tags()["scalars"]
        for part in ("sweep/margin", "suggested"):
            self.assertContainsSubset([f"{part}/{n}" for n in KEPT], scalars)
        self.assertContainsSubset(["position/layers", "time/layers"], scalars)
        values = [own.value for own in found.Scalars("position/layers")]
        expected = [row["layers"] for row in study["behaviour"]["positions"]]
        self.assertAllClose(values, expected, rtol=1e-5)
        tags = found.Tags()["histograms"]
        self.assertIn("confidence/margin/block_1", tags)
        (depth,) = found.Histograms("depth")
        self.assertEqual(depth.histogram_value.num, 8 * 16)
        self.assertEqual(sum(depth.histogram_value.bucket), 8 * 16)

    def test_a_study_is_replaced_only_when_asked(self):
        study_exits(Subject(), output_dir=self.folder)
        with self.assertRaisesRegex(UserError, "come with --overwrite"):
            study_exits(Subject(), output_dir=self.folder)
        study_exits(Subject(), output_dir=self.folder, overwrite=True)
        events(self.folder / "tb")  # one file, not two
        self.assertIn(diagnosis.FOLLOWED, diagnosis.WANTED)
