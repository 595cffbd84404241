"""The main job: SmolLM2-135M at 8, 4 and 2 bits, groups of 64 inputs.

    bin/train --config=configs/spnet.py

The same as `bin/train --style=spnet`: these are its defaults, and that command
made the figures.

Time: 11 min 52 s from start to judged result (generation 0.8, initialisation 4,
40 steps 5.4, judging 1.5), on 2 CPU cores (AMD EPYC, AVX-512 bfloat16).

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.28): 8 bits 1.002, 4 bits 1.045,
2 bits 1.821. Trained on topics of pydoc that the test does not hold and on
text of the model's own.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "smollm2-135m",
        "style": "spnet",
        "plan": "8;4;2",
        "group": 64,
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
