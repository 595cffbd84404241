import os
import pathlib

import numpy as np
from absl.testing import parameterized

from tests.stl import random_formulas
from tests.stl.signals_test import means
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.stl.parse import parse
from tfshrink.stl.requirement import DEFAULT
from tfshrink.stl.requirement import read_formula
from tfshrink.stl.requirement import relaxed
from tfshrink.stl.requirement import Requirement

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
LENGTHS = np.array([30, 20, 17], "int32")
# What lies behind the end of a prompt, where nothing counts.
WORST = {"jsd": 9.0, "attention": -9.0, "context": -9.0, "factual": -9.0}


def random_signals(seed=0):
    """Signals of three prompts `(3, 30)`."""
    random = np.random.default_rng(seed)
    signals = {
        "jsd": random.uniform(0.0, 0.3, (3, 30)),
        "attention": random.uniform(0.5, 1.0, (3, 30)),
        "context": random.uniform(0.6, 1.0, (3, 30)),
        "factual": random.uniform(0.6, 1.2, (3, 30)),
    }
    for name, values in signals.items():
        for row, length in zip(values, LENGTHS, strict=True):
            row[length:] = WORST[name]
    return {name: values.astype("float32") for name, values in signals.items()}


class MarginsTest(TestCase):
    def test_margins_of_the_default_are_brute_force_minima(self):
        signals = random_signals()
        found = Requirement().margins(signals, LENGTHS)
        self.assertCountEqual(
            found, ["jsd_mean16", "attention", "context", "factual_mean16"]
        )
        for row, length in enumerate(LENGTHS):
            own = {k: v[row, :length].tolist() for k, v in signals.items()}
            wanted = {
                "jsd_mean16": 0.15 - max(means(own["jsd"], 16)),
                "attention": min(own["attention"]) - 0.75,
                "context": min(own["context"]) - 0.8,
                "factual_mean16": min(means(own["factual"], 16)) - 0.85,
            }
            self.assertAllClose(
                {name: values[row] for name, values in found.items()},
                wanted,
                rtol=1e-5,
                atol=1e-6,
            )

    def test_margins_of_any_formula_are_those_of_the_definition(self):
        texts = (
            "always[0:4](attention >= 0.75)",
            "eventually[2:9](context >= 0.95)",
            "factual_mean4 >= 0.5 until[0:12] jsd <= 0.01",
            "always(jsd <= 0.25 implies eventually[0:5](factual >= 1))",
        )
        requirement = Requirement(" and ".join(f"({text})" for text in texts))
        signals = random_signals(1)
        found = requirement.margins(signals, LENGTHS)
        names = "attention", "context", "factual_mean4_jsd", "factual_jsd"
        self.assertCountEqual(found, names)
        for text, name in zip(texts, names, strict=True):
            for row, length in enumerate(LENGTHS):
                own = {k: v[row, :length] for k, v in signals.items()}
                four = means(own["factual"].tolist(), 4)
                own["factual_mean4"] = np.array(four, "float32")
                wanted = random_formulas.robustness(parse(text), own)
                self.assertAllClose(found[name][row], wanted, msg=text)

    def test_a_requirement_is_the_least_of_its_properties(self):
        signals = random_signals(2)
        requirement = Requirement(DEFAULT.replace("_mean16", ""))
        found = np.min(list(requirement.margins(signals, LENGTHS).values()), 0)
        for row, length in enumerate(LENGTHS):
            own = {k: v[row, :length] for k, v in signals.items()}
            wanted = random_formulas.robustness(requirement.formula, own)
            self.assertAllClose(found[row], wanted)

    def test_an_explanation_names_the_worst_token(self):
        signals = random_signals()
        signals["jsd"][1, 11] = 0.5
        found = Requirement("always(jsd <= 0.15)").explain(signals, LENGTHS)
        explanation = found["jsd"][1]
        self.assertEqual((explanation.signal, explanation.time), ("jsd", 11))
        self.assertAllClose(explanation.margin, -0.35)
        self.assertLen(found["jsd"], 3)

    def test_a_window_longer_than_a_prompt_is_refused(self):
        requirement = Requirement("always(jsd_mean18 <= 0.15)")
        message = "18 tokens where a prompt has 17"
        with self.assertRaisesRegex(UserError, message):
            requirement.check_lengths(LENGTHS)
        with self.assertRaisesRegex(UserError, message):
            requirement.margins(random_signals(), LENGTHS)
        Requirement("always[0:16](jsd_mean17 <= 0.15)").check_lengths(LENGTHS)
        with self.assertRaisesRegex(UserError, message):
            Requirement("always[0:17](jsd <= 0.15)").check_lengths(LENGTHS)


