"""What full precision is, in words."""


def reference_text(results):
    """A model's size and quality in full precision, and on what text.

    Args:
        results: The dict of a `results.json`.
    """
    own = results["reference"]
    size = f"{own['bytes'] / 1e6:,.{1 if own['bytes'] > 1e7 else 3}f} MB"
    if not own.get("perplexity"):
        return f"{size} in full precision"
    return (
        f"{size}, perplexity {own['perplexity']:.4g} in full precision on "
        f"{_text(results)}"
    )


def _text(results):
    if "search" in results:
        return f"{results['search']['prompts']} search prompts"
    about = results.get("protocol", {}).get("describe") or results.get("data")
    return (about or "its text").partition(":")[0]
