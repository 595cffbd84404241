"""What is compressed, and the prompts that its plans are judged on."""

import dataclasses

from tfshrink.errors import UserError
from tfshrink.models.plain_decoder import check_plain_decoder

ROUNDED = (8, 6, 5, 4)  # widths of a model that no run has trained
SUBSET = 50  # prompts of each real data set


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, or a finished run, and how its plans are judged.

    Args:
        model: What `--model` takes; not used with `workdir`.
        workdir: Run folder of `bin/train`, or `None`.
        group: Inputs per scale of a `model` at 4 bits and below.
        scales: How the scales of a `model` are fitted.
        activations: 8 simulates int8 inputs, 0 does not; `None` is as the run
            was trained, or float.
        formula: As `Requirement` takes it.
        relax_thresholds: The same.
        data: Text of the prompts.
        use_real_datasets: LAMBADA, WikiText-2 and TruthfulQA instead.
        dataset_subset_size: Prompts of each of these.
        prompts: Prompts, at most.
        tokens: Tokens of a prompt, at most.
        dtype: Compute type.
    """

    model: str = "smollm2-135m"
    workdir: str | None = None
    group: int = 64
    scales: str = "mse"
    activations: int | None = None
    formula: str | None = None
    relax_thresholds: float = 0.0
    data: str = "pydoc"
    use_real_datasets: bool = False
    dataset_subset_size: int = SUBSET
    prompts: int = 16
    tokens: int = 64
    dtype: str = "float32"

    def trained_widths(self):
        """Bit-widths of the blocks and of the rest that a run was trained for.

        Returns:
            `(inside, outside)`, most first; `ROUNDED` of a model.
        """
        from tfshrink.evaluation.size import FULL
        from tfshrink.models.run import read_run

        if not self.workdir:
            return ROUNDED, (8,)
        _, precision, plans = read_run(self.workdir)
        outside = {
            bits for plan in plans for bits in plan.bits[4 * plan.layers :]
        }
        if 4 in precision.banked:  # of the embedding, too
            outside.add(4)
        outside = {bits for bits in outside if bits < FULL} or {8}
        return precision.widths, tuple(sorted(outside, reverse=True))

    def candidate(self, widths):
        """The `Candidate`, with scales for some bit-widths.

        Args:
            widths: Bit-widths that plans may have, or text of plans.

        Raises:
            UserError: The model is no decoder of its own.
        """
        found = self._candidate(widths)
        check_plain_decoder(
            found.source.config, "workdir" if self.workdir else "model"
        )
        return found

    def _candidate(self, widths):
        from tfshrink.evaluation.candidate import model_candidates
        from tfshrink.evaluation.candidate import run_candidates

        plans = widths
        if not isinstance(widths, str):
            plans = ";".join(map(str, widths))
        if self.workdir:
            return run_candidates(
                [self.workdir], plans, activations=self.activations
            )[0]
        found = model_candidates(
            self.model,
            plans,
            group=self.group,
            scales=self.scales,
            activations=self.activations or 0,
        )
        if len(found) > 1:
            raise UserError(
                "`plan` must be of one group size and one kind of activations "
                f"to be judged together. Received: {plans}"
            )
        return found[0]

    def requirement(self):
        """The `Requirement`."""
        from tfshrink.stl.requirement import Requirement

        return Requirement(self.formula, relax=self.relax_thresholds)

    def load_prompts(self, tokenizer, split, count=None):
        """The `Prompts` of a split.

        Args:
            tokenizer: Of the model.
            split: As for `load_prompts`.
            count: Prompts, at most; default: `prompts`.
        """
        from tfshrink.data.prompts import load_prompts
        from tfshrink.data.prompts import REAL

        data, count = self.data, self.prompts if count is None else count
        if self.use_real_datasets:
            data = "+".join(REAL)
            count = len(REAL) * self.dataset_subset_size
        return load_prompts(
            data, tokenizer, split=split, count=count, length=self.tokens
        )

    def evaluator(self, candidate, *, split="search", **options):
        """The `Evaluator` of a candidate on a split.

        Args:
            candidate: `Candidate`.
            split: As in `load_prompts`.
            **options: `more` and `kv_length` of `Evaluator`.
        """
        from tfshrink.search.evaluator import Evaluator

        tokenizer = candidate.source.tokenizer()
        return Evaluator(
            candidate,
            self.load_prompts(tokenizer, split),
            self.requirement(),
            dtype=self.dtype,
            scales=None if self.workdir else self.scales,
            **options,
        )
