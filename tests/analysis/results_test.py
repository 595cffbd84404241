import json
import pathlib

from absl.testing import parameterized

from tests.analysis import subjects
from tests.test_case import TestCase
from tfshrink.analysis.results import build_analysis
from tfshrink.analysis.results import check_analysis
from tfshrink.analysis.results import FILE
from tfshrink.analysis.results import read_analysis
from tfshrink.errors import UserError
from tfshrink.files import write_json


def analysis():
    return build_analysis([subjects.subject()], [], 1.5)


class ResultsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_what_is_written_is_read(self):
        own = analysis()
        write_json(self.folder / FILE, own)
        self.assertEqual(
            read_analysis(self.folder)["subjects"], own["subjects"]
        )
        found = read_analysis(self.folder / FILE)
        self.assertEqual((found["version"], found["seconds"]), (1, 1.5))

    @parameterized.parameters(
        (lambda x: x.update(version=2), "version 1. Received: version 2"),
        (lambda x: x.pop("version"), "version None. Analyze"),
        (lambda x: x.pop("skipped"), "lacks skipped"),
        (lambda x: x.update(flux=1), "does not know, flux"),
        (lambda x: x.update(seconds="1"), "another kind, seconds"),
        (lambda x: x["subjects"][0].pop("bits"), "one.*lacks bits"),
        (lambda x: x["subjects"][0].update(x=1), "one.*does not know, x"),
        (lambda x: x["subjects"].append(7), "object.*7"),
        (
            lambda x: x["subjects"][0]["performance"]["plans"][0].pop("bytes"),
            "performance.*bytes missing",
        ),
        (
            lambda x: x["subjects"][0]["bits"].pop("plans"),
            "bits.*rows of plans",
        ),
    )
    def test_another_version_is_refused(self, change, message):
        own = json.loads(json.dumps(analysis()))
        change(own)
        with self.assertRaisesRegex(UserError, message):
            check_analysis(own, "x.json")

    def test_what_is_no_analysis(self):
        path = self.folder / FILE
        for text in ("", "[]", "{", "7"):
            path.write_text(text)
            with self.assertRaisesRegex(UserError, FILE):
                read_analysis(path)
        with self.assertRaisesRegex(UserError, "nowhere"):
            read_analysis(self.folder / "nowhere")
