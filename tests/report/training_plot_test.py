import numpy as np

from tests.test_case import TestCase
from tfshrink.report.training_plot import exit_loss_chart
from tfshrink.report.training_plot import held_out_chart
from tfshrink.report.training_plot import loss_chart
from tfshrink.report.training_plot import MOST


class TrainingPlotTest(TestCase):
    def test_a_line_a_precision(self):
        metrics = [
            {"step": 1, "losses": {"8": 1.0}},
            {"step": 2, "losses": {"4": 3.0}},  # a style that switches
            {"step": 3, "losses": {"8": 0.5, "4": 2.0}},
        ]
        own, tips = loss_chart(metrics).draw()
        eight, four = own.axes[0].lines
        self.assertAllClose(eight.get_xydata(), [[1, 1.0], [3, 0.5]])
        self.assertAllClose(four.get_xydata(), [[2, 3.0], [3, 2.0]])
        self.assertEqual(own.axes[0].get_yscale(), "log")
        self.assertEqual(tips[0].text, "plan 8\nstep: 1\nloss, nats: 1")

    def test_many_steps_are_means_of_neighbours(self):
        steps = 5 * MOST
        metrics = [
            {"step": i, "losses": {"8": float(i)}} for i in range(1, steps + 1)
        ]
        chart = loss_chart(metrics)
        self.assertIn("a point is the mean of 5 logged steps", chart.caption)
        own, _ = chart.draw()
        (line,) = own.axes[0].lines
        wanted = np.arange(1, steps + 1).reshape(-1, 5).mean(axis=1)
        self.assertAllClose(line.get_ydata(), wanted)
        self.assertAllClose(line.get_xdata(), wanted)

    def test_a_loss_of_nothing_is_on_a_linear_axis(self):
        metrics = [{"step": 1, "losses": {"8": 0.0}}]
        own, _ = loss_chart(metrics).draw()
        self.assertEqual(own.axes[0].get_yscale(), "linear")

    def test_exits_and_held_out_text_have_their_own(self):
        exits = [{"step": 1, "exit_losses": {"18": 0.5}}]
        _, tips = exit_loss_chart(exits).draw()
        self.assertIn("exit behind block 18", tips[0].text)
        held = [{"step": 5, "eval": {"4": 21.5}}]
        own, tips = held_out_chart(held).draw()
        self.assertEqual(own.axes[0].get_ylabel(), "perplexity")
        self.assertIn("perplexity: 21.5", tips[0].text)
