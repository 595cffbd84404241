"""How often a plan violates a requirement, with a bound that can be stated."""

import dataclasses

import numpy as np
from scipy import stats

WORST = 5  # prompts that a certificate shows
ALL = "all"  # every property at once
DIGITS = 5  # of the margins of single tokens


def violation_bound(violations, count, confidence=0.95):
    """Clopper-Pearson upper bound of the rate of violations.

    Args:
        violations: How many of `count` prompts violate.
        count: Prompts, drawn independently of each other.
        confidence: With which the rate is below the bound.

    Returns:
        A number in (0, 1].

    Reference: Clopper and Pearson, Biometrika 26, 1934.
    """
    if violations >= count:
        return 1.0
    return float(stats.beta.ppf(confidence, violations + 1, count - violations))


@dataclasses.dataclass
class Verdict:
    """What one plan did on the prompts of a certificate.

    Args:
        name: Of the plan or the artefact.
        identity: Hashes that say what was judged.
        margins: Dict of property to a list of `(n,)` margins, part by part.
        explained: Dict of property to a list of `Explanation`s, one a prompt.
    """

    name: str
    identity: dict
    margins: dict = dataclasses.field(default_factory=dict)
    explained: dict = dataclasses.field(default_factory=dict)

    def add(self, margins, explained):
        """Adds the margins and explanations of further prompts."""
        for name, values in margins.items():
            # What is no number satisfies nothing.
            own = np.nan_to_num(np.asarray(values, "float64"), nan=-np.inf)
            self.margins.setdefault(name, []).extend(own.tolist())
        for name, values in explained.items():
            self.explained.setdefault(name, []).extend(values)

    def rates(self, tests, confidence=0.95):
        """Violations, rate and bound of each property, and of all at once.

        Args:
            tests: Bounds that are to hold together (Bonferroni).
            confidence: With which they all do.
        """
        own = 1.0 - (1.0 - confidence) / tests
        table = {name: np.array(x) for name, x in self.margins.items()}
        table[ALL] = np.min(list(table.values()), axis=0)
        return {
            name: {
                "violations": int((values < 0).sum()),
                "rate": float((values < 0).mean()),
                "bound": violation_bound(
                    int((values < 0).sum()), len(values), own
                ),
                "worst_margin": float(values.min()),
                "median_margin": float(np.median(values)),
            }
            for name, values in table.items()
        }

    def worst(self, count=WORST):
        """The prompts that a property misses by most, with the token.

        Returns:
            List of dicts, the worst first; `over_tokens` has the margins of
            each property, token by token.
        """
        names = list(self.margins)
        table = np.array([self.margins[name] for name in names])
        found = []
        for prompt in np.argsort(table.min(axis=0))[:count]:
            name = names[int(np.argmin(table[:, prompt]))]
            why = self.explained[name][prompt]
            found.append(
                {
                    "prompt": int(prompt),
                    "property": name,
                    "margin": float(table[:, prompt].min()),
                    "token": None if why is None else why.time,
                    "why": None if why is None else str(why),
                    "over_tokens": self._over_tokens(prompt),
                }
            )
        return found

    def _over_tokens(self, prompt):
        """Dict of property to the margins of a prompt's tokens."""
        return {
            name: [round(float(x), DIGITS) for x in own[prompt].over_tokens]
            for name, own in self.explained.items()
            if own[prompt] is not None
        }


def certificate(verdicts, *, requirement, prompts, confidence=0.95, more=None):
    """The certificate of a family of plans, as a JSON dict.

    All bounds of all plans hold together with the stated confidence: each is
    taken at 1 - (1 - confidence) / tests.

    Args:
        verdicts: List of `Verdict`, judged on the same prompts.
        requirement: `Requirement`.
        prompts: Dict that says what the prompts are: count, split, hashes.
        confidence: With which all bounds hold.
        more: Further entries.
    """
    tests = sum(len(one.margins) + 1 for one in verdicts)
    return {
        "version": 1,
        **requirement.to_json(),
        "confidence": confidence,
        "tests": tests,
        "bound": "Clopper-Pearson, one-sided, Bonferroni over all tests",
        "assumes": "prompts drawn independently from the text's population",
        "prompts": prompts,
        "plans": [
            {
                "name": one.name,
                **one.identity,
                "properties": one.rates(tests, confidence),
                "worst": one.worst(),
            }
            for one in verdicts
        ],
        **(more or {}),
    }
