"""The same thresholds as `configs/stl_default.py`, at every single token.

    bin/sensitivity --workdir=runs/spnet-1 --formula=configs/stl_strict.py

Hardly any plan satisfies it: at 8 bits a channel, rounding alone violates
factual at some token of most prompts.
"""


def get_config():
    """Returns the formula."""
    return {
        "formula": (
            "always(jsd <= 0.15) and always(attention >= 0.75) and "
            "always(context >= 0.8) and always(factual >= 0.85)"
        )
    }
