import pathlib

from tests.test_case import TestCase
from tfshrink.report.kv_plot import draw_kv
from tfshrink.report.kv_plot import kv_chart
from tfshrink.report.kv_plot import LEAST

POINTS = [
    {"family": "int", "smaller": 4.0, "ratio": 1.5},
    {"family": "int", "smaller": 2.0, "ratio": 0.9},
    {"family": "pca", "smaller": 8.0, "ratio": 1.25},
]


class KVPlotTest(TestCase):
    def test_families_are_lines_in_order_of_size(self):
        own, _ = kv_chart(POINTS, "a text").draw()
        first, second = own.axes[0].lines
        # What is better than exact has no place on a logarithmic axis.
        self.assertAllClose(first.get_xydata(), [[2, LEAST], [4, 0.5]])
        self.assertAllClose(second.get_xydata(), [[8, 0.25]])
        self.assertIn("times smaller", own.axes[0].get_xlabel())

    def test_bytes_are_the_size_where_they_are_known(self):
        points = [
            {**point, "name": "codec", "bytes": 16e6 / point["smaller"]}
            for point in POINTS
        ]
        own, tips = kv_chart(points).draw()
        self.assertAllClose(own.axes[0].lines[0].get_xdata(), [8, 4])
        self.assertIn("MB of one sequence", own.axes[0].get_xlabel())
        self.assertEqual(
            tips[0].text,
            "codec\n2.00 times smaller, 8.00 MB\nperplexity ratio 0.9000",
        )

    def test_it_is_a_file(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "kv.svg"
        draw_kv(POINTS, path, title="a text")
        self.assertStartsWith(path.read_text("utf-8"), "<?xml")
