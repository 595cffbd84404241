import json
import pathlib

from absl.testing import parameterized

from tests.analysis.runs import write_log
from tests.test_case import TestCase
from tests.training import tiny
from tfshrink.analysis.cycles import cycle_analysis
from tfshrink.analysis.cycles import schedule_period
from tfshrink.errors import UserError


class CyclesTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path + "/run"

    def test_cyclic_precision_by_hand(self):
        losses = [{"cpt-2": 4.0}, {"cpt-8": 1.0}, {"cpt-2": 2.0}]
        losses += [{"cpt-8": 0.5}, {"cpt-2": 1.0}, {"8": 0.25}]
        write_log(
            self.folder,
            losses,
            style="cpt",
            cycles=2,
            total_steps=6,
            static_steps=2,
        )
        found = cycle_analysis(self.folder)
        self.assertEqual((found["style"], found["period"]), ("cpt", 2))
        self.assertEqual(
            [cycle["losses"] for cycle in found["cycles"]],
            [{"8": 1.0, "2": 4.0}, {"8": 0.5, "2": 2.0}],
        )
        self.assertEqual(list(found["cycles"][0]["losses"]), ["8", "2"])
        self.assertEqual(found["change"]["2"], {"first": 4.0, "last": 2.0})
        self.assertEqual(
            found["trend"], {"part": "cycle", "before": 2.5, "last": 1.25}
        )

    def test_means_are_over_the_steps_of_a_cycle(self):
        losses = [{"8": float(x)} for x in (1, 3)] + [{"4": 5.0}, {"4": 7.0}]
        write_log(
            self.folder,
            losses + [{"8": 9.0}],
            style="switch",
            switch_interval=2,
            total_steps=8,
        )
        found = cycle_analysis(self.folder)
        first, second = found["cycles"]
        self.assertEqual(found["period"], 4)
        self.assertEqual(first["losses"], {"8": 2.0, "4": 6.0})
        self.assertEqual(first["counts"], {"8": 2, "4": 2})
        self.assertTrue(first["whole"])
        # The run that was stopped has half a cycle: it changes nothing.
        self.assertFalse(second["whole"])
        self.assertEqual(found["change"], {})

    def test_trend_and_static_phase(self):
        losses = [{"cpt-8": 2.0}] * 18 + [{"cpt-8": 1.0}] * 2
        losses += [{"8": 0.8}] * 9 + [{"8": 0.5}]
        write_log(
            self.folder,
            losses,
            style="cpt",
            cycles=2,
            total_steps=30,
            static_steps=10,
        )
        found = cycle_analysis(self.folder)
        self.assertEqual(found["static"], {"first": 0.8, "last": 0.5})
        # Ten steps have no tenths: the cycles of 10 steps tell.
        self.assertEqual(found["trend"]["part"], "cycle")
        self.assertAllClose(found["trend"]["before"], 2.0)
        self.assertAllClose(found["trend"]["last"], 1.8)

    def test_a_trend_compares_like_with_like(self):
        # The last steps are of 8 bits, whose loss is low: nothing fell.
        cycle = [{"cpt-2": 3.0}] * 10 + [{"cpt-8": 1.0}] * 10
        options = {"style": "cpt", "cycles": 2, "total_steps": 40}
        write_log(self.folder, cycle * 2, **options)
        trend = cycle_analysis(self.folder)["trend"]
        self.assertEqual(trend, {"part": "cycle", "before": 2.0, "last": 2.0})

    def test_the_trend_of_a_static_phase(self):
        losses = [{"cpt-8": 2.0}] * 10 + [{"8": 1.0}] * 18 + [{"8": 0.5}] * 2
        options = {"style": "cpt", "cycles": 1, "static_steps": 20}
        write_log(self.folder, losses, total_steps=30, **options)
        trend = cycle_analysis(self.folder)["trend"]
        self.assertEqual(trend, {"part": "tenth", "before": 1.0, "last": 0.5})

    def test_a_style_without_cycles(self):
        write_log(self.folder, [{"8": 1.0, "4": 2.0}] * 20, total_steps=20)
        found = cycle_analysis(self.folder)
        self.assertIsNone(found["period"])
        self.assertEqual(found["cycles"], [])
        self.assertEqual(
            found["trend"], {"part": "tenth", "before": 1.5, "last": 1.5}
        )

    @parameterized.parameters(
        ({"style": "switch"}, 2 * 10),
        ({"style": "switch", "switch_strategy": "progressive"}, 64),
        ({"style": "switch", "switch_strategy": "random"}, None),
        (
            {
                "style": "switch",
                "switch_strategy": "scheduled",
                "bit_pattern": "8,4,2",
            },
            30,
        ),
        ({"style": "cyclic"}, 1),
        ({"style": "cpt", "cycles": 4}, 16),
        ({"style": "rpt"}, None),
    )
    def test_period(self, values, expected):
        settings = tiny.settings(total_steps=64, **values)
        plans = tiny.plans("8", "4")
        self.assertEqual(schedule_period(settings, plans), (expected, 64))

    def test_a_line_that_was_cut_short_is_left_out(self):
        path = write_log(self.folder, [{"8": 1.0}] * 3, total_steps=3)
        path.write_text(path.read_text() + '{"step": 4, "lo')
        self.assertEqual(cycle_analysis(self.folder)["steps"], 3)

    def test_settings_of_another_version(self):
        write_log(self.folder, [{"8": 1.0}])
        path = pathlib.Path(self.folder, "config.json")
        values = json.loads(path.read_text())
        values["settings"]["flux"] = 1
        path.write_text(json.dumps(values))
        with self.assertRaisesRegex(UserError, "this version.*flux"):
            cycle_analysis(self.folder)

    @parameterized.parameters(
        ("", "must hold the losses of a run"),
        ('{"step": 1}\n', "must hold the losses of a run"),
        ('{"step": 1, "losses": 7}\n', "what bin/train notes"),
        ('{"losses": {"8": 1.0}}\n', "what bin/train notes"),
        ("nonsense\n", "what bin/train notes"),
        ("7\n", "what bin/train notes"),
    )
    def test_a_damaged_log(self, text, message):
        write_log(self.folder, []).write_text(text)
        with self.assertRaisesRegex(UserError, f"metrics.jsonl.*{message}"):
            cycle_analysis(self.folder)
