"""evaluate's results for people: a table, Markdown, and what to do next."""

from tfshrink.evaluation.harness.report import print_harness
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import MISSING
from tfshrink.exit_spec import PRESETS
from tfshrink.kv_spec import CODECS

COLUMNS = {
    "run": "run",
    "model": "model",
    "name": "plan",
    "group": "group",
    "effective_bits": "bits",
    "bytes": "MB",
    "compression": "smaller",
    "kv_bytes": "K/V MB",
    "kv_compression": "K/V smaller",
    "perplexity": "perplexity",
    "perplexity_ratio": "ratio",
    "token_accuracy": "accuracy",
    "top5_accuracy": "top-5",
    "accuracy_per_bit": "%/bit",
    "exact_match": "EM",
    "f1": "F1",
    "evaluation_tokens_per_second": "eval tok/s",
    "decoding_tokens_per_second": "decode tok/s",
}
FORMATS = {
    "bytes": lambda value: f"{value / 1e6:.{1 if value > 1e7 else 3}f}",
    "kv_bytes": lambda value: f"{value / 1e6:.{1 if value > 1e7 else 3}f}",
    "kv_compression": lambda value: f"{value:.2f}x",
    "group": lambda value: str(value) if value else "channel",
    "effective_bits": ".2f",
    "compression": lambda value: f"{value:.2f}x",
    "perplexity_ratio": lambda value: f"{value:,.{3 if value < 100 else 0}f}",
    "token_accuracy": ".2%",
    "top5_accuracy": ".2%",
    "exact_match": ".1f",
    "f1": ".1f",
}


def table_rows(results):
    """The reference, then every plan, as rows of `print_table`."""
    reference = {
        "name": "full precision",
        "effective_bits": 16.0,
        "compression": 1.0,
        **results["reference"],
    }
    if reference.get("perplexity"):
        reference["perplexity_ratio"] = 1.0
    return [reference, *results["plans"]]


def shown_columns(rows):
    """Headings of the columns that hold something; models only if many."""
    columns = {
        key: heading
        for key, heading in COLUMNS.items()
        if any(row.get(key) is not None for row in rows)
    }
    if len({row.get("model") for row in rows}) < 2:
        columns.pop("model", None)
    return columns


def print_report(results, *, json=None, markdown=False, dry_run=False):
    """Prints protocol, table, memory and where the results lie.

    Args:
        results: What `evaluate` returned.
        json: The file it wrote, or `None`.
        markdown: Prints the table as Markdown instead.
        dry_run: Whether only one batch was judged.
    """
    if results.get("task") == "translation":
        from tfshrink.evaluation.translation_report import print_translation

        print_translation(results, markdown=markdown)
        return _print_place(results["plans"], json, dry_run)
    rows = table_rows(results)
    columns = shown_columns(rows)
    protocol = results["protocol"]
    if markdown:
        print(markdown_table(rows, columns, formats=FORMATS) + "\n")
    else:
        print_table(rows, columns, title=results["model"], formats=FORMATS)
    print_harness(rows, markdown=markdown)
    if protocol["describe"]:
        print(f"Text: {protocol['describe']}.")
    if "speed" in protocol["tasks"]:
        print(
            "Speed: of the simulation in Keras; what an export reaches is "
            "measured by bin/benchmark."
        )
    peak = results["memory"]["host_mb"]
    print(f"Peak memory {peak:,.0f} MB, {results['seconds']:.0f} s in all.")
    return _print_place(rows, json, dry_run)


def _print_place(rows, json, dry_run):
    """Prints where results lie."""
    if dry_run:
        print("Dry run: one batch was judged, nothing written.")
    elif json:
        print(f"Results: {json}")
    elif any("run" in row for row in rows):
        print("Results: results.json in each run folder.")
    else:
        print("--json=FILE keeps the results.")


def print_choices():
    """Prints what the flags take."""
    from tfshrink.data.documents import SOURCES as TEXTS
    from tfshrink.data.translation import SOURCES as PAIRS
    from tfshrink.evaluation.evaluate import SCALES
    from tfshrink.evaluation.protocol import HARNESS
    from tfshrink.evaluation.protocol import TASKS
    from tfshrink.models.sources import SOURCES as MODELS

    choices = {
        "--tasks": {
            **TASKS,
            f"{HARNESS}NAME": "of lm-evaluation-harness, with its data",
        },
        "--data": TEXTS,
        "--data, of a run that translates": PAIRS,
        "--model": dict.fromkeys(MODELS, ""),
        "--plan": {
            "8": "all block groups at 8 bits",
            "8,8,4,4,...": "one entry per block group",
            "stripe-8-4": "even groups take the lower",
            "plan.json": "a file",
        },
        "--kv": {
            **CODECS,
            "pca:4x": "a rate: 4 times smaller than 16 bits, all counted",
            "...:layers=even": "of blocks; also block=, window=, sinks=, bits=",
        },
        "--exit": {
            **{name: f"{own}: {why}" for name, (own, why) in PRESETS.items()},
            **{f"{name}:.9": "a confidence" for name in CONFIDENCES},
            "policy:.5:weights=FILE": "learned: bin/diagnose exits --ppo",
            **{f"...:missing={name}": why for name, why in MISSING.items()},
            "...:layers=8,16": "also margin=, pending=, schedule=, target=",
        },
        "--scales": dict.fromkeys(SCALES, ""),
    }
    for flag, names in choices.items():
        print(f"{flag}:")
        for name, meaning in names.items():
            print(f"  {name:<13} {meaning}".rstrip())
