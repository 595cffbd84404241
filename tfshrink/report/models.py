"""Sections by model: each against its own reference, on axes of its own."""

import dataclasses

from tfshrink.evaluation.evaluate_report import FORMATS
from tfshrink.report.plans_plot import plans_chart
from tfshrink.report.section import Section
from tfshrink.report.section import Table

COLUMNS = {
    "place": "run",
    "name": "plan",
    "effective_bits": "bits",
    "bytes": "MB",
    "compression": "smaller",
    "perplexity": "perplexity",
    "perplexity_ratio": "ratio",
    "token_accuracy": "accuracy",
}


@dataclasses.dataclass(frozen=True)
class Model:
    """What the page says of one model.

    Args:
        name: Its name; `None` holds what no model is known of.
        reference: A sentence about its full precision, or nothing.
        sections: List of `Section`.
    """

    name: str | None
    reference: str
    sections: list

    @property
    def heading(self):
        """The model's name, or what stands in for it."""
        return self.name or "Of no single model"


def by_model(sections):
    """Groups sections; runs that can be compared get a section that does.

    Args:
        sections: List of `Section`.

    Returns:
        List of `Model`, those without a name last.
    """
    names = dict.fromkeys(own.model for own in sections)
    found = []
    for name in sorted(names, key=lambda name: name is None):
        own = [section for section in sections if section.model == name]
        found.append(Model(name, _reference(own), _compared(own) + own))
    return found


def _reference(sections):
    """What full precision is, wherever a section says it."""
    return "; ".join(
        dict.fromkeys(own.reference for own in sections if own.reference)
    )


def _compared(sections):
    """A section for each reference that several runs share."""
    groups = {}
    for own in sections:
        if own.results and "search" not in own.results:
            groups.setdefault(_key(own.results), []).append(own)
    found = []
    for number, group in enumerate(groups.values(), 1):
        rows = _rows(group)
        if len(rows) > 1:
            found.append(_comparison(number, group, rows))
    return found


def _key(results):
    """What two results share if their numbers can be compared."""
    protocol = results.get("protocol", {})
    reference = results["reference"]
    return (
        reference["bytes"],
        reference["perplexity"],
        *(str(protocol.get(key)) for key in ("text", "context", "dtype")),
    )


def _rows(group):
    """Plans with a size and a quality, by the label of their run."""
    found = {}
    for number, own in enumerate(group, 1):
        plans = [
            plan
            for plan in own.results["plans"]
            if plan.get("bytes") and plan.get("perplexity_ratio")
        ]
        if plans:
            label = own.place
            found[f"{label} ({number})" if label in found else label] = plans
    return found


def _comparison(number, group, rows):
    points = {
        (plan["bytes"], plan["perplexity_ratio"])
        for plans in rows.values()
        for plan in plans
    }
    differ = len(points) > 1  # runs that leave the weights as they are do not
    table = [
        {"place": place, **plan}
        for place, plans in rows.items()
        for plan in plans
    ]
    return Section(
        kind="Runs side by side",
        place=", ".join(rows),
        source=", ".join(own.source for own in group),
        model=group[0].model,
        lines=(f"Against one reference: {group[0].reference}.",),
        charts=(plans_chart(rows, f"compared_{number}"),) if differ else (),
        tables=(Table.of("Plans of all runs", table, COLUMNS, FORMATS),),
    )
