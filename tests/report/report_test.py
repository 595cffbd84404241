import json
import os
import pathlib
import re
import subprocess
import sys

from absl.testing import parameterized

from tests.report import result_files as files
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.report.report import report

ROOT = pathlib.Path(__file__).parents[2]


class ReportTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.page = self.folder / "out/page.html"

    def run_command(self, *arguments):
        """Exit code, standard output and standard error."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "bin/report"), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return done.returncode, done.stdout, done.stderr

    def test_everything_is_on_the_page(self):
        places = files.everything(self.folder)
        count, problems = report(places, self.page, title="A & <b>")
        self.assertEqual(problems, [])
        text = self.page.read_text("utf-8")
        self.assertEqual(text.count("<section id="), count)
        for part in ("A &amp; &lt;b&gt;", "Certificate: certificate.json"):
            self.assertIn(part, text)
        self.assertIn("bin/certify --plan=4", text)
        self.assertIn("a CPU", text)
        ids = re.findall(r' id="([^"]+)"', text)
        self.assertLen(set(ids), len(ids))
        for name in set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)):
            self.assertIn("".join(name), ids)

    def test_the_page_needs_nothing_else(self):
        report(files.everything(self.folder), self.page)
        text = self.page.read_text("utf-8")
        for name in ("src=", "@import", "<link", "fetch(", "http-equiv=Ref"):
            self.assertNotIn(name, text)
        found = set(re.findall(r'https?://[^"\s]+', text))
        self.assertEqual(found, {"http://www.w3.org/1999/xlink"})  # a name
        self.assertIn("default-src 'none'", text)

    def test_what_files_hold_is_no_markup(self):
        evil = "</script><img src=x onerror=alert(1)>"
        values = files.results(names=("8", "4"))
        values["plans"][0]["name"] = evil
        values["command"] = evil
        path = files.write(self.folder / "results.json", values)
        report([path], self.page)
        text = self.page.read_text("utf-8")
        self.assertNotIn("<img", text)
        self.assertIn("&lt;img src=x", text)

    def test_figures_are_files_too(self):
        proof = files.write(self.folder / "proof.json", files.certificate())
        places = [files.search_folder(self.folder / "found"), proof]
        report(places, self.page, figures=self.folder / "figures")
        text = self.page.read_text("utf-8")
        charts = re.findall(r'<figure class="chart" id="([^"]+)"', text)
        self.assertLen(charts, 5)
        names = {path.name for path in (self.folder / "figures").iterdir()}
        wanted = {
            f"{name}.{kind}" for name in charts for kind in ("png", "svg")
        }
        self.assertEqual(names, wanted)

    def test_what_is_wrong_is_on_the_page(self):
        good = files.write(self.folder / "good.json", files.results())
        bad = self.folder / "nowhere"
        count, problems = report([bad, good], self.page)
        self.assertEqual(count, 1)
        self.assertLen(problems, 1)
        self.assertIn(str(bad), self.page.read_text("utf-8"))

    @parameterized.parameters(True, False)
    def test_nothing_to_show_writes_nothing(self, given):
        places = [self.folder / "nowhere"] if given else []
        with self.assertRaisesRegex(UserError, "must be given"):
            report(places, self.page)
        self.assertFalse(self.page.exists())

    def test_command_names_what_it_left_out(self):
        good = files.run_folder(self.folder / "good")
        bad = self.folder / "nowhere"
        options = [good, bad, f"--output={self.page}"]
        code, out, err = self.run_command(*options)
        self.assertEqual(code, 0, err)
        self.assertIn("Report of 2 sections", out)
        self.assertIn("left out: A run folder", err)
        self.assertIn(str(bad), err)
        self.page.unlink()
        code, out, err = self.run_command(*options, "--strict")
        self.assertEqual(code, 1)
        self.assertTrue(self.page.exists())  # of the rest
        self.assertIn("`--strict`", err)
        code, _, err = self.run_command(good, "--strict", options[-1])
        self.assertEqual((code, err), (0, ""))

    def test_ten_runs_are_small_and_need_no_tensorflow(self):
        metrics = [
            {**files.METRICS[0], "step": step} for step in range(1, 2001)
        ]
        lines = "".join(json.dumps(line) + "\n" for line in metrics)
        places = []
        for number in range(10):
            run = files.run_folder(self.folder / f"run-{number}")
            (run / "metrics.jsonl").write_text(lines)
            places.append(run)
        code = (
            "import sys, tfshrink.report.report as own\n"
            "own.report(sys.argv[2:], sys.argv[1])\n"
            "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
        )
        used = os.times().children_user
        done = subprocess.run(
            [sys.executable, "-c", code, self.page, *places],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.assertEqual(done.stdout.strip(), "[]", done.stderr)
        # Seconds of the processor: what a busy machine takes is no matter.
        self.assertLess(os.times().children_user - used, 15)
        self.assertLess(self.page.stat().st_size, 6e6)
