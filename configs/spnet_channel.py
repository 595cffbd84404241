"""The main job with one scale per output channel: what native int2 holds.

    bin/train --config=configs/spnet_channel.py

The same as `bin/train --style=spnet --group=0`; that command made the figures.

Time: 12 min 10 s from start to judged result, on 2 CPU cores (AMD EPYC, AVX-512
bfloat16).

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.28): 8 bits 1.001, 4 bits 1.067,
2 bits 2.375. Trained on topics of pydoc that the test does not hold and on text
of the model's own.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "smollm2-135m",
        "style": "spnet",
        "plan": "8;4;2",
        "group": 0,
        "data": "pydoc+generated",
        "generated_rows": 96,
        "init": "blockwise",
        "init_rows": 64,
        "init_epochs": 2,
        "train": "adapters",
        "learning_rate": 1e-3,
        "total_steps": 40,
        "batch_size": 8,
        "context": 256,
    }
