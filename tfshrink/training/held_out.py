"""A quick look at held-out text while a run goes on."""

import numpy as np

from tfshrink.data.documents import load_documents
from tfshrink.data.pack import tokenize
from tfshrink.data.pack import windows
from tfshrink.errors import UserError
from tfshrink.structure import plan_tensor

SPLIT = "search"  # chosen by; the test split stays for the final judgement
WINDOWS = 8


class HeldOut:
    """Perplexity of every plan on a few fixed windows.

    Args:
        model: Built `Decoder`.
        plans: Plans to judge.
        examples: `Examples`: the windows.

    Example:
        >>> HeldOut(model, plans, examples).measure()
        {"8": 21.3, "4": 24.9}
    """

    def __init__(self, model, plans, examples):
        from tfshrink.evaluation.quality_meter import QualityMeter

        self.plans = plans
        self.meter = QualityMeter(model, examples)

    def measure(self):
        """Perplexity by plan name."""
        return {
            plan.name: self.meter.measure(
                plan_tensor(self.meter.model.config, plan)
            )["perplexity"]
            for plan in self.plans
        }


def held_out_examples(name, tokenizer, context):
    """The first windows of the `search` split of a text.

    Args:
        name: As for `load_documents`.
        tokenizer: The model's tokenizer.
        context: Tokens of a window.

    Returns:
        `Examples` of at most `WINDOWS` rows.

    Raises:
        UserError: the text is shorter than one window.
    """
    room = context + (WINDOWS - 1) * (context - 1)
    pieces, length = [], 0
    for document in load_documents(name, SPLIT, limit=room):
        pieces += tokenize([f"{document}\n\n"], tokenizer)
        length += len(pieces[-1])
        if length >= room:
            break
    if length < context:
        raise UserError(
            f"`eval_data` must hold at least one window of {context} tokens. "
            f"Received: {name}, {length} tokens"
        )
    return windows(np.concatenate(pieces)[:room], context, context - 1)
