from absl.testing import parameterized

from tests.analysis import subjects
from tests.analysis.subjects import bits_row
from tests.analysis.subjects import disturbed
from tests.analysis.subjects import timed_row
from tests.test_case import TestCase
from tfshrink.analysis.insights.rules import insights_of
from tfshrink.analysis.insights.rules import RULES


def bits(*plans, mixed=(), sensitivity=None, kind="run"):
    """A subject with these judged plans."""
    own = {
        "plans": list(plans),
        "mixed": list(mixed),
        "sensitivity": sensitivity,
        "budgets": [],
    }
    return subjects.subject(bits=own, kind=kind)


def timed(*plans, what="simulation", **protocol):
    """A subject with these timed plans."""
    own = subjects.subject()["performance"]
    own["plans"] = list(plans)
    own["timing"]["what"] = what
    own["protocol"].update(protocol)
    return subjects.subject(performance=own)


def cycles(**own):
    """A subject with these losses."""
    plain = {"trend": None, "change": {}, "cycles": [], "static": None}
    return subjects.subject(cycles={**plain, **own})


def change(high, low):
    """Losses at 8 and 2 bits, each in the first and in the last cycle."""
    return {
        bits: {"first": first, "last": last}
        for bits, (first, last) in {"8": high, "2": low}.items()
    }


def attacked(*conditions, drawn=None):
    """A subject whose one plan was attacked."""
    own = {
        "reference": {"name": "full precision", "conditions": []},
        "plans": [{"name": "4", "clean": {}, "conditions": list(conditions)}],
        "random_precision": drawn and {"conditions": drawn},
    }
    return subjects.subject(robustness=own)


def minds(share):
    """Sensitivities in which one layer group has a share of the damage."""
    group = {"name": "block_00/mlp_in", "kl": 0.5, "share": share}
    return {"origin": "here", "widths": [{"bits": 2, "groups": [group]}]}


EIGHT, FOUR = bits_row("8", 8.0, 50, 1.001), bits_row("4", 4.0, 30, 1.01)
SLOW = {**subjects.SPREAD, "median": 20.0}
WIDE = {**subjects.SPREAD, "q25": 30.0}
PGD = disturbed("pgd", (0.5, 0.4, 0.6), excess=(0.1, 0.05, 0.2))
SAMPLED = {"attacker": "sampling", "plan": None}

