from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.evaluation.squad_metrics import exact_match
from tfshrink.evaluation.squad_metrics import f1
from tfshrink.evaluation.squad_metrics import normalize_answer
from tfshrink.evaluation.squad_metrics import squad_scores


class SquadMetricsTest(TestCase):
    @parameterized.parameters(
        ("The Eiffel Tower!", "eiffel tower"),
        ("  a  cat,\tand AN  owl ", "cat and owl"),
        ("U.S.A.", "usa"),
        ("a-n", ""),  # punctuation goes first, then the article it left
        ("theatre another", "theatre another"),
        ("the", ""),
        ("«Łódź»", "«łódź»"),  # only ASCII punctuation goes
        ("", ""),
    )
    def test_normalization_matches_table_by_hand(self, text, expected):
        self.assertEqual(normalize_answer(text), expected)

    @parameterized.parameters(
        # prediction, answers, exact match, F1
        ("Denver Broncos", ["The Denver Broncos"], 1, 1.0),
        ("Broncos", ["Denver Broncos", "The Broncos"], 1, 1.0),
        # shared 2 of 3 found and 2 of 2 wanted: 2 (2/3) 1 / (5/3)
        ("Denver Broncos team", ["Denver Broncos"], 0, 0.8),
        # the word `new` counts twice only where both have it twice
        ("new new york", ["new york"], 0, 0.8),
        ("york", ["new new york"], 0, 0.5),
        ("Carolina", ["Denver Broncos"], 0, 0.0),
        ("", ["Denver"], 0, 0.0),
        # v1.1: two empty texts match exactly and share no word
        ("the", ["a"], 1, 0.0),
        ("x", [], 0, 0.0),
    )
    def test_scores_match_table_by_hand(self, text, answers, match, score):
        self.assertEqual(exact_match(text, answers), match)
        self.assertAlmostEqual(f1(text, answers), score)

    def test_missing_predictions_count_as_zero(self):
        scores = squad_scores(
            ["Denver Broncos", None, "new new york", "x"],
            [["Denver Broncos"], ["y"], ["new york"], ["z"]],
        )
        self.assertAlmostEqual(scores["exact_match"], 25.0)
        self.assertAlmostEqual(scores["f1"], 45.0)
        self.assertEqual(scores["questions"], 4)

    def test_lengths_must_agree(self):
        with self.assertRaisesRegex(ValueError, "Received: 1 and 2"):
            squad_scores(["x"], [["x"], ["y"]])
        with self.assertRaisesRegex(ValueError, "one entry a question"):
            squad_scores([], [])
