"""Text that a model writes itself, the data of data-free training.

Reference: Liu et al. 2023, "LLM-QAT: Data-Free Quantization Aware Training for
Large Language Models", 2305.17888, section 2.1.
"""

import contextlib
import hashlib
import os
import shutil

import numpy as np

from tfshrink.data.records import append_records
from tfshrink.data.records import format_of
from tfshrink.data.records import PARTIAL
from tfshrink.data.records import read_records
from tfshrink.data.records import repair_records
from tfshrink.errors import UserError
from tfshrink.lock import Lock


def generate_text(
    generate,
    prompts,
    output,
    *,
    count,
    batch_size,
    seed=0,
    settings=None,
    resume=False,
    decode=None,
    progress=None,
):
    """Writes `count` rows of generated text to a file.

    Rows come in batches, and all that a batch depends on is `seed` and its
    number, so a run that was killed and resumed writes the text of one that
    never was. Until the last row is there the file is `output + ".partial"`.

    Args:
        generate: Callable: (list of token lists, seed) to the list of new
            token lists.
        prompts: Callable: a row's number to its prompt, a token list.
        output: The file, `.jsonl` or `.tfrecord`.
        count: Rows in the finished file.
        batch_size: Rows made at once.
        seed: Integer.
        settings: Dict of what else the text depends on (model, data,
            temperature, ...), kept in every row and compared on resuming.
        resume: Whether to go on where an earlier run of the same settings
            stopped, or add rows to a finished one.
        decode: Callable: token list to text. Default: rows have no text.
        progress: Callable, given (rows, new tokens) at the start and
            after every batch.

    Returns:
        Dict with `rows`, `new_rows`, `new_tokens`.

    Raises:
        UserError: The file exists and `resume` is off, was made with other
            settings, cannot be written, or another process writes it.
    """
    format_of(output)
    for name, value in (("count", count), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"`{name}` must be at least 1. Received: {value}")
    settings = {**(settings or {}), "batch_size": batch_size, "seed": seed}
    partial = output + PARTIAL
    with _held(output, resume) as found:
        done = _whole_rows(found, output, settings)
        new_rows = new_tokens = 0
        if progress:
            progress(done, new_tokens)
        while done < count:
            # A batch that was cut in the middle is made again as a whole.
            step, skip = divmod(done, batch_size)
            rows, tokens = _make_batch(
                generate, prompts, step, settings, decode
            )
            rows, tokens = rows[skip:], tokens[skip:]
            rows, tokens = rows[: count - done], tokens[: count - done]
            append_records(partial, rows)
            done += len(rows)
            new_rows += len(rows)
            new_tokens += sum(tokens)
            if progress:
                progress(done, new_tokens)
        os.replace(partial, output)
    return {"rows": done, "new_rows": new_rows, "new_tokens": new_tokens}


def load_generated(path):
    """Returns the rows of a generated file.

    Args:
        path: `.jsonl` or `.tfrecord`.

    Returns:
        List of dicts: `index`, `tokens` (prompt and continuation), `text`,
        `prompt_length` (in tokens), `seed` (of its batch), `settings`.
    """
    rows = list(read_records(path))
    for number, row in enumerate(rows, 1):
        if not _is_generated(row):
            raise UserError(
                f"{path} row {number} must have `tokens`, a list of "
                "integers, and `prompt_length`, an integer. "
                f"Received: {str(row)[:80]}"
            )
    if not rows:
        raise UserError(f"{path} must hold generated text. It is empty.")
    return rows


def _is_generated(row):
    if not isinstance(row, dict):
        return False
    tokens, length = row.get("tokens"), row.get("prompt_length")
    if not isinstance(tokens, list) or type(length) is not int:
        return False
    return all(type(token) is int for token in tokens)


def start_prompts(vocabulary_size, *, seed, exclude=()):
    """Returns the prompts of data-free generation: one random token each.

    Args:
        vocabulary_size: Tokens are drawn below it, evenly.
        seed: Integer ≥ 0.
        exclude: Token ids never drawn (the special ones).

    Returns:
        Callable: a row's number to its prompt.
    """
    allowed = np.setdiff1d(np.arange(vocabulary_size), list(exclude))

    def prompt(index):
        return [int(np.random.default_rng((seed, index)).choice(allowed))]

    return prompt


