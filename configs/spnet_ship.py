"""What ships fast: 8 and 4 bits without adapters, trained for int8 inputs.

    bin/train --config=configs/spnet_ship.py

Kernels round inputs to int8, so training does. Peaks of inputs move into the
weights first (`smooth`). Adapters would cost a quarter of the decoding speed at
4 bits for .007 of the ratio; scales alone are trained, block by block and end
to end.

Time: 10 min 28 s from start to judged result (9 minutes of training), on 2 CPU
cores (AMD EPYC, AVX-512 bfloat16), with other work beside it.

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16, inputs rounded to int8), as a ratio to full precision (14.28): 8 bits
1.013, 4 bits in groups of 64 1.063. Without `smooth` 1.020 and 1.063. Trained
on topics of pydoc that the test does not hold and on text of the model's own.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "smollm2-135m",
        "style": "spnet",
        "plan": "8;4",
        "group": 64,
        "ranks": "0",
        "train": "scales",
        "activations": 8,
        "smooth": 0.5,
        "data": "pydoc+generated",
        "generated_rows": 96,
        "init": "blockwise",
        "init_rows": 64,
        "init_epochs": 2,
        "learning_rate": 1e-3,
        "total_steps": 40,
        "batch_size": 8,
        "context": 256,
    }
