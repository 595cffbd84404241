"""What the commands about exits print."""

from tfshrink.evaluation.table import print_table
from tfshrink.files import write_json

COLUMNS = {
    "exit": "exit",
    "agreement": "agreement",
    "exit_rate": "leave early",
    "layers": "layers",
    "weights_read": "weights read",
    "tests": "tests",
    "perplexity_ratio": "ppl ratio",
    "bleu": "BLEU",
    "chrf": "chrF",
    "tokens_per_second": "tokens/s",
    "speedup": "speed-up",
    "same_text": "same text",
}
FORMATS = {
    "agreement": ".1%",
    "exit_rate": ".1%",
    "layers": ".2f",
    "weights_read": ".3f",
    "tests": ".1%",
    "perplexity_ratio": ".3f",
    "bleu": ".2f",
    "chrf": ".2f",
    "tokens_per_second": ".1f",
    "speedup": ".2f",
    "same_text": ".1%",
}


def print_exits(results, json=None):
    """Prints exit policies side by side, and writes them.

    Args:
        results: Of `study.evaluate_exits`.
        json: File that takes them, or `None`.
    """
    rows, full = results["exits"], results["full"]
    if full:
        first = {
            "exit": "none",
            "agreement": 1.0,
            "exit_rate": 0.0,
            "weights_read": 1.0,
            "speedup": 1.0,
            "same_text": 1.0,
            **full,
        }
        rows = [first, *rows]
    exits_table(rows, f"{results['run']}, plan {results['plan']['name']}")
    print(
        f"Agreement with the full model along its own greedy text: "
        f"{results['prompts']} prompts of {results['data']} (test), "
        f"{results['new_tokens']} tokens each, {results['dtype']}. Weights "
        "read: by a token, of the full model's; at batch 1 they are its time."
    )
    if json:
        write_json(json, results)
        print(f"Results: {json}")


def print_promise(found, path=None):
    """Prints what `study.certify_exits` proved, and writes it.

    Args:
        found: Its dict.
        path: File that takes it, or `None`.
    """
    own = found["certificate"]
    exits_table([found["summary"]], "Calibrated by Learn-then-Test")
    print(
        f"Promised: with {1 - own['level']:.0%} confidence at least "
        f"{1 - own['risk']:.1%} of a prompt's tokens are the full model's, in "
        f"the mean over such prompts (measured {1 - own['measured']:.1%} on "
        f"{own['prompts']}, p = {own['p_value']:.2g})."
    )
    print(f"--exit={own['policy']}")
    if path:
        write_json(path, found)
        print(f"Certificate: {path}")


def exits_table(rows, title, first=None):
    """Prints rows of `choice.summary`, those columns that hold something.

    Args:
        rows: List of dicts.
        title: A line above.
        first: Dict of key: heading, more columns in front.
    """
    columns = {
        key: heading
        for key, heading in {**(first or {}), **COLUMNS}.items()
        if any(row.get(key) is not None for row in rows)
    }
    formats = {**FORMATS, "wanted": ".0%"}
    print_table(rows, columns, title=title, formats=formats)
