"""What is judged: a model, or a finished run, and its plans."""

import collections
import dataclasses
import functools
import pathlib

from tfshrink.errors import UserError
from tfshrink.evaluation.cost import plan_cost
from tfshrink.evaluation.size import adapter_ranks
from tfshrink.evaluation.size import FULL
from tfshrink.exit_spec import ExitSpec
from tfshrink.plan import parse_plans


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model of one structure, not loaded yet, and plans for it.

    Args:
        name: Shown in tables.
        source: `Source` of the weights.
        plans: List of `Plan`.
        precision: `PrecisionConfig` of the model.
        load: Function of a compute type to the `Decoder`.
        model: What `--model` takes for the source.
        workdir: The run folder it comes from, or `None`.
        exits: `ExitConfig` of a model that tokens may leave early, or `None`.

    Raises:
        UserError: A plan asks for what a decoder cannot simulate, or its
            group size does not fit.
    """

    name: str
    source: object
    plans: list
    precision: object
    load: object
    model: str
    workdir: str | None = None
    exits: object = None

    def __post_init__(self):
        for plan in self.plans:
            _check_plan(plan, self.precision)
            _check_exit(plan, self.exits)
            self.cost(plan, 1)

    def cost(self, plan, context):
        """`plan_cost` with the adapters this model ships."""
        ranks = adapter_ranks(self.precision)
        return plan_cost(self.source.config, plan, context=context, ranks=ranks)


def model_candidates(name, plans, *, group=64, scales="mse", activations=0):
    """Candidates of a model without training, one a structure.

    Args:
        name: What `--model` takes.
        plans: What `--plan` takes, several split by `;`.
        group: Inputs per scale of the plans that name none.
        scales: How scales are fitted: `"rtn"` or `"mse"`.
        activations: Of the plans that name none.

    Returns:
        List of `Candidate`.
    """
    from tfshrink.layers.precision_config import PrecisionConfig
    from tfshrink.models.sources import open_source

    source = open_source(name)
    shape = {"layers": source.config.layers, "tied": source.config.tied}
    structures = collections.defaultdict(list)
    shape["activations"] = activations
    for plan in parse_plans(plans, group=group, **shape):
        precision = PrecisionConfig(
            group=plan.group,
            activations=plan.activations,
            widths=(),
            ranks=(),
        )
        structures[precision].append(plan)
    return [
        Candidate(
            name=name,
            source=source,
            plans=own,
            precision=precision,
            load=functools.partial(
                _load_rounded, source, precision, own, scales
            ),
            model=name,
        )
        for precision, own in structures.items()
    ]


def _load_rounded(source, precision, plans, scales, dtype):
    """A model with scales for the widths of its plans, and no others."""
    from tfshrink.data.calibration import calibration_rows
    from tfshrink.models.importance import order_by_importance
    from tfshrink.models.load import fit_scales
    from tfshrink.models.load import load_model

    model = load_model(source, precision=precision, dtype=dtype, fit=False)
    if any(plan.removes for plan in plans):
        order_by_importance(model, calibration_rows(source))
    used = {bits for plan in plans for bits in plan.bits}
    widths = sorted(bits for bits in used if bits < FULL)
    fit_scales(model, widths, method=scales)
    return model


def run_candidates(workdirs, plans=None, *, activations=None):
    """Candidates of finished runs, one a folder.

    Args:
        workdirs: Run folders of `bin/train`.
        plans: What `--plan` takes; `None` means the plans a run trained.
        activations: 8 or 0 judges them with inputs rounded to int8 or not;
            `None` as they were trained.

    Returns:
        List of `Candidate`.

    Raises:
        UserError: A folder holds no finished run.
    """
    return [_run_candidate(one, plans, activations) for one in workdirs]


def _run_candidate(workdir, plans, activations):
    from tfshrink.layers.exit_config import ExitConfig
    from tfshrink.models.run import open_run
    from tfshrink.models.run import read_run
    from tfshrink.models.sources import open_source

    config, precision, trained = read_run(workdir)
    source = open_source(config["model"], workdir)
    if activations is not None:
        precision = dataclasses.replace(precision, activations=activations)
        trained = [
            dataclasses.replace(plan, activations=activations)
            for plan in trained
        ]
    if plans:
        sorted_parts = any(plan.removes for plan in trained)
        trained = parse_plans(
            plans,
            layers=source.config.layers,
            tied=source.config.tied,
            group=precision.group,
            activations=precision.activations,
        )
        if not sorted_parts and any(plan.removes for plan in trained):
            raise UserError(
                "`--plan` must remove nothing from a run whose plans removed "
                "nothing: its heads and channels are not sorted. Train with "
                f"such a --plan. Received: {plans} and {workdir}"
            )
    used = sorted({bits for plan in trained for bits in plan.bits})
    exits = config.get("exits")
    return Candidate(
        name=pathlib.Path(workdir).name,
        source=source,
        plans=trained,
        precision=precision,
        load=lambda dtype: (
            open_run(
                workdir,
                dtype=dtype,
                widths=used,
                activations=precision.activations,
            ).model
        ),
        model=config["model"],
        workdir=str(workdir),
        exits=exits and ExitConfig.from_json(exits),
    )


def _check_exit(plan, exits):
    """Raises a `UserError` unless a plan's exits are some of the model's."""
    if plan.exit is None:
        return
    spec = ExitSpec.from_json(plan.exit)
    if exits is None:
        raise UserError(
            f"`plan` {plan.name} must not set exit for a model without exits: "
            f"train them with bin/train --style=early_exit. Received: {spec}"
        )
    spec.layers_of(exits.layers)


def _check_plan(plan, precision):
    for name in ("group", "activations"):
        own, built = getattr(plan, name), getattr(precision, name)
        if own != built:
            raise UserError(
                f"`plan` {plan.name} must have the {name} its model was "
                f"trained with, {built}. Received: {own}"
            )
