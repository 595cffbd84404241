import pathlib

import numpy as np
from absl.testing import parameterized
from matplotlib import pyplot

from tests.test_case import TestCase
from tfshrink.layer_groups import group_names
from tfshrink.report.figure import figure
from tfshrink.report.front_plot import draw_front
from tfshrink.report.front_plot import front_chart
from tfshrink.report.sensitivity_map import draw_map
from tfshrink.report.sensitivity_map import map_chart
from tfshrink.search.sensitivity import Sensitivity
from tfshrink.search.settings import OBJECTIVES

PNG = b"\x89PNG\r\n\x1a\n"
NAMES = tuple(group_names(2, True))


def row(size, margin):
    """A record of a search, with every objective."""
    return {
        "bytes": size,
        "kv_bytes": 4 * size,
        "memory": 5 * size,
        "read_bytes": 6 * size,
        "margin": margin,
        "satisfied": margin >= 0,
        "scaled_flops": 2 * size,
        "bit_operations": 3 * size,
        "latency": 0.001 * size,
        "kl": 1 / size,
        "perplexity": 20.0,
    }


def sensitivity(value):
    """One of two widths; a function of group and bits is what is measured."""
    rows = [
        {"group": name, "bits": bits, "pruning": 0.0, "kl": value(place, bits)}
        for place, name in enumerate(NAMES)
        for bits in (8, 4)
    ]
    rows.append({"group": NAMES[0], "bits": 16, "pruning": 0.5, "kl": 99.0})
    return Sensitivity(rows, NAMES, {}, {})


class FigureCase(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.path = self.folder / "own.png"

    def tearDown(self):
        self.assertEqual(pyplot.get_fignums(), [])  # none is left open
        super().tearDown()


class FigureTest(FigureCase):
    @parameterized.parameters((".png", PNG), (".svg", b"<?xml"))
    def test_ending_says_the_format(self, ending, start):
        path = self.folder / f"deeper/own{ending}"
        with figure(path, 2) as (_, axes):
            axes[1].plot([1, 2])
        self.assertLen(axes, 2)
        self.assertEqual(path.read_bytes()[: len(start)], start)

    def test_a_mistake_leaves_the_old_file(self):
        self.path.write_text("old")
        with self.assertRaisesRegex(RuntimeError, "nothing to draw"):
            with figure(self.path):
                raise RuntimeError("nothing to draw")
        self.assertEqual(self.path.read_text(), "old")
        self.assertLen(list(self.folder.iterdir()), 1)


class FrontPlotTest(TestCase):
    ROWS = [row(5e6, 0.2), row(4e6, 0.1), row(3e6, -0.1), row(4.5e6, 0.05)]

    def test_points_are_the_plans(self):
        chosen = [self.ROWS[0], self.ROWS[1]]
        chart = front_chart(self.ROWS, chosen, ["bytes", "margin"])
        own, tips = chart.draw()
        (axis,) = own.axes
        violating, satisfying = axis.collections
        self.assertAllClose(violating.get_offsets(), [[3.0, -0.1]])
        self.assertAllClose(
            satisfying.get_offsets(), [[5.0, 0.2], [4.0, 0.1], [4.5, 0.05]]
        )
        line = axis.lines[0].get_xydata()
        self.assertAllClose(line, [[4.0, 0.1], [5.0, 0.2]])
        self.assertEqual(axis.get_xlabel(), "MB")
        labels = [own.get_text() for own in own.legends[0].get_texts()]
        self.assertLen(labels, 3)
        self.assertEqual(
            tips[0].text,
            "plan\nMB: 3\nmargin of the worst prompt: -0.1\nviolated",
        )

    @parameterized.parameters(*sorted(OBJECTIVES))
    def test_every_objective_has_a_name(self, objective):
        own, _ = front_chart(self.ROWS, self.ROWS[:2], [objective]).draw()
        (axis,) = own.axes
        self.assertNotEmpty(axis.get_xlabel())
        self.assertNotEqual(axis.get_xlabel(), axis.get_ylabel())
        self.assertLen(axis.lines[0].get_xydata(), 2)

    def test_nothing_to_show_is_a_figure_too(self):
        path = pathlib.Path(self.create_tempdir().full_path) / "own.png"
        draw_front([], [], ["bytes", "margin"], path)
        draw_front(self.ROWS[:1], [], ["bytes"], path)
        self.assertEqual(path.read_bytes()[:8], PNG)


class SensitivityMapTest(TestCase):
    def test_cells_are_blocks_and_widths_kind_by_kind(self):
        found = sensitivity(lambda place, bits: (place + 1) / bits)
        own, tips = map_chart(found).draw()
        axes = own.axes[:4]
        titles = [axis.get_title(loc="left") for axis in axes]
        self.assertEqual(
            titles, ["attention in", "attention out", "mlp in", "mlp out"]
        )
        for kind, axis in enumerate(axes):
            (image,) = axis.images
            first, second = kind + 1, kind + 5  # of the two blocks
            wanted = np.array([[first, second]]) / np.array([[8], [4]])
            outside = np.array([[0, 9 / 8], [0, 9 / 4]])  # a gap, then it
            self.assertAllClose(
                image.get_array().filled(0), np.hstack([wanted, outside])
            )
            labels = [own.get_text() for own in axis.get_yticklabels()]
            self.assertEqual(labels, ["8 bits", "4 bits"])
        # One scale for all kinds.
        self.assertAllClose(axes[0].images[0].get_clim(), (1 / 8, 9 / 4))
        self.assertEqual(own.axes[-1].get_xlabel(), "mean divergence, nats")
        self.assertIn("block_01/attention_in at 8 bits\n0.625", tips[1].text)

    @parameterized.parameters(0.0, np.nan, 0.25)
    def test_one_value_everywhere_is_drawn(self, value):
        path = pathlib.Path(self.create_tempdir().full_path) / "own.png"
        draw_map(sensitivity(lambda place, bits: value), path)
        self.assertEqual(path.read_bytes()[:8], PNG)
