"""TruthfulQA: questions with their best answers."""

import csv
import os

from tfshrink.data.tfds_source import read_tfds
from tfshrink.errors import UserError

FIELDS = ("question", "best_answer")
COLUMNS = ("Question", "Best Answer")  # of the official file


def is_questions(name):
    """Whether a text is TruthfulQA: of TFDS, or its official CSV file."""
    bare = name.removeprefix("tfds:").split("/")[0]
    return bare == "truthful_qa" or name.endswith(".csv")


def load_questions(name="truthful_qa", split="test", *, data_dir=None):
    """Reads questions and best answers.

    Args:
        name: `truthful_qa`, through TensorFlow Datasets, or the official CSV
            file, which is read whole for any split.
        split: As for `load_documents`; they never share a question.
        data_dir: Where TensorFlow Datasets keeps its data.

    Returns:
        List of `(question, answer)`.

    Raises:
        UserError: The set is not there, damaged or empty.
    """
    if name.endswith(".csv"):
        pairs = _read_csv(os.path.expanduser(name))
    else:
        bare = name.removeprefix("tfds:")
        records = read_tfds(bare, split, FIELDS, data_dir=data_dir)
        pairs = [
            tuple(record[field][0] for field in FIELDS) for record in records
        ]
    if not pairs:
        raise UserError(f"`data`: {name} must hold questions. It is empty.")
    return pairs


def _read_csv(path):
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = set(COLUMNS) - set(rows.fieldnames or ())
            if missing:
                raise UserError(
                    f"{path} must have the columns {', '.join(COLUMNS)}. "
                    f"Missing: {', '.join(sorted(missing))}"
                )
            return [tuple(row[name] or "" for name in COLUMNS) for row in rows]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} must be a UTF-8 CSV file: {error}.") from error
