"""A run that is made once and then taken as it is."""

import pathlib

import numpy as np

from tfshrink.models.run import FINAL
from tfshrink.training.start import START
from tfshrink.training.text import GENERATED


def kept_run(settings, folder):
    """Trains into a folder; a run that was stopped goes on.

    Args:
        settings: `TrainSettings`.
        folder: Run folder. A finished run of these settings stays.

    Returns:
        Seconds of its steps, the first of which compile: as many as there are
        of the median in `metrics.jsonl`.

    Raises:
        UserError: a run with other settings is there, or anything else that
            `train` refuses.
    """
    from tfshrink.run_folder import RunFolder
    from tfshrink.training.train import check_same
    from tfshrink.training.train import stored_settings
    from tfshrink.training.train import train

    folder = pathlib.Path(folder)
    if (folder / "checkpoints" / FINAL).exists():
        kept = RunFolder(folder, resume=True)
        check_same(stored_settings(kept), settings.to_json(), kept)
    else:
        resume = is_begun(folder)
        train(
            settings,
            workdir=str(folder),
            resume=resume,
            overwrite=folder.exists() and not resume,
            given=settings.to_json(),
            judged=False,
        )
    lines = RunFolder(folder, resume=True).metrics()
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    return float(np.median(seconds) * len(seconds))


def is_begun(folder):
    """Whether a folder holds a run that can be resumed."""
    return (pathlib.Path(folder) / "config.json").exists()


def start_of(folder, data, checkpoint=START):
    """Settings by which a run has the start and generated text of another.

    Args:
        folder: Run folder of the other.
        data: Text of the run, as `--data` takes it.
        checkpoint: File of the other's to start from.

    Returns:
        Dict of `start` and `data`, for `TrainSettings` or as flags.
    """
    names = data.replace("+", ",").split(",")
    written = f"{folder}/{GENERATED}.jsonl"
    names = [written if name == GENERATED else name for name in names]
    start = f"{folder}/checkpoints/{checkpoint}"
    return {"start": start, "data": "+".join(names)}
