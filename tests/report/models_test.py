import pathlib

from tests.report import result_files as files
from tests.test_case import TestCase
from tfshrink.report.models import by_model
from tfshrink.report.places import read_place


class ModelsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def models(self, *places):
        sections = []
        for place in places:
            found, problems = read_place(place)
            self.assertEqual(problems, [])
            sections += found
        return by_model(sections)

    def write(self, name, values):
        return files.write(self.folder / name / "results.json", values)

    def test_models_are_never_on_one_axis(self):
        own, other = self.models(
            self.write("a", files.results()),
            self.write("b", files.results("other", perplexity=30.0)),
        )
        self.assertEqual((own.name, other.name), ("tiny", "other"))
        self.assertIn("perplexity 20", own.reference)
        self.assertIn("perplexity 30", other.reference)
        for model in (own, other):
            (section,) = model.sections
            self.assertEqual(section.model, model.name)

    def test_runs_with_one_reference_are_compared(self):
        (model,) = self.models(
            self.write("a", files.results()), self.write("b", files.results())
        )
        first = model.sections[0]
        self.assertEqual(first.kind, "Runs side by side")
        self.assertLen(first.tables[0].rows, 4)
        (chart,) = first.charts
        own, tips = chart.draw()
        labels = [text.get_text() for text in own.legends[0].get_texts()]
        self.assertEqual(labels, ["a", "b"])
        self.assertEqual(tips[0].text, "a, 4\n0.5 MB\nperplexity ratio 1.25")

    def test_runs_on_other_text_are_not(self):
        values = files.results()
        values["protocol"]["text"] = "another"
        (model,) = self.models(
            self.write("a", files.results()), self.write("b", values)
        )
        kinds = [section.kind for section in model.sections]
        self.assertEqual(kinds, ["Plans judged"] * 2)

    def test_runs_of_one_name_keep_both(self):
        (model,) = self.models(
            self.write("x/a", files.results()),
            self.write("y/a", files.results()),
        )
        self.assertEqual(model.sections[0].place, "a, a (2)")

    def test_what_is_of_no_model_comes_last(self):
        bench = files.write(self.folder / "b.json", files.benchmark())
        own, none = self.models(bench, self.write("a", files.results()))
        self.assertEqual(own.name, "tiny")
        self.assertEqual(none.heading, "Of no single model")
