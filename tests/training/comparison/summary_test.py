import contextlib
import io
import json

from tests.test_case import TestCase
from tfshrink.training.comparison.report import print_styles
from tfshrink.training.comparison.summary import mean_and_spread
from tfshrink.training.comparison.summary import summarize_styles

RATIOS = {
    ("2", "static"): [2.0, 2.2, 2.4],  # mean 2.2, spread .2
    ("2", "spnet"): [2.5, 2.6, 2.7],  # 2.6, .1: apart by .4 > .3
    ("2", "cpt"): [2.6, 2.9, 3.2],  # 2.9, .3: .3 from spnet, within .4
    ("8", "static"): [1.0, 1.0, 1.0],
    ("8", "spnet"): [1.0, 1.0, 1.0],
}


def records(seeds=3):
    return [
        {
            "seed": seed,
            "style": style,
            "plan": plan,
            "updates": 30,
            "passes": 90 if style == "spnet" else 30,
            "effective_bits": 4.0,
            "bytes": 10**8,
            "compression": 2.5,
            "perplexity_ratio": ratios[seed],
            "token_accuracy": 0.4 + seed / 100,
            "training_seconds": 60.0,
        }
        for seed in range(seeds)
        for (plan, style), ratios in RATIOS.items()
    ]


class SummaryTest(TestCase):
    def test_spread_is_the_sample_standard_deviation(self):
        found = mean_and_spread([2, 4, 4, 4, 5, 5, 7, 9])
        self.assertEqual(found["mean"], 5.0)
        self.assertAllClose(found["spread"], (32 / 7) ** 0.5)
        self.assertIsNone(mean_and_spread([3])["spread"])

    def test_only_gaps_beyond_both_spreads_are_differences(self):
        rows = summarize_styles(records())
        better = {(r["plan"], r["style"]): r["better_than"] for r in rows}
        self.assertEqual(list(better), list(RATIOS))
        self.assertEqual(better["2", "static"], ["spnet", "cpt"])
        for key in list(RATIOS)[1:]:
            self.assertEqual(better[key], [], key)

    def test_one_seed_claims_nothing(self):
        for row in summarize_styles(records(seeds=1)):
            self.assertEqual(row["better_than"], [])

    def test_table_has_means_spreads_and_what_is_open(self):
        results = {
            "model": "tiny",
            "rows": summarize_styles(records()),
            "reference": {"token_accuracy": 0.5, "bytes": 250_000_000},
            "protocol": {"describe": "some text"},
            "speeds": {},
            "seeds": [0, 1, 2],
            "finished": 4,
            "runs": 5,
        }
        with contextlib.redirect_stdout(io.StringIO()) as out:
            print_styles(json.loads(json.dumps(results)), markdown=True)
        text = out.getvalue()
        for part in (
            "| 2.200 ± 0.200 |",
            "| spnet, cpt |",
            "41.00% ± 1.00%",
            "4 of 5 runs are finished",
        ):
            self.assertIn(part, text)
        self.assertNotIn("tok/s", text)
