"""The work of commands about exits: policies side by side, and promises."""

import dataclasses
import time

import numpy as np

from tfshrink.data.progress_bar import progress_bar
from tfshrink.data.prompts import load_prompts
from tfshrink.data.prompts import Prompts
from tfshrink.errors import UserError
from tfshrink.evaluation.candidate import run_candidates
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.results import command_line
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.certify import check_count
from tfshrink.exits.certify import learn_then_test
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import summary
from tfshrink.exits.followed import followed
from tfshrink.exits.followed import generator_of
from tfshrink.exits.followed import needs_following
from tfshrink.exits.trace import trace_generated
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import RATED_LENGTH
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.plan import Plan
from tfshrink.structure import plan_tensor

TIMED = 8  # prompts whose generation is timed
REPEATS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExitSubject:
    """A run with exits, and the text its policies are judged on.

    Args:
        workdir: Run folder of `bin/train --style=early_exit`.
        plan: What `--plan` takes, one plan; `None` is the run's first.
        data: Text of the prompts.
        prompts: Their number, at most.
        tokens: Tokens of a prompt, at most.
        new: Tokens that the model continues each with.
        dtype: Compute type.
    """

    workdir: str
    plan: str | None = None
    data: str = "pydoc"
    prompts: int = 100
    tokens: int = 64
    new: int = 64
    dtype: str = "float32"

    def open(self):
        """Loads the model: `OpenExits`.

        Raises:
            UserError: The run has no exits, or the flags are wrong.
        """
        (candidate,) = run_candidates([self.workdir], self.plan)
        if self.plan and len(candidate.plans) != 1:
            raise UserError(
                f"`--plan` must be one plan here. Received: {self.plan}"
            )
        model = candidate.load(self.dtype)
        if model.exits is None:
            raise UserError(
                "`--workdir` must be a run with exits, of bin/train "
                f"--style=early_exit. Received: {self.workdir}"
            )
        plan = candidate.plans[0]
        bits = plan_tensor(candidate.source.config, plan)
        kind = OpenExits
        if candidate.source.config.encoder_layers:
            from tfshrink.exits.translated import OpenTranslation as kind
        codecs = self._codecs(candidate.source, plan)
        return kind(self, candidate.source, model, plan, bits, codecs)

    def _codecs(self, source, plan):
        """The `BlockCodecs` of a plan's K/V cache, or `None`."""
        if plan.kv is None:
            return None
        check_plain_decoder(source.config, "workdir")
        spec = KVSpec.from_json(plan.kv)
        length = min(RATED_LENGTH, source.config.context)
        length = max(length, self.tokens + self.new)
        check_spec(spec, source.config, length)
        return open_codecs(spec, source, length)


@dataclasses.dataclass(frozen=True)
class OpenExits:
    """A loaded `ExitSubject`; `codecs` are those of its plan's K/V cache."""

    subject: ExitSubject
    source: object
    model: object
    plan: object
    bits: object
    codecs: object = None

    def prompts(self, split, count=None):
        """`Prompts` of a split."""
        subject = self.subject
        return load_prompts(
            subject.data,
            self.source.tokenizer(),
            split=split,
            count=count or subject.prompts,
            length=subject.tokens,
        )

    def given(self, tokens):
        """`Prompts` of token rows `(N, T)` that nothing was cut off."""
        tokens = np.asarray(tokens, "int32")
        lengths = np.full(len(tokens), tokens.shape[1], "int32")
        names = ("given",) * len(tokens)
        return Prompts(tokens, lengths, np.full_like(tokens, -1), names, "")

    def quality(self, prompts, spec):
        """What a policy leaves of the text's quality: a dict, of text empty.

        Args:
            prompts: `Prompts`.
            spec: `ExitSpec`, or `None` for all blocks.
        """
        return {}

    def trace(self, prompts):
        """`(trace, rows)` of `trace_generated`: what the full model makes.

        Raises:
            UserError: It makes nothing of any.
        """
        with progress_bar("Tracing", len(prompts)) as progress:
            trace, rows = trace_generated(
                self.model,
                prompts,
                self.subject.new,
                bits=self.bits,
                codecs=self.codecs,
                progress=progress,
            )
        if not trace.made.any():
            raise UserError(
                "`prompts` must be some that the model continues: it stops at "
                f"once behind all of them. Received: {len(prompts)}"
            )
        return trace, rows

    def results(self, **values):
        """What each command reports of its model, and more."""
        subject = self.subject
        return {
            "model": self.source.identity,
            "run": subject.workdir,
            "plan": self.plan.to_json(),
            "data": subject.data,
            "new_tokens": subject.new,
            "dtype": subject.dtype,
            **values,
            "environment": environment(),
            "command": command_line(),
        }


def has_policy(plan):
    """Whether what `--plan` takes is one file, of a plan with exits."""
    text = str(plan or "").strip()
    alone = text.endswith(".json") and ";" not in text
    return alone and Plan.load(text).exit is not None


