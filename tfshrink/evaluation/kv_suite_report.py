"""The K/V suite's results for people."""

from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table

COLUMNS = {
    "kv": "codec",
    "kv_bytes": "K/V MB",
    "removed": "removed",
    "kv_compression": "smaller",
    "perplexity": "perplexity",
    "perplexity_ratio": "ratio",
    "logit_kl": "KL, nats",
    "attention_error": "attention error",
    "copied": "copied",
    "agreement": "same text",
    "bleu": "BLEU",
    "tokens_per_second": "decode tok/s",
    "verified": "verified",
}
FORMATS = {
    "kv_bytes": lambda value: f"{value / 1e6:.{1 if value > 1e7 else 3}f}",
    "removed": ".1%",
    "kv_compression": lambda value: f"{value:.2f}x",
    "perplexity_ratio": ".4f",
    "logit_kl": ".4f",
    "attention_error": ".4f",
    "copied": ".1%",
    "agreement": ".1%",
    "bleu": ".1f",
}


def print_suite(results, *, json=None, markdown=False):
    """Prints what `kv_suite` returned.

    Args:
        results: Its dict.
        json: The file it went to, or `None`.
        markdown: Prints the table as Markdown instead.
    """
    rows = [shown_row(row) for row in results["rows"]]
    columns = {
        key: heading
        for key, heading in COLUMNS.items()
        if any(row.get(key) is not None for row in rows)
    }
    if markdown:
        print(markdown_table(rows, columns, formats=FORMATS) + "\n")
    else:
        print_table(rows, columns, title=results["model"], formats=FORMATS)
    print(f"Text: {results['protocol']['describe']}.")
    print(
        "Bytes: of one sequence at that context, exact part and gains counted; "
        "`removed` and `smaller` are against 16 bits."
    )
    tables = {
        row["kv"]: row["kv_table_bytes"]
        for row in results["rows"]
        if row["kv_table_bytes"]
    }
    if tables:
        most = max(tables.values()) / 1e6
        print(f"Bases of calibrated codecs: {most:.1f} MB, for all sequences.")
    peak = results["memory"]["host_mb"]
    print(f"Peak memory {peak:,.0f} MB, {results['seconds']:.0f} s in all.")
    print(f"Results: {json}" if json else "--json=FILE keeps the results.")


def shown_row(row):
    """A row with what the table derives."""
    shown = {**row, "removed": 1.0 - 1.0 / row["kv_compression"]}
    if "verified" in row:
        shown["verified"] = "yes" if row["verified"]["passed"] else "NO"
    return shown
