"""The work behind `bin/train`: from a name to a run folder."""

import dataclasses
import json
import time

import numpy as np

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.evaluation.judged_text import JudgedText
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.results import command_line
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import RATED_LENGTH
from tfshrink.layers.exit_config import ExitConfig
from tfshrink.layers.precision_config import PrecisionConfig
from tfshrink.models.checkpoint import load_model_state
from tfshrink.models.checkpoint import save_model
from tfshrink.models.checkpoint import save_tensors
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.load import fit_missing
from tfshrink.models.load import load_model
from tfshrink.models.run import FINAL
from tfshrink.plan import parse_plans
from tfshrink.run_folder import RunFolder
from tfshrink.structure import plan_tensor
from tfshrink.training.devices import data_parallel
from tfshrink.training.devices import machines
from tfshrink.training.exit_fit import fit_exits
from tfshrink.training.exit_fit import own_text
from tfshrink.training.fit import fit
from tfshrink.training.held_out import held_out_examples
from tfshrink.training.schedules import cpt_schedule
from tfshrink.training.settings import TrainSettings
from tfshrink.training.start import check_same_start
from tfshrink.training.start import earlier_start
from tfshrink.training.start import START
from tfshrink.training.start import start_values
from tfshrink.training.text import training_examples

RANKS = {8: 16, 7: 16, 6: 16, 5: 32, 4: 32, 3: 64, 2: 64}


def train(
    settings,
    *,
    workdir=None,
    overwrite=False,
    resume=False,
    given=None,
    judged=True,
):
    """Trains one model for many precisions.

    Args:
        settings: `TrainSettings`.
        workdir: Run folder; `None` takes the next `runs/<style>-<n>`.
        overwrite: Replaces the run that is there.
        resume: Continues the run that is there, with its own settings.
        given: Settings that a resumed run must have, or nothing is done.
        judged: Whether the plans are judged at the end; a model that the run
            trains from scratch is in any case.

    Returns:
        `(results, folder)`: the dict of `results.json` or, where nothing was
        judged, `None`; the run folder.

    Raises:
        UserError: anything the settings got wrong, before the run folder is
            made where that can be known.
    """
    from tfshrink.models.sources import open_source

    start = time.monotonic()
    workdir = _own_workdir(workdir)
    if resume:
        folder = RunFolder(workdir, name=settings.style, resume=True)
        settings = stored_settings(folder)
        check_same(settings, given or {}, folder)
    # Machines that share a batch meet before TensorFlow computes anything.
    with data_parallel(settings.devices, settings.batch_size):
        pass
    source = open_source(settings.model)
    if source.scratch:
        from tfshrink.training.scratch import train_scratch

        folder = folder if resume else None
        return train_scratch(
            settings,
            source,
            workdir=workdir,
            overwrite=overwrite,
            folder=folder,
        )
    precision, plans = structure(settings, source.config)
    exits = exit_config(settings, source.config)
    tokenizer = source.tokenizer()
    protocol = judge_protocol(settings, source.config)
    held_out = None
    if settings.eval_every:
        held_out = held_out_examples(
            settings.eval_data, tokenizer, protocol.context
        )
    begun = _begun(settings, tokenizer, source.config)
    if not resume:
        # What the run needs later is tried before it begins.
        JudgedText.load(protocol, tokenizer)
        training_examples(settings, tokenizer, source.config)
        given_start = earlier_start(settings, source, precision, plans)
        folder = RunFolder(workdir, name=settings.style, overwrite=overwrite)
        if given_start:
            save_tensors(folder.checkpoints / START, *given_start)
        write_config(folder, settings, source, precision, plans, exits)
    text = training_examples(settings, tokenizer, source.config, folder)
    text, held = hold_out(text, settings.exit_rows if exits else 0)
    model = _loaded(settings, source, precision, exits)
    start_values(model, settings, text, folder, precision, plans)
    with data_parallel(settings.devices, settings.batch_size) as several:
        if several:
            # One device made the start; each gets a copy of a model of it.
            model = _loaded(settings, source, precision, exits)
            load_model_state(folder.checkpoints / START, model)
            check_same_start(folder, text)
        # An embedding may have bits that no block has.
        fit_missing(model, {bits for plan in plans for bits in plan.bits})
        codecs = None
        if plans[0].kv:
            spec = KVSpec.from_json(plans[0].kv)
            codecs = open_codecs(spec, source, settings.context)
        fit(model, settings, plans, text, folder, held_out, codecs)
    if exits:
        if several:
            model = _copied(model, _loaded(settings, source, precision, exits))
        bits = plan_tensor(model.config, plans[0])
        rows = (held if begun is None else begun).tokens
        own = own_text(model, rows, bits, codecs)
        report = fit_exits(model, settings, plans, held, codecs, own)
        folder.write("exits.json", report)
    weights = "weights" in settings.train.split(",")
    save_model(folder.checkpoints / FINAL, model, weights=weights)
    del model
    if not judged:
        return None, str(folder.path)
    # Of a run that was stopped, nobody knows how long it took before.
    seconds = None if resume else time.monotonic() - start
    return judge(protocol, folder, seconds), str(folder.path)