# A subject that the rule speaks of, and a word that it says.
SPEAKS = {
    "smallest_good_plan": (bits(EIGHT, FOUR), "--workdir=exports/one --plan=4"),
    "no_good_plan": (bits(bits_row("2", 2.0, 20, 1.5)), "1.500"),
    "bits_without_bytes": (
        bits(FOUR, bits_row("2", 2.0, 31, 1.5)),
        "2 has fewer bits than 4",
    ),
    "quality_cliff": (bits(FOUR, bits_row("2", 2.0, 20, 1.5)), "1.500"),
    "mixed_bits_win": (
        bits(
            bits_row("4", 4.0, 30, 1.2),
            mixed=[bits_row("mixed-29MB", 4.1, 29, 1.1)],
        ),
        "--plan=plans/one/mixed-29MB.json",
    ),
    "embedding_dominates": (
        bits(bits_row("4", 4.0, 30, 1.01, embedding=0.5)),
        "50%",
    ),
    "adapters_dominate": (
        bits(bits_row("4", 4.0, 30, 1.01, adapters=0.4)),
        "40%",
    ),
    "few_groups_mind": (bits(FOUR, sensitivity=minds(0.3)), "30%"),
    "simulation_saves_no_time": (
        timed(timed_row("8", 8.0, 50, 1.0, speed=SLOW)),
        "20.0 tokens/s (8) for 20.0",
    ),
    "long_tail": (timed(timed_row("8", 8.0, 50, 1.0, p99=0.06)), "60 ms"),
    "noisy_times": (timed(timed_row("8", 8.0, 50, 1.0, speed=WIDE)), "30.0"),
    "head_takes_long": (timed(timed_row("8", 8.0, 50, 1.0, head=0.4)), "40%"),
    "too_little_text": (
        timed(timed_row("8", 8.0, 50, 1.0), tokens=504),
        "504 tokens",
    ),
    "still_learning": (
        cycles(trend={"part": "tenth", "before": 2.0, "last": 1.9}),
        "2.0000 nats",
    ),
    "forgets_high_precision": (
        cycles(change=change((0.1, 0.2), (2.0, 1.0))),
        "from 0.1000 to 0.2000",
    ),
    "low_precision_stalls": (
        cycles(change=change((0.1, 0.1), (2.0, 1.99))),
        "2 bits did not fall",
    ),
    "attacks_hurt_more": (attacked(PGD), "0.100 nats"),
    "random_precision_defends": (
        attacked(PGD, drawn=[disturbed("pgd", (0.2, 0.1, 0.3), **SAMPLED)]),
        "costs less",
    ),
    "attack_no_worse_than_noise": (
        attacked(PGD, disturbed("random_signs", (0.45, 0.3, 0.6))),
        "no more than random signs",
    ),
}
# Subjects that are as near as possible to what it speaks of.
SILENT = {
    "smallest_good_plan": [
        bits(bits_row("2", 2.0, 20, 1.5)),
        bits(bits_row("32", 32.0, 200, 1.0)),  # saves nothing
        bits(FOUR, kind="export"),
    ],
    "no_good_plan": [bits(bits_row("2", 2.0, 20, 1.5), EIGHT)],
    "bits_without_bytes": [bits(FOUR, bits_row("2", 2.0, 29, 1.5))],
    "quality_cliff": [
        bits(FOUR, bits_row("2", 2.0, 20, 1.2)),
        bits(FOUR, bits_row("2", 2.0, 30, 1.5)),
    ],
    "mixed_bits_win": [
        bits(
            bits_row("4", 4.0, 30, 1.2),
            mixed=[bits_row("mixed-31MB", 4.1, 31, 1.1)],
        ),
        bits(  # .087 nats, less than twice the error of .05
            bits_row("4", 4.0, 30, 1.2, standard_error=0.04),
            mixed=[bits_row("mixed-9MB", 4.1, 29, 1.1, standard_error=0.03)],
        ),
    ],
    "embedding_dominates": [
        bits(bits_row("4", 4.0, 30, 1.01, embedding=0.5, outer=4)),
        bits(bits_row("4", 4.0, 30, 1.01, embedding=0.39)),
    ],
    "adapters_dominate": [bits(bits_row("4", 4.0, 30, 1.01, adapters=0.3))],
    "few_groups_mind": [bits(FOUR, sensitivity=minds(0.19))],
    "simulation_saves_no_time": [
        timed(timed_row("8", 8.0, 50, 1.0)),
        timed(timed_row("8", 8.0, 50, 1.0, speed=SLOW), what="the file itself"),
    ],
    "long_tail": [timed(timed_row("8", 8.0, 50, 1.0, p99=0.05))],
    "noisy_times": [timed(timed_row("8", 8.0, 50, 1.0))],
    "head_takes_long": [timed(timed_row("8", 8.0, 50, 1.0, head=0.29))],
    "too_little_text": [timed(timed_row("8", 8.0, 50, 1.0), tokens=32_000)],
    "still_learning": [
        cycles(trend={"part": "tenth", "before": 2.0, "last": 1.97})
    ],
    "forgets_high_precision": [
        cycles(change=change((0.1, 0.1), (2.0, 1.0))),
        cycles(change=change((0.001, 0.002), (2.0, 1.0))),  # hardly a rise
        cycles(change={"8": {"first": 0.1, "last": 0.2}}),
    ],
    "low_precision_stalls": [cycles(change=change((0.1, 0.1), (2.0, 1.9)))],
    "attacks_hurt_more": [
        attacked(disturbed("pgd", (0.5, 0.4, 0.6), excess=(0.1, -0.01, 0.2))),
        attacked(
            disturbed("token_dropout", (0.5, 0.4, 0.6), excess=(0.1, 0.05, 0.2))
        ),
    ],
    "random_precision_defends": [
        attacked(PGD),
        attacked(
            PGD,
            drawn=[
                disturbed("pgd", (0.2, 0.1, 0.3), attacker="fixed", plan="4")
            ],
        ),
    ],
    "attack_no_worse_than_noise": [
        attacked(PGD, disturbed("random_signs", (0.1, 0.0, 0.2))),
        attacked(PGD),
    ],
}


class RulesTest(TestCase):
    def test_every_rule_is_tested_both_ways(self):
        self.assertEqual(list(SPEAKS), list(RULES))
        self.assertEqual(list(SILENT), list(RULES))

    @parameterized.parameters(*SPEAKS)
    def test_speaks(self, name):
        own, words = SPEAKS[name]
        found = RULES[name](own)
        self.assertIn(words, found["text"] + " " + found["next"])
        self.assertNotEmpty(found["figures"])

    @parameterized.parameters(*SILENT)
    def test_is_silent(self, name):
        for own in SILENT[name]:
            self.assertIsNone(RULES[name](own))

    @parameterized.parameters(*RULES)
    def test_is_silent_without_figures(self, name):
        empty = dict.fromkeys(("performance", "bits", "robustness", "cycles"))
        plain = {"name": "one", "kind": "run", "path": "runs/one"}
        self.assertIsNone(RULES[name]({**plain, **empty}))
        hollow = {key: {} for key in empty}
        self.assertIsNone(RULES[name]({**plain, **hollow}))
        bare = {"plans": [{"name": "8"}], "mixed": [{"name": "mixed"}]}
        hollow = {**hollow, "bits": bare, "performance": bare}
        self.assertIsNone(RULES[name]({**plain, **hollow}))

    def test_random_precision_that_does_not_help_is_said(self):
        drawn = [disturbed("pgd", (0.45, 0.3, 0.6), **SAMPLED)]
        found = RULES["random_precision_defends"](attacked(PGD, drawn=drawn))
        self.assertIn("is not shown to cost less", found["text"])

    def test_a_subject_like_any_other_asks_for_nothing(self):
        self.assertEqual(insights_of(subjects.subject()), [])

    def test_insights_name_their_rule(self):
        found = insights_of(bits(EIGHT, FOUR))
        self.assertEqual([x["rule"] for x in found], ["smallest_good_plan"])
        figures = found[0]["figures"]
        self.assertEqual((figures["name"], figures["bytes"]), ("4", 30))
