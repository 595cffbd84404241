"""How far attacks and noise take a model from its figures, plan by plan."""

from tfshrink.analysis.robustness.settings import RobustnessSettings


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
    settings = settings or RobustnessSettings()
    raise NotImplementedError