class PropertiesTest(TestCase):
    def test_properties_are_named_after_their_signals(self):
        text = (
            "always(jsd <= 0.15) and always(jsd >= 0) and "
            "eventually(jsd <= 0.01) and "
            "always(attention <= 0.5 implies jsd <= 0.1) and "
            "(context >= 0.1 and context_mean2 >= 0.2)"
        )
        found = Requirement(text).properties
        self.assertEqual(
            {name: str(part) for name, part in found.items()},
            {
                "jsd": "always(jsd <= 0.15)",
                "jsd_2": "always(jsd >= 0)",
                "jsd_3": "eventually(jsd <= 0.01)",
                "attention_jsd": "always(attention <= 0.5 implies jsd <= 0.1)",
                "context_context_mean2": (
                    "context >= 0.1 and context_mean2 >= 0.2"
                ),
            },
        )

    def test_one_property_is_a_requirement(self):
        for text in ("always(jsd <= 0.1)", "jsd <= 0.1 or jsd >= 0.2"):
            requirement = Requirement(text)
            self.assertEqual(
                requirement.properties, {"jsd": requirement.formula}
            )

    def test_signals_to_measure_are_those_below_means(self):
        requirement = Requirement(
            "always(jsd_mean16 <= 0.15) and always(jsd <= 0.5) and "
            "eventually(factual_mean4 >= 0.9)"
        )
        self.assertEqual(requirement.signals, ["factual", "jsd"])
        self.assertEqual(
            Requirement().signals, ["attention", "context", "factual", "jsd"]
        )

    @parameterized.parameters(
        ("jsd <= 0.7", "jsd.*0..0.6931.*jsd <= 0.7"),
        ("jsd_mean16 <= -0.1", "jsd_mean16.*0..0.6931"),
        ("attention >= 1.01", "attention.*0..1.*attention >= 1.01"),
        ("attention >= -0.5", "attention.*0..1"),
        ("always(not(context >= -1.1))", "context.*-1..1"),
        ("factual >= -0.1", "factual.*0..inf"),
        ("max_probability_deviation <= 2", "max_probability_deviation.*0..1"),
        ("jsd <= 0.1 and atention >= 0.7", "Did you mean `attention`"),
        ("always jsd", "`formula` must read like"),
    )
    def test_what_cannot_be_required_is_named(self, text, message):
        with self.assertRaisesRegex(UserError, message):
            Requirement(text)

    def test_ends_of_a_range_can_be_required(self):
        for text in (
            "jsd <= 0.6931",
            "jsd >= 0",
            "attention >= 1",
            "context >= -1",
            "factual >= 1000",
        ):
            self.assertEqual(str(Requirement(text).formula), text)


