"""The tables of an analysis: rows of all its subjects, side by side."""

import dataclasses

from tfshrink.analysis.robustness import table as robustness
from tfshrink.evaluation.evaluate_report import FORMATS
from tfshrink.evaluation.table import latex_table
from tfshrink.evaluation.table import markdown_table

SHOWN = 5  # layer groups that mind most, of each bit-width


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows, and how they are shown.

    Args:
        title: What stands above it.
        rows: List of dicts.
        columns: Dict of key to heading; what no row has is left out.
        formats: As in `print_table`.
        note: A line below it, or empty.
    """

    title: str
    rows: list
    columns: dict
    formats: dict
    note: str = ""

    @property
    def used(self):
        """The columns that hold something."""
        return {
            key: heading
            for key, heading in self.columns.items()
            if any(row.get(key) is not None for row in self.rows)
        }

    def markdown(self):
        """The table in Markdown."""
        return markdown_table(self.rows, self.used, formats=self.formats)

    def latex(self):
        """The table in LaTeX."""
        return latex_table(self.rows, self.used, formats=self.formats)


def tables_of(results):
    """The tables that an analysis has rows for.

    Args:
        results: Dict of `analysis_results.json`.

    Returns:
        Dict of a name, which is also that of its files, to `Table`.
    """
    found = {name: make(results["subjects"]) for name, make in TABLES.items()}
    return {name: table for name, table in found.items() if table.rows}


def _performance(subjects):
    rows = []
    for subject in subjects:
        found = subject["performance"]
        if found is None:
            continue
        whole = {
            "name": "full precision",
            "effective_bits": 16.0,
            "compression": 1.0,
            "perplexity_ratio": 1.0,
            **found["reference"],
        }
        for row in (whole, *found["plans"]):
            rows.append({**_label(subject), **_timed(row)})
    return Table(
        "Performance",
        rows,
        {
            **_labels(subjects),
            "name": "plan",
            "effective_bits": "bits",
            "bytes": "MB",
            "compression": "smaller",
            "perplexity": "perplexity",
            "perplexity_ratio": "ratio",
            "token_accuracy": "accuracy",
            "top5_accuracy": "top-5",
            "beams": "beams",
            "bleu": "BLEU",
            "chrf": "chrF",
            "evaluation": "eval tok/s",
            "streaming": "stream tok/s",
            "p50": "p50 ms",
            "p95": "p95 ms",
            "p99": "p99 ms",
            "peak_mb": "peak MB",
        },
        {**FORMATS, "bleu": ".2f", "chrf": ".2f", "peak_mb": ",.0f"},
        "Speeds and latencies are medians with quartiles; each ratio is to the "
        "full precision of the subject's own model. Speed is that of what was "
        "run: plans of models and runs in simulation, exports as they ship.",
    )


def _timed(row):
    """The row, its times as text with quartiles."""
    own = dict(row)
    latency = row.get("latency") or {}
    rates = row.get("evaluation"), latency.get("tokens_per_second")
    for name, values in zip(("evaluation", "streaming"), rates, strict=True):
        own[name] = values and _spread(values)
    for name, values in latency.get("of_texts", {}).items():
        own[name] = _spread(values, 1e3, latency[name])
    memory = row.get("peak_memory") or {}
    own["peak_mb"] = memory.get("host_mb")
    return own


def _spread(values, factor=1.0, middle=None):
    """`262 (255 to 264)`: median, or what stands for it, and quartiles."""
    middle = values["median"] if middle is None else middle
    numbers = (middle, values["q25"], values["q75"])
    one, low, high = (f"{factor * x:,.{_digits(factor * x)}f}" for x in numbers)
    return f"{one} ({low} to {high})"


def _digits(value):
    return 0 if value >= 100 else 1 if value >= 10 else 2


def _blocks(subjects):
    rows, columns = {}, {}
    for subject in subjects:
        for row in (subject["performance"] or {"plans": ()})["plans"]:
            for part in row.get("block_seconds") or ():
                key = f"{subject['name']} {row['name']}"
                columns[key] = key
                own = rows.setdefault(part["name"], {"part": part["name"]})
                own[key] = _spread(part, 1e3)
    return Table(
        "Milliseconds of each part",
        list(rows.values()),
        {"part": "part", **columns},
        {},
        "One window, each part called alone; medians with quartiles.",
    )


def _bits(subjects):
    rows = []
    for subject in subjects:
        found = subject["bits"] or {"plans": (), "mixed": ()}
        for row in (*found["plans"], *found["mixed"]):
            own = row["bit_map"]
            shares = own["weights_by_bits"].items()
            rows.append(
                {
                    **_label(subject),
                    **row,
                    **own["shares"],
                    "spent": ", ".join(f"{b}: {x:.0%}" for b, x in shares),
                }
            )
    return Table(
        "Bits",
        rows,
        {
            **_labels(subjects),
            "name": "plan",
            "effective_bits": "bits",
            "bytes": "MB",
            "compression": "smaller",
            "perplexity_ratio": "ratio",
            "token_accuracy": "accuracy",
            "accuracy_per_bit": "%/bit",
            "spent": "weights at bits",
            "embedding": "embedding",
            "adapters": "adapters",
        },
        {**FORMATS, "embedding": ".0%", "adapters": ".0%"},
        "Bits are weighted by parameters. Embedding and adapters: shares of "
        "the bytes.",
    )


def _budgets(subjects):
    rows = []
    for subject in subjects:
        for row in (subject["bits"] or {}).get("budgets", ()):
            rows.append({**_label(subject), **row})
    return Table(
        "Best plan by size",
        rows,
        {
            **_labels(subjects),
            "budget_bytes": "within MB",
            "name": "plan",
            "bytes": "MB",
            "effective_bits": "bits",
            "perplexity_ratio": "ratio",
            "token_accuracy": "accuracy",
            "accuracy_per_bit": "%/bit",
        },
        {**FORMATS, "budget_bytes": FORMATS["bytes"]},
        "Of the plans above, the one of least perplexity that fits.",
    )


def _sensitivity(subjects):
    rows = []
    for subject in subjects:
        found = (subject["bits"] or {}).get("sensitivity") or {}
        for width in found.get("widths", ()):
            for group in width["groups"][:SHOWN]:
                own = {"bits": width["bits"], **group}
                rows.append({**_label(subject), **own})
    return Table(
        "Layer groups that mind most",
        rows,
        {
            **_labels(subjects),
            "bits": "bits",
            "name": "layer group",
            "kl": "nats",
            "share": "of all",
        },
        {"kl": ".2e", "share": ".1%"},
        "One layer group rounded, all others in full precision.",
    )


def _robustness(subjects):
    rows = []
    for subject in subjects:
        if subject["robustness"] is not None:
            for row in robustness.robustness_rows(subject["robustness"]):
                rows.append({**_label(subject), **row})
    return Table(
        "Robustness",
        rows,
        {**_labels(subjects), **robustness.COLUMNS},
        robustness.FORMATS,
        "Perplexity under each condition; the interval is of its ratio to the "
        "clean one, over windows (bootstrap).",
    )


def _cycles(subjects):
    rows, names = [], {}
    for subject in subjects:
        for cycle in (subject["cycles"] or {}).get("cycles", ()):
            losses = cycle["losses"]
            names.update({f"loss {name}": f"loss {name}" for name in losses})
            own = {f"loss {name}": loss for name, loss in losses.items()}
            rows.append({**_label(subject), **cycle, **own})
    return Table(
        "Loss by precision over the cycles",
        rows,
        {
            **_labels(subjects),
            "cycle": "cycle",
            "first_step": "from step",
            "last_step": "to",
            "whole": "whole",
            **names,
        },
        dict.fromkeys(names, ".4f"),
        "Nats, means over the steps that trained a precision.",
    )


def _label(subject):
    """What tells a row from those of another subject."""
    return {"subject": subject["name"], "model": subject["model"]}


def _labels(subjects):
    """The columns of `_label` that differ between subjects."""
    found = {"subject": "subject", "model": "model"}
    many = len({subject["model"] for subject in subjects}) > 1
    several = len(subjects) > 1
    kept = {"subject": several, "model": many}
    return {key: text for key, text in found.items() if kept[key]}


TABLES = {
    "performance": _performance,
    "blocks": _blocks,
    "bits": _bits,
    "budgets": _budgets,
    "sensitivity": _sensitivity,
    "robustness": _robustness,
    "cycles": _cycles,
}
