r"""The PyTorch peer of early exit: greedy text, and self-speculation.

`transformers` drafts behind a block with the model's own norm and head
(`assistant_early_exit`, LayerSkip's decoding) and confirms with the whole
model. Every row of the token file is a prompt, continued alone.

Run as

    python benchmarks/peers/torch_early_exit.py \
        --weights FOLDER --tokens tokens.npy --early_exit 12

Prints one line of JSON.
"""

import torch
import torch_common


@torch.inference_mode()
def main(flags):
    """Measures text and prints the figures."""
    torch_common.prepare(flags.threads)
    model = torch_common.load_model(flags.weights, flags.dtype)
    rows = torch_common.load_batches(
        flags.tokens,
        batch=1,
        context=flags.context,
        vocabulary=model.config.vocab_size,
    )[: flags.steps]
    options = {
        "max_new_tokens": flags.new_tokens,
        "do_sample": False,
        "use_cache": True,
    }
    plain = dict(options)
    if flags.early_exit:
        options["assistant_early_exit"] = flags.early_exit

    def text(row, options):
        mask = torch.ones_like(row)
        out = model.generate(row, attention_mask=mask, **options)
        return out[0, row.shape[1] :].tolist()

    text(rows[0], options)
    made, seconds = [], []
    for row in rows:
        own, took = torch_common.timed(text, row, options)
        made.append(own)
        seconds.append(took)
    same = total = 0
    for row, own in zip(rows, made, strict=True):
        full = text(row, plain) if flags.early_exit else own
        total += len(full)
        for a, b in zip(own, full, strict=False):
            if a != b:
                break
            same += 1
    count = sum(map(len, made))
    torch_common.report(
        flags,
        seconds,
        tokens_per_second=count / sum(seconds),
        same_text=same / total,
        layers=None,
        agreement=None,
        weights_read=None,
    )


def parse(arguments=None):
    """Reads the command line."""
    flags = torch_common.parser(__doc__, batch=1, context=64, steps=100)
    add, positive = flags.add_argument, torch_common.positive
    add("--early_exit", type=positive, help="Block behind which it drafts.")
    add("--new_tokens", type=positive, default=64, help="Tokens of each.")
    return flags.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
