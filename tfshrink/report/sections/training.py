"""A run of bin/train: its curves and its settings."""

import json

from tfshrink.errors import UserError
from tfshrink.report.section import Section
from tfshrink.report.section import Table
from tfshrink.report.training_plot import exit_loss_chart
from tfshrink.report.training_plot import held_out_chart
from tfshrink.report.training_plot import loss_chart

SETTINGS = (
    "style",
    "total_steps",
    "batch_size",
    "context",
    "accumulation",
    "learning_rate",
    "group",
    "ranks",
    "activations",
    "init",
    "data",
    "kv",
    "exits",
    "seed",
    "dtype",
)
NEEDED = ("model", "plans", "settings")
HEADS = {
    "layer": "exit behind block",
    "agreement": "agrees with the full model",
    "recall": "its candidates hold the full model's token",
}


def training(path, results=None):
    """The section of a run's training.

    Args:
        path: `pathlib.Path` of its `metrics.jsonl`.
        results: Its `results.json` as a dict, or `None`.

    Returns:
        `Section`.

    Raises:
        UserError: `config.json` or `metrics.jsonl` cannot be read.
    """
    folder = path.parent
    config = _config(folder)
    metrics = _metrics(path)
    steps = [line for line in metrics if "losses" in line]
    charts = [loss_chart(steps)]
    exits = [line for line in steps if line.get("exit_losses")]
    if exits:
        charts.append(exit_loss_chart(exits))
    judged = [line for line in metrics if line.get("eval")]
    if judged:
        charts.append(held_out_chart(judged))
    results = results or {}
    return Section(
        kind="Training",
        place=folder.name,
        source=str(path),
        model=(config.get("identity") or {}).get("name") or config["model"],
        lines=_lines(config, steps, results),
        charts=tuple(charts),
        tables=_heads(folder, config),
        command=results.get("command") or config.get("command"),
        environment=results.get("environment"),
    )


def _config(folder):
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text("utf-8"))
        return {**values, **{key: values[key] for key in NEEDED}}
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} must be that of a run of bin/train, with "
            f"{', '.join(NEEDED)}. Received: {type(error).__name__}: {error}"
        ) from error


def _metrics(path):
    """Lines of `metrics.jsonl`; a last one that was cut short is left out."""
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]
        found = [json.loads(line) for line in lines]
        steps = [line for line in found if line["step"] and "losses" in line]
    except (OSError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} must hold a JSON object with `step` a line. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    if not steps:
        raise UserError(
            f"{path} must hold the losses of at least one step. Received: none"
        )
    return found


def _lines(config, steps, results):
    plans = ", ".join(plan["name"] for plan in config["plans"])
    speeds = sorted(line["tokens_per_second"] for line in steps)
    tokens = sum(line["tokens"] for line in steps)
    total = config["settings"].get("total_steps")
    done = f"{steps[-1]['step']:,} of {total:,} steps, {tokens:,} tokens"
    seconds = results.get("training_seconds")
    took = f" in {seconds:,.0f} s" if seconds else ""
    return (
        f"Precisions: {plans}. {done}{took}; "
        f"{speeds[len(speeds) // 2]:,.0f} tokens/s (median of the steps).",
        f"Settings: {_settings(config['settings'])}.",
    )


def _settings(settings):
    return ", ".join(
        f"{name.replace('_', ' ')} {settings[name]}"
        for name in SETTINGS
        if settings.get(name) not in (None, "")
    )


def _heads(folder, config):
    """What the exits of a run learned, as `exits.json` says."""
    path = folder / "exits.json"
    if not path.exists():
        return ()
    values = json.loads(path.read_text("utf-8"))
    if "recall" not in values:  # a study of bin/diagnose in the run folder
        return ()
    layers = map(str, config["exits"]["layers"])
    rows = [
        {"layer": layer, "agreement": agreement, "recall": recall}
        for layer, agreement, recall in zip(
            layers, values["agreement"], values["recall"], strict=True
        )
    ]
    caption = f"Exits alone, on {values['tokens']:,} tokens kept for that"
    formats = {"agreement": ".1%", "recall": ".1%"}
    return (Table.of(caption, rows, HEADS, formats),)
