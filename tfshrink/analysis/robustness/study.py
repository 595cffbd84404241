"""How far attacks and noise take a model from its figures, plan by plan."""

import gc
import time

from tfshrink.analysis.robustness.settings import RobustnessSettings
from tfshrink.errors import UserError
from tfshrink.models.plain_decoder import check_plain_decoder

LEAST_WINDOWS = 2  # an interval is over windows
REFERENCE = "full precision"


def robustness_study(*, candidate, settings=None, examples=None):
    """Measures the plans of a model, clean and disturbed.

    Args:
        candidate: `Candidate`: a model or a run, and its plans.
        settings: `RobustnessSettings`.
        examples: `Examples`; `None` reads `settings.data`.

    Returns:
        A dict of plain values, `robustness` of `analysis_results.json`:
        `settings`; `text`; `embedding_rms` and `epsilon_absolute`, the scale
        of the attacks; `reference`, full precision, and `plans`, a list: each
        has `name`, `clean` and `conditions`; `random_precision`, or `None`;
        `seconds`. A figure is `{"value", "interval": [low, high]}`.

    Raises:
        UserError: A plan has codecs or exits, the text is too short, or
            random precision was asked for and there is one plan alone.
    """
    start = time.monotonic()
    settings = settings or RobustnessSettings()
    _check(candidate, settings)
    text = None
    if examples is None:
        examples, text = _read_text(candidate.source, settings)
    if len(examples) < LEAST_WINDOWS:
        raise UserError(
            f"`data` must hold at least {LEAST_WINDOWS} windows of "
            f"{settings.context} tokens. Received: {len(examples)}"
        )
    return {
        "settings": settings.to_json(),
        "text": text,
        "windows": len(examples),
        "tokens": examples.targets,
        **_measure(candidate, settings, examples),
        "seconds": round(time.monotonic() - start, 3),
    }


def _check(candidate, settings):
    """Raises a `UserError` where the study cannot be made."""
    check_plain_decoder(candidate.source.config, "model")
    if not candidate.plans:
        raise UserError("`plan` must name at least one plan. Received: none")
    names = [plan.name for plan in candidate.plans]
    if len(set(names)) < len(names):
        raise UserError(
            f"`plan` must name each plan once. Received: {', '.join(names)}"
        )
    for plan in candidate.plans:
        for part in ("kv", "exit"):
            if getattr(plan, part):
                raise UserError(
                    f"`plan` {plan.name} must have no {part}: robustness is "
                    "that of the weights' bits, in a plain forward pass. "
                    f"Received: {getattr(plan, part)}"
                )
    if settings.random_precision in ("batch", "row") and len(names) < 2:
        raise UserError(
            "`random_precision` must have at least two plans to draw from. "
            f"Received: {', '.join(names)}"
        )


def _read_text(source, settings):
    """The windows of the test text, and what it is."""
    from tfshrink.evaluation.judged_text import JudgedText
    from tfshrink.evaluation.protocol import Protocol

    protocol = Protocol(
        data=settings.data,
        limit=settings.limit,
        context=settings.context,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
    )
    protocol.check_model(source.config)
    text = JudgedText.load(protocol, source.tokenizer())
    found = {"identity": text.identity, "describe": text.describe(protocol)}
    return text.examples, found


def _measure(candidate, settings, examples):
    """The results of full precision, of the plans and of the defence."""
    from tfshrink.analysis.robustness.figures import Figures
    from tfshrink.analysis.robustness.robustness_meter import RobustnessMeter
    from tfshrink.data.progress_bar import progress_bar

    figures = Figures(
        seed=settings.seed,
        resamples=settings.resamples,
        confidence=settings.confidence,
    )
    total = len(examples) * passes(settings, len(candidate.plans))
    done = [0, 0]
    with progress_bar(f"{candidate.name} robustness", total) as show:

        def on_rows(rows, tokens):
            done[0] += rows
            done[1] += tokens
            show(*done)

        def meter_of(model, scale):
            return RobustnessMeter(model, examples, settings, scale, on_rows)

        scale, reference = _full_precision(candidate.source, settings, meter_of)
        gc.collect()  # compiled functions hold weights in circles
        meter = meter_of(candidate.load(settings.dtype), scale)
        found = _plans(candidate.plans, meter)
        defence = _defence(candidate.plans, meter, found, reference, figures)
    return {
        "embedding_rms": scale,
        "epsilon_absolute": [scale * x for x in settings.epsilon],
        "reference": {"name": REFERENCE, **reference.rows(figures)},
        "plans": [
            {
                "name": plan.name,
                "plan": plan.to_json(),
                **found[plan.name].rows(figures, reference),
            }
            for plan in candidate.plans
        ],
        "random_precision": defence,
    }


def _full_precision(source, settings, meter_of):
    """The RMS of the embedding, and `PlanScores` of the source as it is.

    A run may have moved norms, so its model is not asked.
    """
    from tfshrink.analysis.robustness.plan_scores import PlanScores
    from tfshrink.models.load import load_model
    from tfshrink.ops.noise import root_mean_square

    model = load_model(source, dtype=settings.dtype)
    scale = float(root_mean_square(model.embedding.table))
    scale *= source.config.embedding_scale
    meter = meter_of(model, scale)
    return scale, PlanScores.measured(meter, meter.forward.in_force())


def _plans(plans, meter):
    """A plan's name to its `PlanScores`; weights of one plan at a time."""
    from tfshrink.analysis.robustness.plan_scores import PlanScores

    return {
        plan.name: PlanScores.measured(meter, _in_force(meter, plan))
        for plan in plans
    }


def _defence(plans, meter, found, reference, figures):
    """The rows of random precision, or `None`."""
    from tfshrink.analysis.robustness.random_precision import RandomPrecision

    every = meter.settings.draws_every(len(plans))
    if every is None:
        return None
    # By name, so that the order of plans does not change what is drawn.
    plans = sorted(plans, key=lambda plan: plan.name)
    force = [_in_force(meter, plan) for plan in plans]
    offsets = {plan.name: found[plan.name].offsets for plan in plans}
    return RandomPrecision(meter, force, every).rows(
        offsets, figures, reference
    )


def _in_force(meter, plan):
    from tfshrink.structure import plan_tensor

    forward = meter.forward
    return forward.in_force(plan_tensor(forward.model.config, plan))


def passes(settings, plans):
    """How often a study sends its text through a model, gradients included.

    Args:
        settings: `RobustnessSettings`.
        plans: How many plans.
    """
    attacks = settings.attack_conditions
    steps = sum(settings.steps if x.kind == "pgd" else 1 for x in attacks)
    own = 1 + steps + len(attacks) + len(settings.noise_conditions)
    total = own * (plans + 1)
    if settings.draws_every(plans) is None:
        return total
    samples = settings.attacker_samples or plans
    return total + 1 + samples * steps + (plans + 1) * len(attacks)
