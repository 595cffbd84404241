import pathlib
import re
from xml.etree import ElementTree

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.report.bar_chart import bar_chart
from tfshrink.report.bar_chart import rank_chart
from tfshrink.report.chart import Chart
from tfshrink.report.heat_chart import heat_chart
from tfshrink.report.heat_chart import Panel
from tfshrink.report.inline_svg import with_ids
from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart
from tfshrink.report.radar_chart import radar_chart
from tfshrink.report.theme import LIGHT

AXES = {"x_label": "step", "y_label": "loss, nats"}


def lines(count=2, **options):
    own = [Line(f"line {i}", [1, 2], [0.5, 0.25 + i]) for i in range(count)]
    return line_chart("own", "A caption.", own, **AXES, **options)


class ChartTest(TestCase):
    def test_files_have_the_format_of_their_ending(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        starts = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml"}
        for kind, start in starts.items():
            lines().save(folder / f"deeper/own.{kind}")
            data = (folder / f"deeper/own.{kind}").read_bytes()
            self.assertEqual(data[: len(start)], start)

    def test_a_figure_that_fails_leaves_the_old_file(self):
        def plot(own, axes):
            raise RuntimeError("nothing to draw")

        path = pathlib.Path(self.create_tempdir().full_path) / "own.png"
        path.write_text("old")
        with self.assertRaisesRegex(RuntimeError, "nothing to draw"):
            Chart(name="own", caption="", plot=plot).save(path)
        self.assertEqual(path.read_text(), "old")
        self.assertLen(list(path.parent.iterdir()), 1)

    def test_the_same_figure_is_the_same_text(self):
        self.assertEqual(lines().drawn, lines().drawn)

    def test_svg_has_the_colours_of_the_page(self):
        svg, _ = lines().drawn
        for name in ("ink", "note", "grid", "c0", "c1"):
            self.assertIn(f"var(--{name})", svg)
        for color in LIGHT.values():
            self.assertNotIn(color, svg)

    def test_svg_is_an_element_of_a_page(self):
        svg, _ = line_chart("own", 'A "caption" <b>', [], **AXES).drawn
        root = ElementTree.fromstring(svg)
        self.assertEqual(root.attrib["aria-label"], 'A "caption" <b>')
        self.assertNotIn("width", root.attrib)  # it is as wide as its place
        for foreign in (
            "font-family",
            "<?xml",
            "<!DOCTYPE",
            "<metadata",
            "<style",
            "<!--",
        ):
            self.assertNotIn(foreign, svg)

    def test_ids_are_a_figures_own(self):
        svg, _ = lines().drawn
        own = with_ids(svg, "here-")
        ids = re.findall(r' id="([^"]+)"', own)
        self.assertNotEmpty(ids)
        self.assertLen(set(ids), len(ids))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', own))
        self.assertEqual(set(ids), used)
        self.assertTrue(all(one.startswith("here-") for one in ids))

    def test_text_is_no_markup_and_no_formula(self):
        label = "<script>alert(1)</script> $x_1$"
        svg, _ = line_chart("own", "", [Line(label, [1], [1])], **AXES).drawn
        self.assertNotIn("<script", svg)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt; $x_1$", svg)

    @parameterized.parameters(False, True)
    def test_tips_lie_on_their_points(self, log):
        chart = lines(1, log=log)
        own, tips = chart.draw()
        own.draw_without_rendering()
        (axis,) = own.axes
        x, y = axis.transData.transform((2, 0.25))
        place = tips[1].place(own)
        height = 72 * chart.size[1]
        self.assertAllClose(place[:2], [x, height - y], atol=0.06)
        self.assertEqual(place[2:4], [0, 0])
        self.assertEqual(place[4], "line 0\nstep: 2\nloss, nats: 0.25")

    def test_tips_lie_inside_of_the_figure(self):
        svg, tips = lines().drawn
        _, _, width, height = map(
            float, re.search(r'viewBox="([^"]+)"', svg)[1].split()
        )
        self.assertLen(tips, 4)
        for x, y, *_ in tips:
            self.assertBetween(x, 0, width)
            self.assertBetween(y, 0, height)


class LineChartTest(TestCase):
    def test_series_differ_in_more_than_colour(self):
        own, _ = lines(8).draw()
        drawn = own.axes[0].lines
        looks = {
            (x.get_color(), x.get_marker(), x.get_linestyle()) for x in drawn
        }
        self.assertLen(looks, 8)
        self.assertLen({x.get_marker() for x in drawn}, 8)

    def test_axes_are_labelled(self):
        own, _ = lines(at=0.5, diagonal=True).draw()
        (axis,) = own.axes
        self.assertEqual(axis.get_xlabel(), "step")
        self.assertEqual(axis.get_ylabel(), "loss, nats")
        (box,) = own.legends
        labels = [text.get_text() for text in box.get_texts()]
        self.assertEqual(labels, ["line 0", "line 1"])

    def test_logarithmic_ticks_are_plain_numbers(self):
        own, _ = line_chart(
            "own", "", [Line("a", [0, 1], [0.001, 2000])], log=True, **AXES
        ).draw()
        own.draw_without_rendering()
        texts = [t.get_text() for t in own.axes[0].get_yticklabels()]
        self.assertIn("0.001", texts)
        self.assertIn("1,000", texts)


class HeatChartTest(TestCase):
    def panel(self, values):
        texts = [[f"{value}" for value in row] for row in values]
        rows = [str(i) for i in range(len(values))]
        return Panel("one", np.array(values, "float64"), rows, texts)

    def chart(self, values, **options):
        columns = [str(i) for i in range(len(values[0]))]
        return heat_chart(
            "own",
            "",
            [self.panel(values)],
            x_label="block",
            columns=columns,
            label="nats",
            **options,
        )

    def test_cells_are_values_and_tips_cover_them(self):
        own, tips = self.chart([[1.0, 2.0], [3.0, np.nan]], log=True).draw()
        own.draw_without_rendering()
        (image,) = own.axes[0].images
        self.assertAllClose(image.get_array().filled(0), [[1, 2], [3, 0]])
        self.assertAllClose(image.get_clim(), (1, 3))
        places = [tip.place(own) for tip in tips]
        left, right = places[0], places[1]
        self.assertAllClose(left[0] + left[2], right[0], atol=0.2)
        self.assertAllClose(left[1] + left[3], places[2][1], atol=0.2)

    @parameterized.parameters(0.0, np.nan, 0.25)
    def test_one_value_everywhere_is_drawn(self, value):
        for log in (False, True):
            svg, _ = self.chart([[value]], log=log).drawn
            self.assertIn("<image", svg)

    def test_classes_have_a_legend(self):
        own, _ = self.chart([[2.0, 4.0, 8.0]], kinds=[2, 4, 8]).draw()
        (image,) = own.axes[0].images
        colors = image.cmap(image.norm([2, 4, 8]))
        (box,) = own.legends
        shown = [patch.get_facecolor() for patch in box.get_patches()]
        self.assertAllClose(np.array(shown), colors)
        self.assertLen({tuple(color) for color in colors}, 3)


class BarChartTest(TestCase):
    def test_bars_are_the_numbers(self):
        own, tips = bar_chart(
            "own",
            "",
            ["18", "30"],
            {"a": [25.0, 75.0], "b": [40.0, 60.0]},
            x_label="blocks",
            y_label="tokens, %",
            unit=" %",
        ).draw()
        heights = [bar.get_height() for bar in own.axes[0].patches]
        self.assertEqual(heights, [25.0, 75.0, 40.0, 60.0])
        self.assertEqual(tips[1].text, "a\nblocks 30: 75 %")

    def test_ranks_are_from_above(self):
        rows = [("first", 50.0, "1st"), ("second", 25.0, "2nd")]
        own, tips = rank_chart("own", "", rows, x_label="tokens/s").draw()
        widths = [bar.get_width() for bar in own.axes[0].patches]
        self.assertEqual(widths, [50.0, 25.0])
        places = [tip.place(own) for tip in tips]
        self.assertLess(places[0][1], places[1][1])
        self.assertEqual([tip.text for tip in tips], ["1st", "2nd"])


class RadarChartTest(TestCase):
    def test_outlines_are_the_values_inside_of_the_rim(self):
        own, tips = radar_chart(
            "own",
            "",
            ["a", "b", "c"],
            {"plan": ([0.5, -7.0, np.nan], ["1", "2", "3"])},
        ).draw()
        ring, outline = own.axes[0].lines
        self.assertAllClose(ring.get_ydata(), np.zeros(181))
        self.assertAllClose(outline.get_ydata(), [0.5, -1.0, -1.0, 0.5])
        self.assertEqual([tip.text for tip in tips], ["1", "2", "3"])
        self.assertAllClose(tips[1].x, 2 * np.pi / 3)
