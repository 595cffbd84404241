"""The best recipe found with one scale per channel: what native int2 holds.

    bin/train --config=configs/spnet_best_channel.py

Beside `spnet_channel.py`: twice the calibration rows, four times the text of
the model's own, 150 steps in place of 40 at a higher rate. `--resume` goes on
where a stopped run was.
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
