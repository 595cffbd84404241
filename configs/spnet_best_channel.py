"""The best recipe found with one scale per channel: what native int2 holds.

    bin/train --config=configs/spnet_best_channel.py

Beside `spnet_channel.py`: twice the calibration rows, four times the text of
the model's own, 150 steps in place of 40 at a higher rate. `--resume` goes on
where a stopped run was.

Time: about 45 min, added up from its parts (generation 3, initialisation 16,
150 steps 25, judging 1), on 2 CPU cores (AMD EPYC, AVX-512 bfloat16). The run
that made the figures was stopped at step 67 and resumed from its checkpoint,
with tests and other jobs beside it.

Result, perplexity on all 35,315 pydoc test tokens (context 512, stride 511,
bfloat16), as a ratio to full precision (14.28): 8 bits 1.000, 4 bits 1.055,
2 bits 2.290. Trained on topics of pydoc that the test does not hold and on text
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
        "generated_rows": 384,
        "init": "blockwise",
        "init_rows": 128,
        "init_epochs": 2,
        "train": "adapters",
        "learning_rate": 1.5e-3,
        "total_steps": 150,
        "batch_size": 8,
        "context": 256,
    }
