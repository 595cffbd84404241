import os
import pathlib
from unittest import mock

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.run_folder import RunFolder


class RunFolderTest(TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def _earlier_run(self):
        run = RunFolder(self.root / "x")
        run.write("config.json", {"seed": 1})
        run.log({"step": 1, "loss": 2.0})
        run.log({"step": 2, "loss": float("inf")})
        (run.checkpoints / "a").write_text("weights")
        return run

    def test_numbers_count_up_from_the_highest(self):
        names = [
            RunFolder(name="train", root=self.root).path.name for _ in range(2)
        ]
        (self.root / "train-9").mkdir()
        (self.root / "train-old-12").mkdir()
        names.append(RunFolder(name="train", root=self.root).path.name)
        self.assertEqual(names, ["train-1", "train-2", "train-10"])

    def test_an_earlier_run_is_not_touched(self):
        run = self._earlier_run()
        with self.assertRaisesRegex(UserError, "--resume or --overwrite"):
            RunFolder(run.path)
        self.assertEqual(run.read("config.json"), {"seed": 1})

    def test_overwrite_removes_the_run_and_keeps_other_files(self):
        run = self._earlier_run()
        (run.path / "notes.txt").write_text("mine")
        again = RunFolder(run.path, overwrite=True)
        self.assertEqual(os.listdir(again.path), ["notes.txt"])

    def test_overwrite_refuses_what_is_no_run(self):
        (self.root / "thesis.tex").write_text("years of work")
        with self.assertRaisesRegex(UserError, "no run"):
            RunFolder(self.root, overwrite=True)

    def test_resume_continues_and_mends_a_line_cut_short(self):
        run = self._earlier_run()
        with open(run.path / "metrics.jsonl", "a") as file:
            file.write('{"step": 3, "lo')
        run = RunFolder(run.path, resume=True)
        run.log({"step": 3})
        self.assertTrue(run.resumed)
        self.assertEqual(
            run.metrics(),
            [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3}],
        )
        run.forget_after(1)
        self.assertEqual(run.metrics(), [{"step": 1, "loss": 2.0}])

    def test_resume_without_a_path_takes_the_last(self):
        for _ in range(2):
            RunFolder(name="a", root=self.root).write("config.json", {})
        run = RunFolder(name="a", root=self.root, resume=True)
        self.assertEqual(run.path.name, "a-2")

    def test_resume_needs_a_run(self):
        with self.assertRaisesRegex(UserError, "holds no run"):
            RunFolder(self.root / "none", resume=True)
        with self.assertRaisesRegex(UserError, "no such folder"):
            RunFolder(name="b", root=self.root, resume=True)
        self.assertEqual(os.listdir(self.root), [])
        with self.assertRaisesRegex(UserError, "exclude each other"):
            RunFolder(self.root, resume=True, overwrite=True)

    def test_what_a_killed_process_did_not_finish_goes(self):
        run = self._earlier_run()
        left = [".plan.json.12.tmp", "checkpoints/.next.safetensors.7.tmp"]
        for name in left:
            (run.path / name).write_text("half")
        (run.path / ".notes.tmp").write_text("mine")
        RunFolder(run.path, resume=True)
        for name in left:
            self.assertFalse((run.path / name).exists(), name)
        self.assertTrue((run.path / ".notes.tmp").exists())
        # Alone, they make a folder as good as empty.
        (self.root / "new").mkdir()
        (self.root / "new/.config.json.12.tmp").write_text("half")
        new = RunFolder(self.root / "new")
        self.assertEqual(os.listdir(new.path), [])

    def test_overwriting_that_was_killed_can_be_overwritten(self):
        run = self._earlier_run()
        for name in ("study.db", "tokenizer.json"):
            (run.path / name).write_text("x")
        removed, unlink = [], pathlib.Path.unlink

        def killed(path, **options):
            if len(removed) == 12:  # most of them were there never
                raise KeyboardInterrupt
            removed.append(path)
            unlink(path, **options)

        with mock.patch.object(pathlib.Path, "unlink", killed):
            with self.assertRaises(KeyboardInterrupt):
                RunFolder(run.path, overwrite=True)
        self.assertFalse((run.path / "study.db").exists())
        self.assertEqual(run.read("config.json"), {"seed": 1})
        again = RunFolder(run.path, overwrite=True)
        self.assertEqual(os.listdir(again.path), [])

    def test_a_file_is_no_folder(self):
        (self.root / "f").write_text("")
        with self.assertRaisesRegex(UserError, "which is a file"):
            RunFolder(self.root / "f")

    def test_missing_and_broken_files_are_named(self):
        run = self._earlier_run()
        with self.assertRaisesRegex(UserError, "must hold plan.json"):
            run.read("plan.json")
        (run.path / "plan.json").write_text("{")
        with self.assertRaisesRegex(UserError, "plan.json must be valid"):
            run.read("plan.json")