def evaluate_exits(subject, exits, *, speed=True):
    """Sets exit policies side by side.

    Args:
        subject: `ExitSubject`.
        exits: Policies as `ExitSpec.parse` takes them, split by `;`; `None` is
            that of the plan.
        speed: Whether to time generation, with and without.

    Returns:
        Dict: `exits`, a row of `choice.summary` for each, with
        `tokens_per_second`, `speedup` and `same_text` (share of the tokens
        made that are the full model's, until the first that is not) where it
        was timed; `full`, the full model's speed.
    """
    given = exits and [ExitSpec.parse(text) for text in exits.split(";")]
    own = subject.open()
    specs = given or [ExitSpec.from_json(own.plan.exit)]
    for spec in specs:
        spec.layers_of(own.model.exits.layers)
    prompts = own.prompts("test")
    trace, written = own.trace(prompts)
    cost = ExitCost.of(own.model)
    rows = [
        {
            **summary(
                trace,
                spec,
                cost,
                subject.new,
                followed(own, prompts, written, trace, spec, subject.new)
                if needs_following(spec)
                else None,
            ),
            **own.quality(prompts, spec),
        }
        for spec in specs
    ]
    full = own.quality(prompts, None)
    if speed:
        full |= timed(own, prompts[:TIMED], None, subject.new)
        for row, spec in zip(rows, specs, strict=True):
            found = timed(own, prompts[:TIMED], spec, subject.new)
            rate = found["tokens_per_second"]
            row["tokens_per_second"] = rate
            row["speedup"] = rate / full["tokens_per_second"]
            row["same_text"] = same_text(found.pop("rows"), full["rows"])
        full.pop("rows")
    return own.results(exits=rows, full=full, prompts=len(prompts))


def timed(own, prompts, spec, new):
    """Generates greedily, one prompt at a time, and takes the time.

    Args:
        own: `OpenExits`.
        prompts: `Prompts`.
        spec: `ExitSpec`, or `None` for all blocks.
        new: Tokens to make.

    Returns:
        Dict: `tokens_per_second` (the best of `REPEATS` rounds over all
        prompts, prefill included), `layers` (mean), `rows` (the tokens).
    """
    generator = generator_of(own, spec, new)
    lists = [
        row[:length].tolist()
        for row, length in zip(prompts.tokens, prompts.lengths, strict=True)
    ]
    options = {"max_new_tokens": new, "temperature": 0.0}
    sources = [prompts[i : i + 1].sources for i in range(len(lists))]
    generator.generate([lists[0]], sources=sources[0], **options)  # compiles
    seconds, rows, depths = [], [], []
    for _ in range(REPEATS):
        rows, depths = [], []
        start = time.perf_counter()
        for row, source in zip(lists, sources, strict=True):
            rows += generator.generate([row], sources=source, **options)
            depths += generator.depths[0]
        seconds.append(time.perf_counter() - start)
    made = sum(map(len, rows))
    return {
        "tokens_per_second": made / min(seconds),
        "layers": float(np.mean(depths)),
        "rows": rows,
    }


def same_text(rows, reference):
    """Share of tokens before the first one that differs.

    Args:
        rows: List of token lists.
        reference: The same.
    """
    same = 0
    for row, other in zip(rows, reference, strict=True):
        for a, b in zip(row, other, strict=False):
            if a != b:
                break
            same += 1
    return same / max(1, sum(map(len, reference)))


def certify_exits(subject, policy, *, agreement, confidence=0.95):
    """Calibrates a policy so that its agreement is promised.

    Args:
        subject: `ExitSubject`.
        policy: As `ExitSpec.parse` takes it: its thresholds are the boldest
            that may come out.
        agreement: Promised mean share of a prompt's tokens that are the full
            model's.
        confidence: With which the promise holds.

    Returns:
        Dict: `certificate` (of `learn_then_test`), and what the policy does
        on those prompts: `summary`.
    """
    spec = ExitSpec.parse(policy)
    if not 0.0 < agreement < 1.0:
        raise UserError(
            f"`agreement` must lie inside 0..1. Received: {agreement}"
        )
    if needs_following(spec):
        raise UserError(
            "`exit` must not be missing=propagate to be certified: what its "
            "tokens see depends on every threshold that is tried. "
            f"Received: {spec}"
        )
    check_count(subject.prompts, 1.0 - agreement, 1.0 - confidence)
    own = subject.open()
    spec.layers_of(own.model.exits.layers)
    trace, _ = own.trace(own.prompts("test"))
    found = learn_then_test(
        trace, spec, risk=1.0 - agreement, level=1.0 - confidence
    )
    policy = ExitSpec.from_json(found["exit"])
    return own.results(
        certificate=found,
        summary=summary(trace, policy, ExitCost.of(own.model)),
    )
