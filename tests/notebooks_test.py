"""Every notebook, as it is committed and run in a small form."""

import os
import pathlib
import re

import nbformat
import pytest
from absl.testing import parameterized
from nbclient import NotebookClient

from tests.test_case import TestCase

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
MINUTES = 5  # for a cell, before it counts as stuck
# What parameters are in the small form; small.txt is made beside it.
SMALL = {
    "MODEL": "tiny",
    "BATCH_SIZE": 2,
    "BITS": "8,4",
    "CERTIFIED_PROMPTS": 8,
    "CODEC": "int8:rotated=true:block=16:window=16",
    "CONTEXT": 64,
    "DATA": "small.txt",
    "ESTIMATE": False,
    "EXITS": "1",
    "GROUP": 32,
    "INIT": "rtn",
    "LIMIT": 1,
    "NEW_TOKENS": 4,
    "PLANS_TO_JUDGE": 6,
    "POLICIES": ["toex"],
    "PROMPTS": 4,
    "RANK": 16,
    "ROWS": 8,
    "SCALES": "rtn",
    "STEPS": 2,
    "TEXT": "small.txt",
    "TOKENS": 32,
}
# The same of single notebooks.
OWN = {
    "export_and_run": {"PLANS": ["4"]},
    "quick_start": {"PLANS": "4", "TEXT": "short.txt"},
}
PATHS = re.compile(r"/(root|home|tmp|work|Users|mnt|opt)\b|[A-Z]:\\")


def read(name):
    """A notebook, and its cell of parameters."""
    path = ROOT / f"notebooks/{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = (
        cell
        for cell in notebook.cells
        if "parameters" in cell.metadata.get("tags", ())
    )
    return notebook, parameters


class NotebookFileTest(TestCase):
    def test_all_four_are_there(self):
        self.assertEqual(
            NAMES,
            ["early_exit", "export_and_run", "quick_start"]
            + ["search_and_certify"],
        )

    @parameterized.parameters(NAMES)
    def test_has_no_outputs_and_no_machine_in_it(self, name):
        notebook, _ = read(name)
        nbformat.validate(notebook)
        self.assertEqual(
            set(notebook.metadata), {"kernelspec", "language_info"}
        )
        for cell in notebook.cells:
            self.assertLessEqual(set(cell.metadata), {"tags"})
            self.assertIsNone(PATHS.search(cell.source), cell.source)
            if cell.cell_type == "code":
                self.assertEqual(cell.outputs, [])
                self.assertIsNone(cell.execution_count)

    def test_paths_of_machines_would_be_found(self):
        for text in ("/root/w/x", "see /home/me", "'/tmp/a'", "C:\\me"):
            self.assertIsNotNone(PATHS.search(text), text)
        self.assertIsNone(PATHS.search("/kaggle/input/tfshrink-wheels"))

    def test_all_install_alike(self):
        cells = {read(name)[0].cells[3].source for name in NAMES}
        self.assertLen(cells, 1)
        self.assertIn("-m", cells.pop())

    def test_small_values_are_of_parameters(self):
        sources = "\n".join(read(name)[1].source for name in NAMES)
        for name in SMALL:
            self.assertRegex(sources, rf"(?m)^{name} = ")

    @parameterized.parameters(NAMES)
    def test_code_has_80_columns(self, name):
        for cell in read(name)[0].cells:
            if cell.cell_type == "code":
                self.assertLessEqual(
                    max(map(len, cell.source.splitlines())), 80, cell.source
                )


@pytest.mark.slow
class NotebookRunTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # One kernel for all, emptied in between: libraries load once.
        cls.client = NotebookClient(
            nbformat.v4.new_notebook(),
            timeout=60 * MINUTES,
            kernel_name="python3",
        )
        cls.kernel = cls.client.setup_kernel(
            env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        cls.kernel.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.kernel.__exit__(None, None, None)
        super().tearDownClass()

    def _run(self, source):
        cell = nbformat.v4.new_code_cell(source)
        self.client.nb.cells = [cell]
        return self.client.execute_cell(cell, 0)

    @parameterized.parameters(NAMES)
    def test_runs(self, name):
        folder = pathlib.Path(self.create_tempdir().full_path)
        text = "A small text, which is read by a small model. "
        (folder / "small.txt").write_text(text * 400, encoding="utf-8")
        (folder / "short.txt").write_text(text * 40, encoding="utf-8")
        notebook, parameters = read(name)
        values = {**SMALL, **OWN.get(name, {}), "CACHE": "cache"}
        self._run(f"import os\nos.chdir({str(folder)!r})")
        self._run("%reset -f")
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            source = cell.source
            if cell is parameters:
                source = replaced(source, values)
            for output in self._run(source).outputs:
                self.assertNotIn("WARNING", output.get("text", ""))
                self.assertNotEqual(output.output_type, "error")
        self._check(name, folder)

    def _check(self, name, folder):
        """Whether what the notebook promises lies there."""
        made = {
            "early_exit": ["study/exits.json", "runs/early_exit-1/exits.json"],
            "export_and_run": ["model.zip", "saved_models/1/metadata.json"],
            "quick_start": ["rounded.json", "runs/spnet-1/results.json"],
            "search_and_certify": ["report.html", "certificate.json"],
        }
        for path in made[name]:
            self.assertGreater((folder / path).stat().st_size, 0, path)


def replaced(source, values):
    """The parameters with small values; every one must be known or kept."""
    lines = []
    for line in source.splitlines():
        name, _, value = line.partition(" = ")
        lines.append(f"{name} = {values.get(name, Kept(value))!r}")
    return "\n".join(lines)


class Kept:
    """The text of a value, as its representation."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text
