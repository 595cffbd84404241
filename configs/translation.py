"""An encoder-decoder that translates English to Romanian and leaves early.

    bin/train --config=configs/translation.py

The original Transformer, pre-norm, 256 wide, 3 blocks of encoder and 6 of
decoder, trained from random numbers on message catalogues, with exits behind
blocks 1 to 4 of the decoder.

Time: 25 minutes of training on 2 CPU cores with other work beside it.

Result, on the first 500 test pairs (chrF behind the slash): BLEU 34.6 / 49.3
greedy, 36.3 / 50.1 with a beam of 4. With `--exit=margin:.1:layers=1,2,3`, on
the first 200, 1.93 of 6 blocks a token and BLEU 21.85, where the full model
has 21.82.
"""


def get_config():
    """Returns the settings of the run."""
    return {
        "model": "transformer-pre",
        "style": "early_exit",
        "data": "gettext",
        "exits": "1,2,3,4",
        "vocabulary": 4000,
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "rate_schedule": "cosine",
        "learning_rate": 2e-3,
        "total_steps": 900,
        "batch_size": 8,
        "context": 256,
    }
