import ast
import pathlib
import sysconfig
from unittest import mock

from tests.test_case import TestCase
from tfshrink.data import docstrings
from tfshrink.data.documents import load_documents
from tfshrink.data.pydoc import load_pydoc
from tfshrink.data.pydoc import shared
from tfshrink.data.pydoc import shingles
from tfshrink.errors import UserError


class DocstringsTest(TestCase):
    def test_a_module_and_its_parts_are_there(self):
        root = pathlib.Path(sysconfig.get_paths()["stdlib"])
        tree = ast.parse((root / "textwrap.py").read_text("utf-8"))
        own = [
            text
            for split in docstrings.SHARES
            for text in load_documents("docstrings", split)
            if text.startswith("textwrap\n")
        ]
        self.assertLen(own, 1)
        self.assertIn(ast.get_docstring(tree), own[0])
        self.assertIn("\n\ndedent\n", own[0])

    def test_splits_share_nothing_and_train_is_large(self):
        splits = {
            name: load_documents("docstrings", name)
            for name in docstrings.SHARES
        }
        every = sum(splits.values(), [])
        self.assertEqual(len(set(every)), len(every))
        for texts in splits.values():
            self.assertNotEmpty(texts)
        self.assertGreater(sum(map(len, splits["train"])), 800_000)

    def test_no_document_repeats_what_pydoc_tests_on(self):
        tested = set().union(*map(shingles, load_pydoc("test")))
        for text in load_documents("docstrings", "train"):
            self.assertLess(shared(shingles(text), tested), 0.01)

    def test_a_python_without_sources_is_named(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        docstrings._modules.cache_clear()
        self.addCleanup(docstrings._modules.cache_clear)
        with mock.patch.object(docstrings, "_root", lambda: folder):
            with self.assertRaisesRegex(UserError, str(folder)):
                load_documents("docstrings")

    def test_an_unknown_split_is_refused(self):
        with self.assertRaisesRegex(UserError, "split"):
            docstrings.load_docstrings("dev")
