import collections

import numpy as np
from keras import ops
from scipy import stats

from tests.search import subjects
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.search.fisher import Fisher
from tfshrink.search.sweep import changes
from tfshrink.search.sweep import correlation
from tfshrink.search.sweep import estimate
from tfshrink.search.sweep import sweep
from tfshrink.structure import plan_tensor

PRUNING = ((0.5, "unstructured"), (0.5, "2:4"))


class ChangesTest(TestCase):
    def test_each_group_is_changed_by_itself(self):
        names = ("block_0/mlp_in", "embedding")
        found = list(changes(names, (8, 4), PRUNING[:1]))
        self.assertEqual(
            found,
            [
                (0, 8, 0.0, "unstructured"),
                (0, 4, 0.0, "unstructured"),
                (0, 16, 0.5, "unstructured"),
                (1, 8, 0.0, "unstructured"),
                (1, 4, 0.0, "unstructured"),
            ],
        )


class SweepTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.evaluator = subjects.evaluator()
        cls.fisher = Fisher(cls.evaluator.model, cls.evaluator.prompts)
        cls.seen = []
        cls.found = sweep(
            cls.evaluator,
            (8, 3),
            PRUNING,
            fisher=cls.fisher,
            progress=cls.seen.append,
        )

    def plan(self, row):
        """All in full precision but what a row says."""
        names = self.found.names
        bits, pruning = [16] * len(names), [0.0] * len(names)
        place = names.index(row["group"])
        bits[place], pruning[place] = row["bits"], row["pruning"]
        return self.evaluator.plan(
            bits, pruning=pruning, sparsity=row["sparsity"]
        )

    def test_rows_are_all_changes_in_order(self):
        wanted = list(changes(self.found.names, (8, 3), PRUNING))
        found = [
            (
                self.found.names.index(row["group"]),
                row["bits"],
                row["pruning"],
                row["sparsity"],
            )
            for row in self.found.rows
        ]
        self.assertEqual(found, wanted)
        self.assertEqual(self.seen, list(range(1, len(wanted) + 1)))

    def test_rows_equal_separate_whole_evaluations(self):
        other = self.evaluator.measuring()  # which keeps no run
        for row in self.found.rows[::3]:
            plan = self.plan(row)
            judgement = other.judge.measure(plan_tensor(other.config, plan))
            whole = other.evaluation(plan, judgement)
            for name in ("kl", "jsd", "mse", "mae", "perplexity"):
                self.assertAllClose(
                    row[name],
                    whole.means[name],
                    rtol=1e-3,
                    atol=1e-6,
                    msg=f"{row['group']}: {name}",
                )
            self.assertAllClose(row["margin"], whole.margin, atol=1e-5)
            for name, worst in whole.worst.items():
                self.assertAllClose(row[f"margin_{name}"], worst, atol=1e-5)
        self.assertEqual(other.judge.blocks, 2 * len(self.found.rows[::3]))

    def test_only_blocks_behind_a_change_are_run(self):
        # Of two blocks: both for the first and the embedding, else one.
        widths, levels = 2, len(PRUNING)
        first, second = (4 * (widths + levels) * count for count in (2, 1))
        embedding = widths * 2
        info = self.found.info
        self.assertEqual(info["blocks_run"], first + second + embedding)
        self.assertEqual(info["blocks_of_all"], 2 * len(self.found.rows))

    def test_fewer_bits_cost_more(self):
        values, widths = self.found.table()
        self.assertEqual(widths, [8, 3])
        self.assertAllEqual(values[:, 1] > values[:, 0], [True] * 9)

    def test_full_precision_is_the_base(self):
        base = self.found.info["base"]
        self.assertAllClose(base["kl"], 0.0, atol=1e-6)
        self.assertAllClose(base["margin_attention"], 0.25, atol=1e-5)
        self.assertAllClose(
            base["perplexity"],
            self.evaluator.judge.reference_perplexity,
            rtol=1e-5,
        )

    def test_correlation_matches_scipy(self):
        rows = [row for row in self.found.rows if "estimate" in row]
        self.assertLen(rows, 9 * 2)
        pairs = [(row["estimate"], row["kl"]) for row in rows]
        wanted = stats.spearmanr(np.array(pairs)).statistic
        self.assertAllClose(self.found.info["correlation"], wanted)
        self.assertGreater(wanted, 0.8)
        self.assertIsNone(correlation(rows[:2]))
        bare = [{"kl": own["kl"], "estimate": None} for own in rows]
        self.assertIsNone(correlation(bare))

    def test_estimate_is_the_divergence_of_what_rounding_moved(self):
        model, bits = self.evaluator.model, ops.convert_to_tensor(3)
        *groups, (_, (table,)) = model.groups().items()
        for index, (name, members) in enumerate(groups):
            moved = [
                to_numpy(layer.kernel_at(bits)) - to_numpy(layer.kernel)
                for layer in members
            ]
            self.assertAllClose(
                estimate(self.fisher, index, 3),
                self.fisher.divergence(index, moved),
                rtol=1e-3,
                msg=name,
            )

        moved = to_numpy(table.head(bits)) - to_numpy(table.table)
        self.assertAllClose(
            estimate(self.fisher, 8, 3),
            self.fisher.divergence(8, [moved]),
            rtol=1e-3,
        )

    def test_measurements_of_a_group_have_its_name(self):
        counts = collections.Counter(row["group"] for row in self.found.rows)
        self.assertEqual(counts["embedding"], 2)
        self.assertEqual(counts["block_01/mlp_out"], 4)
