"""What `bin/train` does with its flags."""

import runpy

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.training.settings import TrainSettings


def run(
    typed,
    *,
    config=None,
    workdir=None,
    overwrite=False,
    resume=False,
    dry_run=False,
    json=None,
):
    """Trains with the settings of a config file and of typed flags.

    Args:
        typed: Settings that were typed; they win over the file's.
        config: Python file with `get_config()`, or `None`.
        workdir: Run folder, as in `train`.
        overwrite: Replaces the run that is there.
        resume: Continues the run that is there.
        dry_run: Runs one step in a temporary folder and predicts the time.
        json: File that takes the results.
    """
    from tfshrink.files import write_json
    from tfshrink.training.report import print_dry_run
    from tfshrink.training.report import print_results
    from tfshrink.training.train import train

    values = {**(load_config(config) if config else {}), **typed}
    settings = TrainSettings(**values)
    if dry_run:
        return print_dry_run(settings)
    results, folder = train(
        settings,
        workdir=workdir,
        overwrite=overwrite,
        resume=resume,
        given=values,
    )
    if json:
        write_json(json, results)
    print_results(results, folder)
    return None


def load_config(path):
    """Settings of a config file.

    Raises:
        UserError: the file is missing, fails, or names an unknown setting.
    """
    try:
        values = dict(runpy.run_path(path)["get_config"]())
    except Exception as error:  # a config is a program: anything may fail
        raise UserError(
            "`--config` must be a Python file with get_config(). "
            f"Received: {path} ({type(error).__name__}: {error})"
        ) from error
    known = TrainSettings.__dataclass_fields__
    for name in values:
        if name not in known:
            raise unknown_choice(f"{path}: setting", name, known)
    return values


def print_choices():
    """Prints what the flags of `bin/train` can be set to."""
    from tfshrink.data.documents import SOURCES
    from tfshrink.data.translation import SOURCES as PAIRS
    from tfshrink.models.sources.scratch import CONFIGS
    from tfshrink.training.settings import INITS
    from tfshrink.training.settings import PARTS
    from tfshrink.training.settings import STYLES

    print("--style   " + ", ".join(sorted(STYLES)))
    print("--init    " + ", ".join(INITS))
    print("--train   " + ", ".join(sorted(PARTS)))
    print("--data    generated: what the model writes itself")
    for name, meaning in SOURCES.items():
        print(f"          {name}: {meaning}")
    print("--model   from scratch: " + ", ".join(sorted(CONFIGS)))
    translate = (name for name, own in CONFIGS.items() if own.encoder_layers)
    print("--data    of " + ", ".join(sorted(translate)) + ":")
    for name, meaning in PAIRS.items():
        print(f"          {name}: {meaning}")
