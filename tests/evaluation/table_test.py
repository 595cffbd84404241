import contextlib
import io

import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.evaluation.table import format_cell
from tfshrink.evaluation.table import latex_table
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table

ROWS = [
    {"name": "W8", "perplexity": 14.7213, "bytes": 134567890},
    {"name": "[red]W|2", "perplexity": None, "bytes": 5, "extra": True},
]


class TableTest(TestCase):
    @parameterized.parameters(
        (None, "–"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (np.int64(1234), "1,234"),
        (14.7213, "14.72"),
        (np.float32(0.5), "0.5"),
        (12345.6, "12,346"),
        (0.00012, "0.00012"),
        (1e9, "1e+09"),
        (0.0, "0"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        ("text", "text"),
    )
    def test_cells_match_table_by_hand(self, value, expected):
        self.assertEqual(format_cell(value), expected)

    def test_a_format_or_a_function_decides(self):
        self.assertEqual(format_cell(1.0, ".3f"), "1.000")
        self.assertEqual(format_cell(2e6, lambda b: f"{b / 1e6} MB"), "2.0 MB")

    def test_markdown(self):
        text = markdown_table(
            ROWS, {"name": "plan", "perplexity": "ppl"}, formats=None
        )
        self.assertEqual(
            text,
            "| plan | ppl |\n| --- | --: |\n| W8 | 14.72 |\n| [red]W\\|2 | – |",
        )

    def test_printed_text_is_shown_as_it_is_at_any_width(self):
        rows = [{**row, "long": "x" * 120} for row in ROWS]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            print_table(rows, title="title")
        for text in ("title", "[red]W|2", "134,567,890", "extra", "x" * 120):
            self.assertIn(text, output.getvalue())

    def test_latex_says_what_means_something_to_it_otherwise(self):
        rows = [{"name": r"50% of_a & b\c", "size": 1.5}, {"name": None}]
        self.assertEqual(
            latex_table(rows).splitlines(),
            [
                r"\begin{tabular}{lr}",
                r"\toprule",
                r"name & size \\",
                r"\midrule",
                r"50\% of\_a \& b\textbackslash{}c & 1.5 \\",
                r"-- & -- \\",
                r"\bottomrule",
                r"\end{tabular}",
            ],
        )
