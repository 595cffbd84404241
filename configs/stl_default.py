"""The requirement that plans are judged by unless another is named.

    bin/search --workdir=runs/spnet-1 --formula=configs/stl_default.py

Coherence and factual are means over 16 tokens: token by token, rounding to 8
bits alone fails the last of them on most prompts (`configs/stl_strict.py`). The
thresholds are those of TOGGLE (arXiv:2512.16855).
"""

THRESHOLDS = {
    "jsd": 0.15,  # at most, nats
    "attention": 0.75,  # at least, like the next two
    "context": 0.8,
    "factual": 0.85,
}
WINDOW = 16  # tokens


def get_config():
    """Returns the formula."""
    jsd, attention, context, factual = THRESHOLDS.values()
    return {
        "formula": (
            f"always(jsd_mean{WINDOW} <= {jsd}) and "
            f"always(attention >= {attention}) and "
            f"always(context >= {context}) and "
            f"always(factual_mean{WINDOW} >= {factual})"
        )
    }