def write_config(folder, settings, source, precision, plans, exits):
    """Writes what a run folder says of its run.

    Args:
        folder: `RunFolder`.
        settings: `TrainSettings`.
        source: `Source` of the model.
        precision: Of `structure`.
        plans: Of `structure`.
        exits: Of `exit_config`.
    """
    folder.write("plan.json", plans[-1].to_json())
    # The config last: a folder that has one can be resumed.
    folder.write(
        "config.json",
        {
            "model": settings.model,
            "settings": settings.to_json(),
            "precision": precision.to_json(),
            "plans": [plan.to_json() for plan in plans],
            "exits": exits and exits.to_json(),
            "identity": source.identity,
            "command": command_line(),
        },
    )


def _loaded(settings, source, precision, exits):
    return load_model(
        source,
        precision=precision,
        dtype=settings.dtype,
        remat=settings.remat,
        fit=False,
        exits=exits,
    )


def _copied(trained, model):
    """The model with the values of one that several devices hold."""
    pairs = zip(trained.variables, model.variables, strict=True)
    for source, target in pairs:
        target.assign(np.asarray(source))
    return model


def _begun(settings, tokenizer, config):
    """Rows that the model is to continue for classifiers, or `None`."""
    if not settings.exit_data:
        return None
    own = dataclasses.replace(
        settings, data=settings.exit_data, context=max(2, settings.context // 2)
    )
    text = training_examples(own, tokenizer, config)
    if text is None:
        raise UserError(
            "`exit_data` must be text that is there: the model continues it. "
            f"Received: {settings.exit_data}"
        )
    return hold_out(text, settings.exit_rows)[1]


def hold_out(text, count):
    """Takes rows out of a run's text: `(text, held)`.

    Args:
        text: `Examples`.
        count: Rows at most; no more than an eighth of them all go.
    """
    count = min(count, max(1, len(text) // 8)) if count else 0
    chosen = np.zeros(len(text), bool)
    chosen[np.linspace(0, len(text) - 1, count).astype(int)] = True
    return text[np.flatnonzero(~chosen)], text[np.flatnonzero(chosen)]


def exit_config(settings, config):
    """The `ExitConfig` that the settings ask for, or `None`."""
    if not settings.exits:
        return None
    return ExitConfig.parse(
        settings.exits,
        config,
        blocks=settings.exit_blocks,
        rank=settings.exit_rank,
        candidates=settings.exit_candidates,
    )


def _own_workdir(workdir):
    """The run folder of this machine, where several share a run."""
    index, count = machines()
    if count > 1 and not workdir:
        raise UserError(
            "`workdir` must be named where several machines share a run. "
            "Received: none"
        )
    return f"{workdir}-machine-{index}" if index else workdir


def structure(settings, config):
    """The precision config and the plans that the settings ask for."""
    plans = parse_plans(
        settings.plan,
        layers=config.layers,
        tied=config.tied,
        group=settings.group,
        activations=settings.activations,
    )
    plans = _with_kv(settings, config, plans)
    blocks = {b for plan in plans for b in plan.bits[: 4 * plan.layers]}
    if settings.style == "cpt" or settings.bit_pattern:
        pattern = _pattern(settings)
        blocks |= set(pattern) or set(range(2, 9))
    if settings.style == "cpt":
        # What it refuses is better refused before the run begins.
        steps = settings.total_steps - settings.static_steps
        cpt_schedule(
            plans[0], total=steps, cycles=settings.cycles, pattern=pattern
        )
    widths = tuple(sorted((b for b in blocks if b <= 8), reverse=True))
    parts = set(settings.train.split(","))
    full = not widths and not parts & {"adapters", "latents", "scales"}
    if full:
        widths = (8,)  # what 8 bits need comes from the weights alone
    if not widths:
        raise UserError(
            "`plan` must name at least one bit-width below 16 to train. "
            f"Received: {settings.plan}"
        )
    _check_groups(settings, config, plans)
    removes = any(plan.removes for plan in plans)
    precision = PrecisionConfig(
        widths=widths,
        group=settings.group,
        ranks=() if full else _ranks(settings, widths),
        placement=settings.placement,
        bank=settings.bank,
        # Rounding is all that 8 bits need: their codes come from the weights,
        # unless they have to make up for something.
        bank_widths=tuple(b for b in widths if b < 8 or removes),
        activations=settings.activations,
    )
    if not precision.banked:
        precision = dataclasses.replace(precision, bank="none")
    return precision, plans


def _with_kv(settings, config, plans):
    """The plans, with the codec that the settings ask for."""
    if settings.kv:
        spec = KVSpec.parse(settings.kv)
        if spec.rate and not spec.length:
            length = min(RATED_LENGTH, config.context)
            spec = dataclasses.replace(spec, length=length)
        plans = [dataclasses.replace(plan, kv=spec.to_json()) for plan in plans]
    for plan in plans:
        if plan.kv != plans[0].kv:
            raise UserError(
                "`plan` must have one K/V codec for all plans of a run. "
                f"Received: {plans[0].name} with {_kv_name(plans[0])} and "
                f"{plan.name} with {_kv_name(plan)}"
            )
    if plans[0].kv:
        spec = KVSpec.from_json(plans[0].kv)
        check_spec(spec, config, settings.context)
        seen = spec.window + spec.block
        if spec.codec != "identity" and settings.context <= seen:
            raise UserError(
                f"`context` must be more than {seen} tokens for kv {spec}: up "
                "to window + block tokens nothing is coded. "
                f"Received: {settings.context}"
            )
        if spec.codec == "pca" and any(plan.removes for plan in plans):
            raise UserError(
                "`kv` must not be pca where heads may go: its bases are of "
                f"heads in their first order. Received: {spec}"
            )
    return plans


def _kv_name(plan):
    return KVSpec.from_json(plan.kv) if plan.kv else "none"


def _check_groups(settings, config, plans):
    """Raises a `UserError` for scales that do not fit model or plans."""
    inputs = {
        "attention_in": config.width,
        "attention_out": config.heads * config.head_dim,
        "mlp_out": config.hidden,
    }
    for name, length in inputs.items():
        if settings.group and length % settings.group:
            raise UserError(
                f"`group` must divide the {length} inputs of {name} of "
                f"{settings.model}; 0 is per channel. "
                f"Received: {settings.group}"
            )
    for plan in plans:
        for name in ("group", "activations"):
            own, asked = getattr(plan, name), getattr(settings, name)
            if own != asked:
                raise UserError(
                    f"`plan` {plan.name} has {name} {own}: train it with "
                    f"--{name}={own}. Received: {asked}"
                )


def _pattern(settings):
    try:
        return [int(b) for b in settings.bit_pattern.split(",") if b]
    except ValueError as error:
        raise UserError(
            "`bit_pattern` must be bit-widths such as 8,4,2,4,8. "
            f"Received: {settings.bit_pattern!r}"
        ) from error


def _ranks(settings, widths):
    if not settings.ranks:
        return tuple(RANKS[bits] for bits in widths)
    try:
        ranks = tuple(int(rank) for rank in settings.ranks.split(","))
    except ValueError as error:
        raise UserError(
            "`ranks` must be integers such as 16,32,64. "
            f"Received: {settings.ranks!r}"
        ) from error
    return () if ranks == (0,) else ranks


def check_same(settings, given, folder):
    """Raises a `UserError` where a kept run was given other settings.

    Args:
        settings: Its `TrainSettings`.
        given: Dict of settings that it must have.
        folder: Its `RunFolder`.
    """
    asked = dataclasses.replace(settings, **given).to_json()
    for name, own in settings.to_json().items():
        if json.dumps(asked[name]) != json.dumps(own):
            raise UserError(
                "`--resume` continues a run with its own settings, and in "
                f"{folder.path} {name} is {own!r}. Received: {asked[name]!r}"
            )


def stored_settings(folder):
    """Settings of the run in a folder."""
    values = folder.read("config.json")
    try:
        return TrainSettings.from_json(values["settings"])
    except DAMAGE as error:
        raise UserError(
            f"{folder.path}/config.json must be that of a run of bin/train. "
            f"Received: {error}"
        ) from error


def judge_protocol(settings, config):
    """How the trained plans are judged at the end."""
    return Protocol(
        data=settings.eval_data,
        context=min(Protocol.context, config.context),
        dtype=settings.dtype,
    )


def judge(protocol, folder, seconds):
    """Perplexity of the trained plans on text the run never saw."""
    from tfshrink.evaluation.evaluate import evaluate
    from tfshrink.files import write_json

    results = evaluate(
        workdir=[str(folder.path)],
        data=protocol.data,
        context=protocol.context,
        dtype=protocol.dtype,
    )
    results["training_seconds"] = seconds
    write_json(folder.path / "results.json", results)
    return results
