"""Margins of a requirement: property by property, and token by token."""

from tfshrink.report.bar_chart import bar_chart
from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart
from tfshrink.report.radar_chart import radar_chart
from tfshrink.stl.formula import Always
from tfshrink.stl.formula import Predicate
from tfshrink.stl.parse import parse
from tfshrink.stl.properties import properties
from tfshrink.stl.signals import SIGNALS
from tfshrink.stl.signals import split_name

MOST = 4  # plans of a figure
LEAST = 3  # properties that can stand around a circle
SHARE = "margin / unchanged model's"


def unchanged_margins(formula):
    """Margins that the reference itself would have, one a property.

    Args:
        formula: The requirement as text.

    Returns:
        Dict of property to a positive number: how far the best value of its
        signal lies from the threshold. 1 where a property is more than `always`
        of one comparison, or its threshold is that value itself.
    """
    found = {}
    for name, part in properties(parse(formula)).items():
        inner = part.child if isinstance(part, Always) else part
        found[name] = 1.0
        if isinstance(inner, Predicate):
            best = SIGNALS[split_name(inner.signal)[0]].best
            found[name] = abs(best - inner.threshold) or 1.0
    return found


def radar(formula, plans, what):
    """A figure of the margins of every property, plan by plan.

    Args:
        formula: The requirement as text.
        plans: Dict of a plan's name to its margins by property.
        what: Whose margins they are: `"worst prompt"`.

    Returns:
        `Chart`.
    """
    whole = unchanged_margins(formula)
    shown = dict(list(plans.items())[:MOST])
    series = {}
    for name, margins in shown.items():
        values = [margins[key] / whole[key] for key in whole]
        texts = [
            f"{name}: {key}\nmargin {margins[key]:+.4f}, {value:.0%} of an "
            f"unchanged model's\n({what})"
            for key, value in zip(whole, values, strict=True)
        ]
        series[name] = values, texts
    if len(whole) < LEAST:
        return bar_chart(
            "margins_by_property",
            f"Margins by property, {what}; below 0 the property is violated.",
            list(whole),
            {name: values for name, (values, _) in series.items()},
            x_label="property",
            y_label=SHARE,
        )
    more = f" The first {MOST} plans." if len(plans) > MOST else ""
    return radar_chart(
        "margins_by_property",
        f"Margins by property, {what}: at the rim as the unchanged model, on "
        f"the ring at the threshold, inside it violated.{more}",
        list(whole),
        series,
    )


def token_chart(formula, plan, row):
    """A figure of the margins of one prompt, token by token.

    Args:
        formula: The requirement as text.
        plan: The plan's name.
        row: Entry of `worst` of a certificate, with `over_tokens`.

    Returns:
        `Chart`.
    """
    whole = unchanged_margins(formula)
    lines = []
    for name, margins in row["over_tokens"].items():
        scale = whole.get(name, 1.0)
        texts = [
            f"{plan}, prompt {row['prompt']}, token {token}\n{name}: margin "
            f"{margin:+.4f}\n{margin / scale:.0%} of an unchanged model's"
            for token, margin in enumerate(margins)
        ]
        shares = [margin / scale for margin in margins]
        lines.append(Line(name, list(range(len(margins))), shares, texts))
    return line_chart(
        f"margins_over_tokens_{plan}",
        f"Plan {plan} on its worst prompt ({row['prompt']}): margins token by "
        "token; below 0 the property is violated.",
        lines,
        x_label="token of the prompt",
        y_label=SHARE,
        at=0.0,
    )
