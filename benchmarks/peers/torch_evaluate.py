r"""The PyTorch peer of evaluation: perplexity of a `transformers` Llama model.

Every row of the token file is a text of its own: T - 1 predictions a row, no
overlap, the mean over all of them.

Run as

    python benchmarks/peers/torch_evaluate.py \
        --weights FOLDER --tokens tokens.npy
    python benchmarks/peers/torch_evaluate.py \
        --weights FOLDER --tokens tokens.npy --dtype bfloat16 --compile

Prints one line of JSON. The warm-up repeats the first batch; `--steps` batches
are measured and counted in the perplexity, fewer where the file is shorter.

Axes: B batch, T tokens a row, V vocabulary.
"""

import math

import torch
import torch_common
from torch.nn import functional


def negative_log_likelihood(model, tokens):
    """Summed over all predictions.

    Args:
        model: A `transformers` causal language model.
        tokens: Tensor of shape (B, T).

    Returns:
        A float, in nats.
    """
    logits = model(tokens, use_cache=False).logits  # (B, T, V)
    total = 0.0
    # A row at a time: the float32 copy stays small.
    for row, labels in zip(logits[:, :-1], tokens[:, 1:], strict=True):
        total += functional.cross_entropy(
            row.float(), labels, reduction="sum"
        ).item()
    return total


@torch.inference_mode()
def main(flags):
    """Measures evaluation and prints the figures."""
    torch_common.prepare(flags.threads)
    model = torch_common.load_model(flags.weights, flags.dtype)
    batches = torch_common.load_batches(
        flags.tokens,
        batch=flags.batch,
        context=flags.context,
        vocabulary=model.config.vocab_size,
    )[: flags.steps]
    if flags.compile:
        torch_common.compile_blocks(model)
    for _ in range(flags.warmup):
        negative_log_likelihood(model, batches[0])
    total, seconds = 0.0, []
    for batch in batches:
        value, took = torch_common.timed(negative_log_likelihood, model, batch)
        total += value
        seconds.append(took)
    predictions = len(batches) * flags.batch * (flags.context - 1)
    torch_common.report(
        flags,
        seconds,
        perplexity=math.exp(total / predictions),
        predictions=predictions,
        rows=len(batches) * flags.batch,
    )


def parse(arguments=None):
    """Reads the command line."""
    flags = torch_common.parser(__doc__, batch=4, context=512, steps=16)
    return flags.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
