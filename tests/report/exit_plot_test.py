import pathlib

from tests.report import result_files as files
from tests.test_case import TestCase
from tfshrink.report.exit_plot import calibration_chart
from tfshrink.report.exit_plot import draw_calibration
from tfshrink.report.exit_plot import draw_positions
from tfshrink.report.exit_plot import draw_sweep
from tfshrink.report.exit_plot import histogram_chart
from tfshrink.report.exit_plot import positions_chart
from tfshrink.report.exit_plot import sweep_chart


class ExitPlotTest(TestCase):
    def test_policies_are_agreement_over_weights_read(self):
        study = files.exit_study()
        study["ppo"] = {"policies": [files.policy(0.5)]}
        own, tips = sweep_chart(study).draw()
        margin, tuned, learned = own.axes[0].lines
        # In order of what they read: exits early reads least.
        wanted = [[0.625, 97.5], [0.75, 95.0], [0.875, 92.5]]
        self.assertAllClose(margin.get_xydata(), wanted)
        self.assertAllClose(tuned.get_xydata(), wanted[:1])
        self.assertAllClose(learned.get_xydata(), wanted[1:2])
        self.assertIn("margin:0.75\nagreement 97.5%", tips[0].text)

    def test_histogram_has_every_depth_of_every_policy(self):
        rows = {"a": {"1": 0.25, "4": 0.75}, "b": {"10": 1.0}}
        own, tips = histogram_chart(rows).draw()
        heights = [bar.get_height() for bar in own.axes[0].patches]
        self.assertAllClose(heights, [25, 75, 0, 0, 0, 100])
        labels = [text.get_text() for text in own.axes[0].get_xticklabels()]
        self.assertEqual(labels, ["1", "4", "10"])
        self.assertIn("blocks run 4: 75 % of the tokens", tips[1].text)

    def test_calibration_and_positions_by_hand(self):
        own, tips = calibration_chart(files.exit_study()).draw()
        diagonal, curve = own.axes[0].lines
        self.assertAllClose(diagonal.get_xydata(), [[0, 0], [1, 1]])
        self.assertAllClose(curve.get_xydata(), [[0.2, 0.3], [0.8, 0.9]])
        self.assertIn("sure 0.80, right 90.0%\n20 tokens", tips[1].text)
        own, _ = positions_chart(files.exit_study()).draw()
        (line,) = own.axes[0].lines
        self.assertAllClose(line.get_xydata(), [[0.25, 1.2], [0.75, 1.8]])

    def test_a_part_of_the_text_without_tokens_is_left_out(self):
        study = files.exit_study()
        study["suggestions"][0]["test"]["by_position"] = [1.2, None]
        own, _ = positions_chart(study).draw()
        (line,) = own.axes[0].lines
        self.assertAllClose(line.get_xydata(), [[0.25, 1.2]])

    def test_they_are_files(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        for draw in (draw_sweep, draw_calibration, draw_positions):
            draw(files.exit_study(), folder / "own.png")
            self.assertEqual((folder / "own.png").read_bytes()[:4], b"\x89PNG")
            (folder / "own.png").unlink()
