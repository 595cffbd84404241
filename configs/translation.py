"""An encoder-decoder that translates English to Romanian and leaves early.

    bin/train --config=configs/translation.py

The original Transformer, 256 wide, 3 blocks of encoder and 6 of decoder,
post-norm, trained from random numbers on message catalogues, with exits behind
blocks 1 to 4 of the decoder.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "transformer",
        "style": "early_exit",
        "data": "gettext",
        "exits": "1,2,3,4",
        "vocabulary": 4000,
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "rate_schedule": "noam",
        "learning_rate": 2e-3,
        "total_steps": 1500,
        "batch_size": 8,
        "context": 256,
    }
