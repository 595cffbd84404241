"""What a training run prints for people."""

import dataclasses
import tempfile
import time

import numpy as np


def print_results(results, folder):
    """Prints the table of a run, where it lies and what to type next."""
    from tfshrink.evaluation.evaluate_report import print_report
    from tfshrink.evaluation.translation_report import print_translation

    if results.get("task") == "translation":
        print_translation(results)
        print(f'Next: bin/evaluate --workdir={folder} --exit="classifier:.9"')
        return
    print_report(results)
    seconds = results["training_seconds"]
    took = "" if seconds is None else f" in {seconds:.0f} s"
    print(f"Trained{took}. Run: {folder}")
    print(f'Next: bin/evaluate --workdir={folder} --plan="8;stripe-8-4;4"')


def print_dry_run(settings):
    """Runs one real step and prints shapes, bytes and expected seconds."""
    trial = Trial.run(settings)
    model, trainer = trial.model, trial.trainer
    held = sum(np.dtype(v.dtype).itemsize * _size(v) for v in model.variables)
    trained = sum(_size(v) for v in trainer.variables)
    print(f"Model {settings.model}: {trial.layers} blocks, {held / 1e6:.0f} MB")
    print(f"Trains {trained / 1e6:.1f} M parameters: {settings.train}")
    print("Plans: " + "; ".join(plan.name for plan in trial.plans))
    print(f"Text: {trial.text}")
    print(
        f"One step of {trial.tokens} tokens: "
        f"{trial.seconds:.1f} s; {settings.total_steps} steps: "
        f"{trial.seconds * settings.total_steps:.0f} s, beside initialisation"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One step of a run that is not made, and what it took.

    Args:
        model: The model, trained for two steps.
        trainer: `Trainer`.
        plans: List of `Plan`.
        layers: Blocks of the model.
        text: What the run's text is.
        tokens: Of a step.
        seconds: Of a step that was compiled before.
    """

    model: object
    trainer: object
    plans: list
    layers: int
    text: str
    tokens: int
    seconds: float

    @classmethod
    def run(cls, settings):
        """Makes a model, in a temporary folder, and runs its first step twice.

        Args:
            settings: `TrainSettings`.
        """
        from tfshrink.models.sources import open_source
        from tfshrink.training.devices import data_parallel
        from tfshrink.training.scratch import try_scratch

        with data_parallel(settings.devices, settings.batch_size):
            pass
        source = open_source(settings.model)
        prepare = try_scratch if source.scratch else _prepare
        with tempfile.TemporaryDirectory() as place:
            model, trainer, plans, batches, text = prepare(
                settings, source, place
            )
            layers = source.config.layers
        trainer.step(0, batches.at)  # compiles
        start = time.monotonic()
        trainer.step(0, batches.at)
        return cls(
            model=model,
            trainer=trainer,
            plans=plans,
            layers=layers,
            text=text,
            tokens=batches.at(0)["tokens"].size,
            seconds=time.monotonic() - start,
        )


def _prepare(settings, source, place):
    """What a dry run needs of a run that begins with a model; its text."""
    from tfshrink.data.batches import Batches
    from tfshrink.models.load import load_model
    from tfshrink.run_folder import RunFolder
    from tfshrink.training.fit import make_trainer
    from tfshrink.training.start import earlier_start
    from tfshrink.training.text import training_examples
    from tfshrink.training.train import exit_config
    from tfshrink.training.train import structure

    precision, plans = structure(settings, source.config)
    earlier_start(settings, source, precision, plans)
    data = settings.data.replace("+", ",").split(",")
    data = "+".join(name for name in data if name != "generated") or "pydoc"
    plain = dataclasses.replace(settings, data=data)
    folder = RunFolder(f"{place}/run")
    text = training_examples(plain, source.tokenizer(), source.config, folder)
    model = load_model(
        source,
        precision=precision,
        dtype=settings.dtype,
        remat=settings.remat,
        exits=exit_config(settings, source.config),
    )
    batches = Batches(text, batch_size=settings.batch_size, seed=settings.seed)
    words = (
        f"{len(text)} rows of {settings.context} tokens "
        "(generated rows not made)"
    )
    trainer = make_trainer(model, settings, plans)
    return model, trainer, plans, batches, words


def _size(variable):
    size = 1
    for length in variable.shape:
        size *= length
    return size