def text_prompts(token_lists, *, seed, length):
    """Returns prompts that are random passages of a text.

    Args:
        token_lists: Token ids of each document.
        seed: Integer ≥ 0.
        length: Tokens of a prompt; a shorter document is a shorter prompt.

    Returns:
        Callable: a row's number to its prompt.
    """
    if length < 1:
        raise UserError(f"`length` must be at least 1. Received: {length}")
    lists = [list(map(int, one)) for one in token_lists if len(one)]
    if not lists:
        raise UserError("The text of the prompts is empty.")
    # Places where a prompt can start, so that longer documents give more.
    places = np.array([max(len(one) - length, 0) + 1 for one in lists])

    def prompt(index):
        generator = np.random.default_rng((seed, index))
        document = generator.choice(len(lists), p=places / places.sum())
        start = generator.integers(places[document])
        return lists[document][start : start + length]

    return prompt


def listed_prompts(token_lists, *, seed, length):
    """Returns prompts from a list, each once before any comes again.

    Args:
        token_lists: The prompts; a longer one loses its beginning, so that
            the question at the end of a SQuAD prompt stays.
        seed: Integer ≥ 0; decides the order.
        length: Tokens of a prompt at most.

    Returns:
        Callable: a row's number to its prompt.
    """
    if length < 1:
        raise UserError(f"`length` must be at least 1. Received: {length}")
    lists = [list(map(int, one))[-length:] for one in token_lists if len(one)]
    if not lists:
        raise UserError("The list of prompts is empty.")
    orders = {}

    def prompt(index):
        epoch, place = divmod(index, len(lists))
        if epoch not in orders:
            generator = np.random.default_rng((seed, epoch))
            orders[epoch] = generator.permutation(len(lists))
        return lists[orders[epoch][place]]

    return prompt


def batch_seed(seed, step):
    """Returns the seed of batch `step`: 31 bits of a hash."""
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _make_batch(generate, prompts, step, settings, decode):
    """Returns the rows of one batch and their numbers of new tokens."""
    size = settings["batch_size"]
    indices = range(step * size, (step + 1) * size)
    seed = batch_seed(settings["seed"], step)
    starts = [list(prompts(index)) for index in indices]
    continuations = generate(starts, seed)
    rows = []
    for index, start, new in zip(indices, starts, continuations, strict=True):
        tokens = [*start, *map(int, new)]
        row = {"index": index}
        if decode:
            row["text"] = decode(tokens)
        row["tokens"] = tokens
        row["prompt_length"] = len(start)
        row["seed"] = seed
        row["settings"] = settings
        rows.append(row)
    return rows, list(map(len, continuations))


@contextlib.contextmanager
def _held(output, resume):
    """Keeps other processes off the partial file, and leaves none empty.

    Yields:
        The file whose rows are to be gone on with, or `None`.
    """
    partial = output + PARTIAL
    found = output if os.path.exists(output) else None
    # One that has no rows is of a run that was killed before the first.
    if os.path.exists(partial) and os.path.getsize(partial):
        found = partial
    if found and not resume:
        raise UserError(
            f"`output`: {found} exists. Go on with --resume, or choose "
            "another file."
        )
    folder = os.path.dirname(output)
    if folder:
        os.makedirs(folder, exist_ok=True)
    append_records(partial, [])  # there is something to hold
    lock = Lock(partial, "--output")
    try:
        yield found
    finally:
        if os.path.exists(partial) and not os.path.getsize(partial):
            os.unlink(partial)
        del lock


def _whole_rows(found, output, settings):
    """Makes the partial file ready and returns how many rows it has."""
    if found is None:
        return 0
    read = read_records if found == output else repair_records
    rows = list(read(found))
    for row in rows:
        _check_settings(row, settings, found)
    if found == output:
        shutil.copyfile(output, output + PARTIAL)
    return len(rows)


def _check_settings(row, settings, path):
    earlier = row.get("settings") if isinstance(row, dict) else None
    if not isinstance(earlier, dict):
        raise UserError(f"{path} must be a file of gen_data to be resumed.")
    for name in sorted({*earlier, *settings}):
        if earlier.get(name) != settings.get(name):
            raise UserError(
                f"`{name}` must be {earlier.get(name)!r} to resume {path}. "
                f"Received: {settings.get(name)!r}"
            )
