"""The text that calibrates a model which no run has trained."""

from tfshrink.data.documents import load_examples

ROWS, CONTEXT = 24, 256


def calibration_rows(source, data="pydoc"):
    """Token ids `(N, T)` of the `calibrate` split of a text.

    Args:
        source: `Source` of the model that is to read them.
        data: As for `load_documents`.
    """
    eos = source.config.eos
    examples = load_examples(
        data,
        source.tokenizer(),
        min(CONTEXT, source.config.context),
        separator=eos[0] if eos else 0,
        split="calibrate",
    )
    return examples.tokens[:ROWS]
