"""Small sets of pairs in the formats of their sources, for the tests."""

import os


def write_wmt16(data_dir, splits, file_format="tfrecord"):
    """Prepares `{split: (English, Romanian) pairs}` as TFDS prepares WMT16."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    tfds.dataset_builders.store_as_tfds_dataset(
        data_dir=os.fspath(data_dir),
        file_format=file_format,
        disable_shuffling=True,
        name="wmt16_translate",
        config="ro-en",
        version="1.0.0",
        features=tfds.features.Translation(languages=("en", "ro")),
        split_datasets={
            split: [
                (number, {"en": english, "ro": romanian})
                for number, (english, romanian) in enumerate(pairs)
            ]
            for split, pairs in splits.items()
        },
    )