class RelaxedTest(TestCase):
    @parameterized.parameters(
        ("jsd <= 0.1", "jsd <= 0.12"),
        ("factual >= 0.5", "factual >= 0.4"),
        ("context >= -0.5", "context >= -0.6"),
        ("context <= -0.5", "context <= -0.4"),
        ("not(jsd <= 0.1)", "not(jsd <= 0.08)"),
        ("not(not(jsd <= 0.1))", "not(not(jsd <= 0.12))"),
        (
            "always[0:3](jsd <= 0.1 implies factual >= 0.5)",
            "always[0:3](jsd <= 0.08 implies factual >= 0.4)",
        ),
        (
            "(jsd <= 0.1) until[1:5] (not(factual >= 0.5))",
            "(jsd <= 0.12) until[1:5] (not(factual >= 0.6))",
        ),
        (
            "eventually(jsd <= 0.1) and (factual >= 0.5 or jsd <= 0)",
            "eventually(jsd <= 0.12) and (factual >= 0.4 or jsd <= 0)",
        ),
    )
    def test_thresholds_give_way_by_hand(self, text, wanted):
        self.assertEqual(str(relaxed(parse(text), 0.2)), wanted)
        self.assertEqual(str(Requirement(text, relax=0.2).formula), wanted)
        self.assertEqual(str(Requirement(text).formula), text)

    @parameterized.parameters(range(4))
    def test_no_trace_satisfies_less(self, seed):
        random = np.random.default_rng(seed)
        gains = []
        for _ in range(60):
            formula = random_formulas.random_formula(random, 4)
            signals = random_formulas.random_signals(random, 1, 9)
            own = {name: values[0] for name, values in signals.items()}
            before, after, more = (
                random_formulas.robustness(relaxed(formula, share), own)
                for share in (0.0, 0.1, 0.2)
            )
            # Infinite where a window is empty.
            self.assertGreaterEqual(after, before - 1e-9, str(formula))
            self.assertGreaterEqual(more, after - 1e-9, str(formula))
            gains.append(np.nan_to_num(after) - np.nan_to_num(before))
        self.assertGreater(np.mean(np.array(gains) > 1e-3), 0.5)

    def test_until_keeps_what_it_means(self):
        formula = parse("(jsd <= 0.1) until[2:4] (factual >= 0.5)")
        found = relaxed(formula, 0.2)
        self.assertEqual(
            (found.start, found.stop, found.inclusive), (2, 4, True)
        )

    @parameterized.parameters(-0.01, 0.21, 1.0, float("nan"))
    def test_thresholds_give_way_by_a_fifth_at_most(self, share):
        with self.assertRaisesRegex(
            UserError, f"`relax_thresholds` must lie in 0..0.2.*{share}"
        ):
            Requirement(relax=share)

    def test_json_holds_the_formula_that_judges(self):
        found = Requirement("always(jsd <= 0.1)", relax=0.1).to_json()
        self.assertEqual(
            found,
            {"formula": "always(jsd <= 0.11)", "relax_thresholds": 0.1},
        )


class FilesTest(TestCase):
    def write(self, text):
        path = os.path.join(self.create_tempdir().full_path, "mine.py")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_formulas_come_from_text_files_and_themselves(self):
        formula = parse("always(jsd <= 0.125)")
        path = self.write(
            'def get_config():\n    return {"formula": "always(jsd <= .125)"}\n'
        )
        for text in ("always(jsd <= 0.125)", path, pathlib.Path(path)):
            self.assertEqual(read_formula(text), formula)
        self.assertEqual(Requirement(formula).formula, formula)
        self.assertEqual(read_formula(None), parse(DEFAULT))

    def test_the_strict_config_is_the_default_token_by_token(self):
        strict = read_formula(CONFIGS / "stl_strict.py")
        self.assertEqual(strict, parse(DEFAULT.replace("_mean16", "")))

    @parameterized.parameters(
        ("", "KeyError: 'get_config'"),
        ("def get_config():\n    return {}\n", "KeyError: 'formula'"),
        ("def get_config():\n    return 1 / 0\n", "ZeroDivisionError"),
        ("def get_config(:\n", "SyntaxError"),
    )
    def test_a_file_without_a_formula_is_named(self, text, message):
        path = self.write(text)
        with self.assertRaisesRegex(UserError, message) as caught:
            Requirement(path)
        self.assertIn(path, str(caught.exception))
        self.assertIn("get_config() has one", str(caught.exception))

    def test_a_file_that_is_not_there(self):
        with self.assertRaisesRegex(UserError, "none.py.*no such file"):
            Requirement("configs/none.py")

    def test_a_formula_of_a_file_must_be_readable(self):
        path = self.write(
            'def get_config():\n    return {"formula": "jsd <"}\n'
        )
        with self.assertRaisesRegex(UserError, "must read like"):
            Requirement(path)
