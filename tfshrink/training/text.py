"""The rows a run trains on."""

import os

import numpy as np

from tfshrink.data.documents import load_examples
from tfshrink.data.examples import Examples
from tfshrink.errors import UserError

GENERATED = "generated"


def training_examples(settings, tokenizer, config, folder=None):
    """Loads the text of a run; the model writes `generated` itself.

    Args:
        settings: `TrainSettings`.
        tokenizer: The model's tokenizer.
        config: `DecoderConfig`.
        folder: `RunFolder` that keeps generated text; `None` only checks the
            other texts.

    Returns:
        `Examples`, or `None` where all text is generated and there is no
        folder yet.
    """
    if settings.context > config.context:
        raise UserError(
            f"`context` must be at most {config.context}, what "
            f"{settings.model} can see. Received: {settings.context}"
        )
    separator = config.eos[0] if config.eos else 0
    parts = []
    names = settings.data.replace("+", ",").split(",")
    if os.path.exists(settings.data):
        names = [settings.data]
    for name in names:
        if name == GENERATED:
            if folder is None:
                continue
            name = _generate(settings, folder)
        parts.append(
            load_examples(
                name,
                tokenizer,
                settings.context,
                separator=separator,
                limit=settings.limit,
            )
        )
    if not parts:
        return None
    return Examples(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.mask for part in parts]),
    )


def _generate(settings, folder):
    """Lets the model write its text; goes on where a killed run stopped."""
    from tfshrink.data.model_text import write_model_text

    path = str(folder.path / "generated.jsonl")
    if not os.path.exists(path):
        rows = settings.generated_rows
        batches = -(-rows // 64)
        write_model_text(
            settings.model,
            path,
            limit=rows,
            max_new_tokens=settings.context - 1,
            batch_size=-(-rows // batches),
            dtype=settings.dtype,
            seed=settings.seed,
            resume=folder.resumed,
        )
    return path
