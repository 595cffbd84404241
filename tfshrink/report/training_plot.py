"""Curves of a training run."""

import numpy as np

from tfshrink.report.line_chart import Line
from tfshrink.report.line_chart import line_chart

MOST = 200  # points of a curve; more are means of neighbours


def loss_chart(metrics):
    """A figure of the loss over steps, precision by precision.

    Args:
        metrics: Lines of `metrics.jsonl` that have `losses`.

    Returns:
        `Chart`.
    """
    return _curves(
        metrics, "losses", "loss", "plan {}", "Training loss of each precision"
    )


def exit_loss_chart(metrics):
    """The same of `exit_losses`, exit by exit."""
    return _curves(
        metrics,
        "exit_losses",
        "exit_loss",
        "exit behind block {}",
        "Training loss of each exit",
    )


def held_out_chart(metrics):
    """The same of `eval`: perplexities on held-out text, plan by plan."""
    return _curves(
        metrics,
        "eval",
        "held_out",
        "plan {}",
        "Perplexity of each precision on text that is not trained on",
        unit="perplexity",
    )


def _curves(metrics, key, name, label, caption, unit="loss, nats"):
    names = dict.fromkeys(own for line in metrics for own in line[key])
    lines, width = [], 1
    for own in names:
        rows = [line for line in metrics if line[key].get(own) is not None]
        x = [line["step"] for line in rows]
        y = [line[key][own] for line in rows]
        width = max(width, -(-len(x) // MOST))
        lines.append(Line(label.format(own), *_thinned(x, y)))
    if width > 1:
        caption += f"; a point is the mean of {width} logged steps"
    positive = all(value > 0 for line in lines for value in line.y)
    return line_chart(
        name,
        f"{caption}.",
        lines,
        x_label="step",
        y_label=unit,
        log=positive,
    )


def _thinned(x, y):
    """Means of neighbours, so that at most `MOST` points are left."""
    width = -(-len(x) // MOST)
    if width < 2:
        return x, y
    parts = np.array_split(np.arange(len(x)), -(-len(x) // width))
    x, y = np.array(x, "float64"), np.array(y, "float64")
    return (
        [float(x[part].mean()) for part in parts],
        [float(y[part].mean()) for part in parts],
    )
