"""A plan drawn at random for each inference, as a defence."""

import numpy as np

from tfshrink.analysis.robustness.condition import Condition
from tfshrink.analysis.robustness.figures import WindowScores
from tfshrink.analysis.robustness.plan_scores import clean_row
from tfshrink.analysis.robustness.plan_scores import condition_row

DRAW = Condition("random_precision", 0.0)


class RandomPrecision:
    """Measures a model that draws one of its plans for each inference.

    A window's draw is the same clean and attacked, so that the difference is
    the attack's. The attacker knows the plans, not the draws.

    Args:
        meter: `RobustnessMeter`.
        plans: List of `InForce`, two or more, each as likely as the others.
        every: `"row"`: each window draws; `"batch"`: each batch does.

    Example:
        >>> defence = RandomPrecision(meter, plans, "row")
        >>> defence.scores(meter.attack(condition, plans)).nats.sum()

    Reference: Fu et al., Double-Win Quant, ICML 2021 (random precision
    inference); the attacker's expectation over what is drawn: Athalye et al.,
    Synthesizing Robust Adversarial Examples, arXiv:1707.07397.
    """

    def __init__(self, meter, plans, every):
        self.meter = meter
        self.plans = plans
        self.every = every
        self.draws = drawn_plans(
            len(meter.examples),
            len(plans),
            1 if every == "row" else meter.settings.batch_size,
            meter.settings.seed,
        )

    def scores(self, offsets=None):
        """Measures all windows, each at the plan it drew.

        Args:
            offsets: As for `RobustnessMeter.scores`.

        Returns:
            `WindowScores`.
        """
        parts = []
        for number, plan in enumerate(self.plans):
            rows = np.flatnonzero(self.draws == number)
            if len(rows):
                found = self.meter.scores(plan, rows, offsets=offsets)
                parts.append((rows, found))
        return WindowScores.joined(parts, len(self.draws))

    def rows(self, offsets, figures, reference):
        """Measures the defence against both kinds of attacker.

        Args:
            offsets: Dict of a plan's name, in the order of the plans, to the
                offsets of each attack `Condition`, found against it alone.
            figures: `Figures`.
            reference: `PlanScores` of full precision.

        Returns:
            A dict of plain values: `plans`, `every`, `drawn` (windows that
            drew each plan), `clean` and `conditions`: rows as those of a plan,
            with the `attacker`, who knows one `plan` (`"fixed"`) or samples
            them all (`"sampling"`).
        """
        clean, samples = self.scores(), self.meter.settings.attacker_samples
        rows, names = [], list(offsets)
        for condition in self.meter.settings.attack_conditions:
            found = {name: offsets[name][condition] for name in names}
            # Last, the one who knows that precisions are drawn.
            found[None] = self.meter.attack(condition, self.plans, samples)
            for name, own in found.items():
                scores = self.scores(own)
                row = condition_row(
                    condition, scores, clean, figures, reference
                )
                kind = "sampling" if name is None else "fixed"
                rows.append({"attacker": kind, "plan": name, **row})
        counts = np.bincount(self.draws, minlength=len(names)).tolist()
        return {
            "plans": names,
            "every": self.every,
            "drawn": dict(zip(names, counts, strict=True)),
            "clean": clean_row(clean, figures, reference),
            "conditions": rows,
        }


def drawn_plans(windows, plans, together, seed):
    """Draws a plan for each window.

    Args:
        windows: How many windows.
        plans: How many plans.
        together: Windows in a row that share a draw.
        seed: Of the study.

    Returns:
        Integers `(windows,)`.
    """
    random = DRAW.random(seed)
    draws = random.integers(plans, size=-(-windows // together))
    return np.repeat(draws, together)[:windows]
