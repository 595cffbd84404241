"""What was measured of a plan, and the rows of results it becomes."""

from typing import NamedTuple

from tfshrink.analysis.robustness.figures import WindowScores

RMS = "RMS of the embedding"
UNITS = {  # of a condition's strength
    "fgsm": RMS,
    "pgd": RMS,
    "random_signs": RMS,
    "weight_noise": "RMS of each matrix",
    "token_dropout": "share of the tokens",
    "token_substitution": "share of the tokens",
    "weight_quantization": "bits",
    "activation_quantization": "bits",
}


class PlanScores(NamedTuple):
    """Scores of a plan, and what its attackers found.

    Args:
        clean: `WindowScores`.
        disturbed: Dict of `Condition` to `WindowScores`.
        offsets: Dict of `Condition` of an attack to `(N, T, C)`, the offsets
            of the embedded tokens.
    """

    clean: WindowScores
    disturbed: dict
    offsets: dict

    @classmethod
    def measured(cls, meter, plan):
        """Measures a plan under all conditions.

        Args:
            meter: `RobustnessMeter`.
            plan: `InForce`.
        """
        settings, disturbed, offsets = meter.settings, {}, {}
        for condition in settings.attack_conditions:
            offsets[condition] = meter.attack(condition, [plan])
            disturbed[condition] = meter.scores(
                plan, offsets=offsets[condition]
            )
        for condition in settings.noise_conditions:
            disturbed[condition] = meter.scores(plan, condition=condition)
        return cls(meter.scores(plan), disturbed, offsets)

    def rows(self, figures, reference=None):
        """The scores as plain values.

        Args:
            figures: `Figures`.
            reference: `PlanScores` of full precision, or `None`.

        Returns:
            A dict of `clean` and `conditions`, a list.
        """
        return {
            "clean": clean_row(self.clean, figures, reference),
            "conditions": [
                condition_row(condition, scores, self.clean, figures, reference)
                for condition, scores in self.disturbed.items()
            ],
        }


def clean_row(clean, figures, reference=None):
    """Figures of an undisturbed plan, beside those of full precision.

    Args:
        clean: `WindowScores`.
        figures: `Figures`.
        reference: `PlanScores` of full precision, or `None`.
    """
    row = figures.levels(clean)
    if reference is not None:
        row["against_full_precision"] = figures.change(clean, reference.clean)
    return row


def condition_row(condition, scores, clean, figures, reference=None):
    """Figures of a disturbed plan, and what they are set against.

    Args:
        condition: `Condition`.
        scores: `WindowScores` under it.
        clean: `WindowScores` of the same plan.
        figures: `Figures`.
        reference: `PlanScores` of full precision, or `None`.

    Returns:
        A dict: `kind`, `strength`, `unit`, the levels; `against_clean`; with a
        reference `against_full_precision`, which was disturbed likewise, and
        `excess`, the change less that of full precision.
    """
    row = {
        "kind": condition.kind,
        "strength": condition.strength,
        "unit": UNITS[condition.kind],
        **figures.levels(scores),
        "against_clean": figures.change(scores, clean),
    }
    if reference is not None:
        own = reference.disturbed[condition]
        row["against_full_precision"] = figures.change(scores, own)
        row["excess"] = figures.excess(scores, clean, own, reference.clean)
    return row
