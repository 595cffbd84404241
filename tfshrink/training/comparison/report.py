"""A comparison of training styles for people."""

from tfshrink.evaluation.table import format_cell
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table
from tfshrink.training.comparison.plan_speeds import NAME
from tfshrink.training.comparison.style_run import STYLES
from tfshrink.training.comparison.summary import SPREAD

COLUMNS = {
    "plan": "plan",
    "style": "style",
    "perplexity_ratio": "ratio",
    "token_accuracy": "accuracy",
    "attacked": "FGSM ratio",
    "effective_bits": "bits",
    "bytes": "MB",
    "compression": "smaller",
    "decoding_tokens_per_second": "decode tok/s",
    "updates": "updates",
    "passes": "passes",
    "minutes": "min of steps",
    "better_than": "better than",
}
FORMATS = {
    "perplexity_ratio": ".3f",
    "token_accuracy": ".2%",
    "attacked": ".3f",
    "effective_bits": ".2f",
    "bytes": lambda value: f"{value / 1e6:.{1 if value > 1e7 else 3}f}",
    "compression": lambda value: f"{value:.2f}x",
    "decoding_tokens_per_second": ".0f",
    "minutes": ".1f",
}


def print_styles(results, *, json=None, markdown=False):
    """Prints what `StyleSuite.run` returned.

    Args:
        results: Its dict.
        json: The file it went to, or `None`.
        markdown: Prints the table as Markdown instead.
    """
    rows = [_full(results), *map(_shown, results["rows"])]
    columns = {
        key: heading
        for key, heading in COLUMNS.items()
        if any(row.get(key) is not None for row in rows)
    }
    # Numbers with a spread are text already.
    formats = {k: v for k, v in FORMATS.items() if k not in SPREAD}
    if markdown:
        print(markdown_table(rows, columns, formats=formats) + "\n")
    else:
        print_table(rows, columns, title=results["model"], formats=formats)
    _print_notes(results)
    print(f"Results: {json}" if json else "--json=FILE keeps the results.")


def _full(results):
    """Full precision, on the same text."""
    reference = results["reference"]
    attacked = reference.get("attacked")
    return {
        "plan": NAME,
        "perplexity_ratio": format_cell(1.0, FORMATS["perplexity_ratio"]),
        "token_accuracy": format_cell(
            reference["token_accuracy"], FORMATS["token_accuracy"]
        ),
        "attacked": attacked and format_cell(attacked, FORMATS["attacked"]),
        "effective_bits": 16.0,
        "bytes": reference["bytes"],
        "compression": 1.0,
        "decoding_tokens_per_second": results["speeds"]
        .get(NAME, {})
        .get("median"),
    }


def _shown(row):
    """A row with its means and spreads as text."""
    shown = {**row, "better_than": ", ".join(row["better_than"]) or None}
    for name in SPREAD:
        if name in row:
            shown[name] = with_spread(row[name], FORMATS.get(name))
    seconds = row["training_seconds"]["mean"]
    return {**shown, "minutes": seconds / 60}


def with_spread(figure, how=None):
    """`mean ± spread` as text; the mean alone of one seed."""
    text = format_cell(figure["mean"], how)
    if figure["spread"] is None:
        return text
    return f"{text} ± {format_cell(figure['spread'], how)}"


def _print_notes(results):
    count = len(results["seeds"])
    print(f"Text: {results['protocol']['describe']}.")
    if count > 1:
        print(
            f"±: standard deviation over {count} seeds. Better than: the gap "
            "of the mean ratios exceeds both spreads together; else it is open."
        )
    else:
        print("One seed has no spread: no style is called better.")
    print(
        "Updates are equal; passes (a plan forward and back) are what they "
        "cost. start is the initialisation that all begin with."
    )
    if results["reference"].get("attacked"):
        print(
            "FGSM ratio: perplexity under the attack over the same plan's "
            "without it, on fewer windows (docs/styles.md)."
        )
    if results["speeds"]:
        print(
            "Decode: measured of each plan's export, the same for all styles, "
            f"which share its structure; {NAME} is the export at 32 bits."
        )
    if results["finished"] < results["runs"]:
        print(f"{results['finished']} of {results['runs']} runs are finished.")


def print_choices():
    """Prints what `--styles` takes."""
    print("--styles:")
    for name, (_, meaning) in STYLES.items():
        print(f"  {name:<12}{meaning}")
