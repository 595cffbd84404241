from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.evaluation.translation_metrics import fold_diacritics
from tfshrink.evaluation.translation_metrics import translation_scores


class TranslationMetricsTest(TestCase):
    def test_bleu_matches_table_by_hand(self):
        found = translation_scores(
            ["the cat sat on the mat today"], ["the cat sat on the mat"]
        )
        # 6/7 words, 5/6 pairs, 4/5 triples, 3/4 quadruples; no brevity
        self.assertAllClose(found["bleu"], 100 * (3 / 7) ** 0.25, rtol=1e-5)
        self.assertEqual(found["sentences"], 1)

    def test_chrf_matches_table_by_hand(self):
        found = translation_scores(["ab"], ["ac"])
        # half of the letters and none of the pairs: precision and recall 1/4
        self.assertAllClose(found["chrf"], 25.0, rtol=1e-5)

    def test_folding_forgives_diacritics_and_nothing_else(self):
        wanted = ["Fișierul și țara în câmp ăsta mare"]
        for text in (
            "Fisierul si tara in camp asta mare",
            "Fi\u015fierul \u015fi \u0163ara în câmp ăsta mare",
            "Fis\u0326ierul s\u0326i t\u0326ara în câmp ăsta mare",
        ):
            found = translation_scores([text], wanted)
            for name in ("bleu", "chrf"):
                self.assertLess(found[name], 90)
                self.assertAllClose(found[f"{name}_folded"], 100.0)
        other = translation_scores(["Un alt text cu totul"], wanted)
        self.assertLess(other["bleu_folded"], 10)

    def test_signatures_say_how_it_was_scored(self):
        found = translation_scores(["a b c d"], ["a b c d"])
        self.assertAllClose(found["bleu"], 100.0)
        self.assertIn("tok:13a", found["bleu_signature"])
        self.assertIn("nc:6", found["chrf_signature"])
        for name in ("bleu_signature", "chrf_signature"):
            self.assertIn("nrefs:1", found[name])
            self.assertIn("version:", found[name])
        self.assertLen(found, 7)

    @parameterized.parameters(
        ("ăâîșțşţ", "aaistst"),
        ("ĂÂÎȘȚŞŢ", "AAISTST"),
        ("s\u0326t\u0327", "st"),
        ("éöñ", "éöñ"),  # not Romanian
    )
    def test_fold_matches_table_by_hand(self, text, wanted):
        self.assertEqual(fold_diacritics(text), wanted)

    def test_lengths_must_agree(self):
        with self.assertRaisesRegex(ValueError, "Received: 1 and 2"):
            translation_scores(["a"], ["a", "b"])
        with self.assertRaisesRegex(ValueError, "one entry a sentence"):
            translation_scores([], [])
