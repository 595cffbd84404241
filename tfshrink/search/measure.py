"""sensitivity's work: from a model or a run to a file and a heat map."""

import pathlib
import time

from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import UserError
from tfshrink.evaluation.results import origin
from tfshrink.search.fisher import Fisher
from tfshrink.search.sensitivity import FILE
from tfshrink.search.settings import SearchSettings
from tfshrink.search.sweep import changes
from tfshrink.search.sweep import sweep

PATTERN = "2of4"
MAP = ".png"


def sensitivity(
    subject,
    *,
    bits="",
    pruning="",
    output_file=None,
    overwrite=False,
    estimate=True,
    dry_run=False,
):
    """Measures how much each layer group minds fewer bits or weights.

    Args:
        subject: `Subject`.
        bits: Bit-widths, comma-separated; empty takes those of the subject.
        pruning: Levels, comma-separated; `2of4` is that pattern.
        output_file: Where the result goes; `None` is `sensitivity.json` in the
            run folder, or here. A heat map lies beside it (PNG).
        overwrite: Replaces a file that is there.
        estimate: Whether the Fisher information is measured beside it, on the
            calibrate split.
        dry_run: Measures one change, writes nothing.

    Returns:
        `(Sensitivity, path)`.

    Raises:
        UserError: Anything the arguments got wrong.
    """
    from tfshrink.report.sensitivity_map import draw_map

    widths = _widths(bits) or subject.trained_widths()[0]
    levels = [_level(part) for part in pruning.split(",") if part.strip()]
    path = pathlib.Path(output_file or _default_path(subject))
    if path.suffix == MAP:
        raise UserError(
            f"`output_file` must not end in {MAP}, as the heat map beside it "
            f"does. Received: {path}"
        )
    if path.exists() and not overwrite and not dry_run:
        raise UserError(
            "`output_file` must be new, or come with --overwrite. "
            f"Received: {path}, which is there"
        )
    candidate = subject.candidate(widths)
    evaluator = subject.evaluator(candidate, more=("kl",))
    names = evaluator.uniform(16).names
    total = len(list(changes(names, widths, levels)))
    if dry_run:
        return _predicted(evaluator, total), path
    fisher = None
    if estimate:
        text = subject.load_prompts(candidate.source.tokenizer(), "calibrate")
        fisher = Fisher(evaluator.model, text, passes=1)
    tokens = int(evaluator.prompts.lengths.sum())
    with progress_bar("sensitivity", total) as show:
        found = sweep(
            evaluator,
            widths,
            levels,
            fisher=fisher,
            progress=lambda done: show(done, done * tokens),
        )
    found.info.update(origin())
    found.save(path)
    draw_map(found, path.with_suffix(MAP))
    return found, path


def _predicted(evaluator, total):
    """Seconds that a sweep of `total` changes will take, about."""
    evaluator.judge.measure(None)  # compiles
    start = time.monotonic()
    evaluator.judge.measure(None)
    # From a block in the middle on, on average; the head every time.
    return 0.6 * total * (time.monotonic() - start)


def _default_path(subject):
    return pathlib.Path(subject.workdir or ".") / FILE


def _widths(text):
    return SearchSettings(bits=text).widths("bits")


def _level(text):
    if text.strip() == PATTERN:
        return 0.5, "2:4"
    try:
        level = float(text)
    except ValueError:
        level = -1.0
    if not 0.0 < level < 1.0:
        raise UserError(
            f"`pruning` must hold levels in (0, 1), or {PATTERN}. "
            f"Received: {text!r}"
        )
    return level, "unstructured"
