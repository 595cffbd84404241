"""The main job with groups of 32 inputs.

    bin/train --config=configs/spnet_g32.py

The same as `bin/train --style=spnet --group=32`; that command made the figures.

Time: 11 min 45 s from start to judged result, on 2 CPU cores (AMD EPYC, AVX-512
bfloat16).

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.28): 8 bits 1.002, 4 bits 1.035,
2 bits 1.665. Trained on topics of pydoc that the test does not hold and on text
of the model's own.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "smollm2-135m",
        "style": "spnet",
        "plan": "8;4;2",
        "group": 32,
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
