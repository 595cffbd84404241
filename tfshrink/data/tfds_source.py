"""Text from TensorFlow Datasets, read without TensorFlow.

A set that was prepared before (`data_dir`, or TFDS_DATA_DIR) is read from its
files: array_record and parquet through `tfds.data_source`, TFRecord by our own
reader. Only preparing a new one needs the network and TensorFlow.
"""

import difflib
import os
import socket
import urllib.request

from tfshrink.data.partition import split_of
from tfshrink.data.tf_example import decode_example
from tfshrink.data.tfrecord import read_frames
from tfshrink.errors import damage_named
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

# Not in TFDS itself: a prepared folder of that name, or the hub through TFDS.
ALIASES = {
    "truthful_qa": "huggingface:truthful_qa/generation",
    "wikitext": "huggingface:wikitext/wikitext-2-raw-v1",
}
# The names under which sets keep their main text, the likeliest first.
TEXT_FIELDS = ("text", "document", "article", "content", "context")
OFFLINE = "Without a network, use pydoc or a local file."
# How an official training set is divided, by the hash of a record's text.
TRAIN_SHARES = {"train": 0.9, "calibrate": 0.05, "search": 0.05}
LONE_SHARES = {"train": 0.8, "calibrate": 0.05, "search": 0.05, "test": 0.1}


def read_tfds(name, split, fields=None, *, key=None, data_dir=None):
    """Yields records of a text set.

    Args:
        name: As TFDS writes it: `"lm1b"`, `"squad/v1.1"`.
        split: `"train"`, `"calibrate"` or `"search"` (parts of the official
            training set), `"test"` (else the validation set, else a part of
            the training set), or any official split. A lone split is divided.
        fields: Names of text features, nested ones with a slash. Default: the
            set's main text.
        key: The field whose hash decides the part; default: the first.
        data_dir: Where TFDS keeps its data. Default: as TFDS decides.

    Yields:
        `{field: list of strings}`.

    Raises:
        UserError: No such set or split, no text in it, no network.
    """
    builder = _prepared(name, data_dir)
    fields = fields or [_text_field(builder)]
    official, shares = official_split(split, builder.info.splits)
    key = key or fields[0]
    for record in _read_split(builder, official):
        texts = {field: _texts(record, field) for field in fields}
        if shares is None or split_of("".join(texts[key]), shares) == split:
            yield texts


def official_split(split, available):
    """Returns which official split to read, and how to divide it.

    Args:
        split: The split that is wanted.
        available: Names of the official splits.

    Returns:
        (official split, shares); shares are `None` where all of it is wanted.
    """
    held_out = [name for name in ("test", "validation") if name in available]
    shares = TRAIN_SHARES if held_out else LONE_SHARES
    if "train" in available and split in shares:
        return "train", shares
    lone = len(available) == 1 and "test" not in available
    if lone and split in LONE_SHARES:
        return next(iter(available)), LONE_SHARES
    if split == "test" and held_out:
        return held_out[0], None
    if split in available:
        return split, None
    raise unknown_choice("split", split, {*available, *shares})


def _prepared(name, data_dir):
    """Returns the builder of a set whose files are there."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = _find(tfds, name, data_dir)
    if builder.is_prepared():
        return builder
    _check_network(name)
    try:
        builder.download_and_prepare()
    except Exception as error:  # whatever a download of TFDS may raise
        raise UserError(
            f"`data`: {name} could not be prepared by TensorFlow Datasets "
            f"({_first_line(error)}). {OFFLINE}"
        ) from error
    return builder


def _check_network(name):
    """Raises at once where no host is known: TFDS would retry for minutes."""
    if urllib.request.getproxies():
        return  # the proxy resolves names
    try:
        socket.getaddrinfo("www.tensorflow.org", 443)
    except OSError as error:
        raise UserError(
            f"`data`: {name} must be downloaded, and there is no network "
            f"({error.strerror}). {OFFLINE}"
        ) from error


def _first_line(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _find(tfds, name, data_dir):
    bare = name.removeprefix("tfds:")
    try:
        return tfds.builder(bare, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        if bare in ALIASES:
            _check_network(name)
            return _find(tfds, ALIASES[bare], data_dir)
        # TFDS lists hundreds: name those that look alike.
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(bare, known, n=3)
        usual = ["pydoc", "squad", "lm1b", "wiki40b", *ALIASES, *near]
        raise unknown_choice(
            "data", name, {*usual, "another text set of TFDS", "a local file"}
        ) from error
    except Exception as error:  # a bad config or version, a missing package
        raise UserError(
            f"`data`: {name} is not known to TensorFlow Datasets "
            f"({_first_line(error)})."
        ) from error


def _text_field(builder):
    import tensorflow_datasets as tfds

    texts = [
        name
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Text)
    ]
    for name in (*TEXT_FIELDS, *texts):
        if name in texts:
            return name
    raise UserError(
        f"`data`: {builder.info.name} has no text feature; it has "
        f"{', '.join(sorted(builder.info.features))}."
    )


def _read_split(builder, split):
    import tensorflow_datasets as tfds

    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        yield from builder.as_data_source(split=split)
        return
    info = builder.info.splits[split]
    count = 0
    for path in info.filepaths:
        with open(os.fspath(path), "rb") as file:
            for data, _ in read_frames(file, check_data=False):
                yield decode_example(data)
                count += 1
    if count != info.num_examples:
        raise UserError(
            f"{os.path.dirname(info.filepaths[0])}: split {split} must hold "
            f"{info.num_examples} records. Found: {count} whole ones."
        )


def _texts(record, field):
    """Returns the strings of a field, flat (`a/b`) or nested (`a`, `b`)."""
    value = record.get(field)
    if value is None and "/" in field:
        outer, inner = field.split("/", 1)
        value = record.get(outer, {}).get(inner)
    if value is None:
        raise UserError(
            f"`data`: the records must have {field}. They have: "
            f"{', '.join(sorted(record))}"
        )
    if isinstance(value, (bytes, str)):
        value = [value]
    with damage_named(f"`data`: {field} of a record"):
        return [v.decode() if isinstance(v, bytes) else str(v) for v in value]
