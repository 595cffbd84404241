"""Writes decoder_logits.npz with PyTorch: what the decoders must agree with.

Needs torch, transformers and gguf; nothing of tfshrink is imported. The
GGUF is read by transformers itself, with its own dequantization and its own
undoing of the rotary order. From the root of the repository:

    python -m tests.golden.make_decoder_logits --gguf=SmolLM2-135M.gguf
"""

import argparse
import pathlib
import tempfile

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer

from tests.golden import random_checkpoints

TEXT = (
    "The list was sorted in place, 12345 items in 0.25 s:\n"
    "    for key, value in sorted(d.items()):\n"
    "\tprint(f'{key}=\u00e9\u2603')  # it's done"
)
POSITIONS = (0, 20, -1)
COLUMNS = 64


def main():
    """Runs every case and writes the file beside this script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    flags = parser.parse_args()
    torch.manual_seed(0)
    values = {}
    for case in random_checkpoints.CASES:
        with tempfile.TemporaryDirectory() as folder:
            random_checkpoints.write_checkpoint(folder, case)
            values[case] = logits(folder, random_checkpoints.tokens(case))
    values |= smollm2(flags.gguf)
    path = pathlib.Path(__file__).with_name("decoder_logits.npz")
    np.savez_compressed(path, **values)
    print(f"{path.name}: {path.stat().st_size} bytes")


def logits(folder, tokens, **options):
    """Returns float32 logits (B, T, V) of the checkpoint in `folder`."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **options
    ).eval()
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


def smollm2(path):
    """Returns tokens, and logits at some positions and columns."""
    options = {"gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **options)
    tokens = np.array([tokenizer(TEXT)["input_ids"]])
    result = logits(path.parent, tokens, **options)[0]  # (T, V)
    columns = np.linspace(0, result.shape[1] - 1, COLUMNS).astype(int)
    return {
        "smollm2_text": np.array(TEXT),
        "smollm2_tokens": tokens,
        "smollm2_positions": np.array(POSITIONS),
        "smollm2_at_positions": result[list(POSITIONS)],
        "smollm2_columns": columns,
        "smollm2_at_columns": result[:, columns],
    }


if __name__ == "__main__":
    main()
