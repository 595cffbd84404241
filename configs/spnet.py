"""The main job: SmolLM2-135M at 8, 4 and 2 bits, groups of 64 inputs.

    bin/train --config=configs/spnet.py

The same as `bin/train --style=spnet`: these are its defaults. That command
made the figures with a peak learning rate of 1e-3 that rose over 3 % of the
steps, and one gain for the adapters of all widths; they are to be made again.

Time: 12 min 38 s from start to judged result (generation 1, initialisation 4.5,
40 steps 5.5, judging 1.6), on 2 CPU cores (AMD EPYC, AVX-512 bfloat16).

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.28): 8 bits 1.001, 4 bits 1.038,
2 bits 1.852. Trained on topics of pydoc that the test does not hold and on
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
