"""Figures of one subject, for rules: those that are there."""

from tfshrink.analysis import plan_files
from tfshrink.evaluation.evaluate_report import FORMATS


def figure(values, *path):
    """What lies at a path of keys, or `None`."""
    for key in path:
        if not isinstance(values, dict):
            return None
        values = values.get(key)
    return values


def having(rows, *names):
    """The rows that have all of these figures."""
    return [row for row in rows if all(row.get(n) is not None for n in names)]


def bit_rows(subject):
    """Rows of the plans, as the analysis of bits has them."""
    return figure(subject, "bits", "plans") or []


def timed_rows(subject):
    """Rows of the plans, as the analysis of performance has them."""
    return figure(subject, "performance", "plans") or []


def judged_rows(subject):
    """Rows of every plan that was judged and can ship, mixed ones too."""
    if subject.get("kind") == "export":  # what was shipped
        return []
    if figure(subject, "performance", "task") == "translation":
        return []
    own = having(bit_rows(subject), "perplexity_ratio")
    own = own or timed_rows(subject)
    return [*own, *(figure(subject, "bits", "mixed") or [])]


def compressed(rows, *names):
    """Rows of judged plans that are smaller than 16 bits."""
    rows = having(rows, "bytes", "compression", "perplexity_ratio", *names)
    return [row for row in rows if row["compression"] > 1]


def ratio(row):
    """Perplexity of a row against full precision's."""
    return row["perplexity_ratio"]


def megabytes(size):
    """Bytes as text, in MB as tables have them."""
    return FORMATS["bytes"](size)


def place(subject):
    """The flag that names a subject in other commands."""
    flag = "model" if subject.get("kind") == "model" else "workdir"
    return f"--{flag}={subject.get('path')}"


def typed(subject, row):
    """What `--plan` takes for the plan of a row; see `plan_files`."""
    return plan_files.typed(subject["name"], row["name"])


def pair(first, second, names):
    """Figures of two rows, by the names of their plans."""
    return {
        row["name"]: {name: row[name] for name in names.split()}
        for row in (first, second)
    }


def insight(text, next, row, names):
    """An insight that rests on figures of one row."""
    figures = {name: row.get(name) for name in names.split()}
    return {"text": text, "next": next, "figures": figures}
