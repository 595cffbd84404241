"""One model, clean and under each condition, window by window."""

import numpy as np
from keras import ops

from tfshrink.analysis.robustness.attacks import Attacker
from tfshrink.analysis.robustness.disturbed_forward import DisturbedForward
from tfshrink.analysis.robustness.figures import WindowScores
from tfshrink.analysis.robustness.noises import noisy_inputs
from tfshrink.analysis.robustness.noises import noisy_plan
from tfshrink.analysis.robustness.window_batch import window_batches


class RobustnessMeter:
    """Measures the plans of a model under attacks and noise.

    Nothing is kept from one measurement to the next: what is drawn depends on
    the seed, the condition and the window alone.

    Args:
        model: Built `Decoder`.
        examples: `Examples`.
        settings: `RobustnessSettings`.
        scale: What an epsilon of 1 is: the RMS of the embedding.
        on_rows: Called with windows that went through the model and their
            tokens, for a progress bar.

    Attributes:
        forward: The `DisturbedForward` of the model.

    Example:
        >>> meter = RobustnessMeter(model, examples, settings, scale)
        >>> plan = meter.forward.in_force(bits)
        >>> offsets = meter.attack(Condition("pgd", 0.05), [plan])
        >>> meter.scores(plan, offsets=offsets).nats.sum()
    """

    def __init__(self, model, examples, settings, scale, on_rows=None):
        self.forward = DisturbedForward(model)
        self.examples = examples
        self.settings = settings
        self.scale = scale
        self.on_rows = on_rows or (lambda rows, tokens: None)
        self._attacker = Attacker(self.forward, settings, scale)

    def scores(self, plan, rows=None, *, offsets=None, condition=None):
        """Measures one plan.

        Args:
            plan: `InForce`.
            rows: Numbers of the windows; `None` is all.
            offsets: `(N, T, C)`, of the embedded tokens of all windows, or
                `None`.
            condition: `Condition` of a noise, or `None`.

        Returns:
            `WindowScores` of these windows.
        """
        if condition is not None:
            plan = noisy_plan(self.forward, plan, condition, self.settings.seed)
        parts = []
        for batch in self._batches(rows):
            given = {} if condition is None else self._noise(condition, batch)
            if offsets is not None:
                given["offset"] = batch.filled(offsets[batch.rows])
            found = self.forward.scores(plan, batch.tokens, **given)
            parts.append(WindowScores.of_batch(*found, batch))
            self._count(batch)
        return WindowScores(*map(np.concatenate, zip(*parts, strict=True)))

    def attack(self, condition, plans, samples=None):
        """Offsets that raise the mean loss of plans.

        Args:
            condition: `Condition` of an attack.
            plans: List of `InForce`, each as likely as the others.
            samples: Plans drawn for the gradient of a step; `None` takes each
                of them.

        Returns:
            float32 `(N, T, C)`, NumPy.
        """
        random = condition.random(self.settings.seed, "attacker")

        def plans_of(step):
            chosen = plans
            if samples is not None:
                drawn = random.integers(len(plans), size=samples)
                chosen = [plans[i] for i in drawn]
            for _ in chosen:
                self._count(batch)
            return chosen

        found = []
        for batch in self._batches():
            offset = self._attacker(condition, batch, plans_of)
            offset = ops.convert_to_numpy(offset)
            found.append(offset[: len(batch.rows)])
        return np.concatenate(found)

    def _noise(self, condition, batch):
        return noisy_inputs(
            condition,
            batch,
            seed=self.settings.seed,
            scale=self.scale,
            config=self.forward.model.config,
        )

    def _batches(self, rows=None):
        return window_batches(self.examples, self.settings.batch_size, rows)

    def _count(self, batch):
        self.on_rows(len(batch.rows), int(batch.mask[:, 1:].sum()))
