"""The main job: SmolLM2-135M at 8, 4 and 2 bits, groups of 64 inputs.

    bin/train --config=configs/spnet.py

The same as `bin/train --style=spnet`: these are its defaults. The figures were
made with these settings typed as flags, before this file was written.

Time: 17.7 minutes of training (generation 3, initialisation 5, 40 steps 9)
and 2 minutes of judging, on 2 CPU cores (AMD EPYC, AVX-512 bfloat16) that
other work shared.

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.27): 8 bits 1.001, 4 bits 1.045,
2 bits 3.05. Trained on topics of pydoc that the test does not hold and on
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
        "total_steps": 40,
        "batch_size": 8,
        "context": 256,
    }
