from tests.test_case import TestCase
from tfshrink.report.margin_plot import radar
from tfshrink.report.margin_plot import token_chart
from tfshrink.report.margin_plot import unchanged_margins

FORMULA = (
    "always(jsd_mean16 <= 0.2) and always(attention >= 0.75) and "
    "eventually(factual >= 0.5)"
)


class MarginPlotTest(TestCase):
    def test_margins_of_an_unchanged_model_by_hand(self):
        # Best values: a divergence of 0, a cosine of 1.
        wanted = {"jsd_mean16": 0.2, "attention": 0.25, "factual": 1.0}
        self.assertAllClose(unchanged_margins(FORMULA), wanted)

    def test_a_threshold_at_the_best_value_divides_nothing_by_zero(self):
        found = unchanged_margins("always(jsd <= 0)")
        self.assertEqual(found, {"jsd": 1.0})

    def test_radar_shows_shares_of_these(self):
        margins = {"jsd_mean16": 0.1, "attention": -0.125, "factual": 0.3}
        own, tips = radar(FORMULA, {"4": margins}, "worst prompt").draw()
        outline = own.axes[0].lines[1].get_ydata()
        self.assertAllClose(outline, [0.5, -0.5, 0.3, 0.5])
        self.assertIn("4: attention\nmargin -0.1250, -50%", tips[1].text)

    def test_two_properties_are_bars(self):
        formula = "always(jsd <= 0.1) and always(attention >= 0.5)"
        chart = radar(formula, {"4": {"jsd": 0.05, "attention": -0.1}}, "w")
        own, _ = chart.draw()
        heights = [bar.get_height() for bar in own.axes[0].patches]
        self.assertAllClose(heights, [0.5, -0.2])

    def test_tokens_are_lines_by_property(self):
        over = {"jsd_mean16": [0.2, 0.1], "attention": [0.25, -0.25]}
        row = {"prompt": 7, "over_tokens": over}
        own, tips = token_chart(FORMULA, "4", row).draw()
        zero, first, second = own.axes[0].lines
        self.assertAllClose(zero.get_ydata(), [0, 0])
        self.assertAllClose(first.get_ydata(), [1.0, 0.5])
        self.assertAllClose(second.get_ydata(), [1.0, -1.0])
        self.assertIn(
            "prompt 7, token 1\nattention: margin -0.25", tips[3].text
        )
