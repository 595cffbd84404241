"""What is printed of a run that translates."""

from tfshrink.evaluation.evaluate_report import FORMATS as COSTS
from tfshrink.evaluation.table import markdown_table
from tfshrink.evaluation.table import print_table

COLUMNS = {
    "name": "plan",
    "effective_bits": "bits",
    "bytes": "MB",
    "beams": "beams",
    "perplexity": "perplexity",
    "bleu": "BLEU",
    "chrf": "chrF",
    "bleu_folded": "BLEU, folded",
    "chrf_folded": "chrF, folded",
    "seconds": "s",
}
FORMATS = {
    "effective_bits": COSTS["effective_bits"],
    "bytes": COSTS["bytes"],
    "perplexity": ".2f",
    "bleu": ".2f",
    "chrf": ".2f",
    "bleu_folded": ".2f",
    "chrf_folded": ".2f",
    "seconds": ".0f",
}
SHOWN = 4  # translations


def print_translation(results, *, markdown=False):
    """Prints scores and a few translations.

    Args:
        results: Of `translation.judge_translation`.
        markdown: Prints the table as Markdown.
    """
    rows = results["plans"]
    if markdown:
        print(markdown_table(rows, COLUMNS, formats=FORMATS) + "\n")
    else:
        print_table(rows, COLUMNS, title=results["model"], formats=FORMATS)
    best = rows[-1]
    for source, made, target in best["examples"][:SHOWN]:
        print(f"  {source}\n    -> {made}\n     ({target})")
    print(
        f"{best['sentences']} pairs of {results['data']} (test). Folded: "
        "without Romanian diacritics on both sides."
    )
    print(best["bleu_signature"])
    print(best["chrf_signature"])
