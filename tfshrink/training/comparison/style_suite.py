"""Training styles side by side: the work behind --suite=styles."""

import gc
import pathlib
import time

from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.evaluation.protocol import Protocol
from tfshrink.evaluation.results import command_line
from tfshrink.training.comparison.judged_run import judged_run
from tfshrink.training.comparison.kept_options import keep_options
from tfshrink.training.comparison.plan_speeds import plan_speeds
from tfshrink.training.comparison.style_run import BEGIN
from tfshrink.training.comparison.style_run import DEFAULT
from tfshrink.training.comparison.style_run import runs_behind
from tfshrink.training.comparison.style_run import style_runs
from tfshrink.training.comparison.summary import summarize_styles
from tfshrink.training.kept_run import kept_run
from tfshrink.training.kept_run import start_of
from tfshrink.training.settings import TrainSettings

BATCH = 4  # rows of a batch: three seeds are to fit into a night
UPDATES = 30
# What the suite itself sets, so that a config may not.
OWN = (
    "eval_data",
    "kv",  # plans are judged as they are typed
    "model",
    "plan",
    "seed",
    "start",
    "style",
    "total_steps",
)


class StyleSuite:
    """Trains styles from one start a seed and judges them alike.

    Every model that is judged has seen the same number of updates, of batches
    in the same order, from the same initialisation; what finished before is not
    run again. What the arguments got wrong shows before anything is run.

    Args:
        model: What `--model` takes.
        styles: Names of `style_run.STYLES`.
        seeds: Integers; each has its own initialisation, text and order.
        steps: Updates of the optimizer behind each judged model.
        plan: Plans, split by `;`.
        data: Text on which all are judged.
        limit: Windows of it, at most.
        workdir: Folder of the run folders and of what was found of them.
        config: Dict of further settings of all runs (`TrainSettings`).

    Attributes:
        runs: List of `StyleRun` of one seed.
        base: `TrainSettings` that all runs share.
        context: Tokens in a window on which they are judged.

    Raises:
        UserError: Anything the arguments got wrong.

    Example:
        >>> StyleSuite(model="tiny", styles=["spnet"], seeds=[0]).run()["rows"]
    """

    def __init__(
        self,
        *,
        model="smollm2-135m",
        styles=tuple(DEFAULT),
        seeds=(0, 1, 2),
        steps=UPDATES,
        plan="8;4;2",
        data="pydoc",
        limit=None,
        workdir="runs/styles",
        config=None,
    ):
        from tfshrink.models.sources import open_source
        from tfshrink.training.train import structure

        self.folder = pathlib.Path(workdir)
        if set(str(self.folder)) & set("+,"):
            raise UserError(
                "`workdir` must have neither + nor , in it: a run names texts "
                f"with them. Received: {workdir}"
            )
        self.seeds = tuple(dict.fromkeys(seeds))
        if not self.seeds or min(self.seeds) < 0:
            raise UserError(
                "`seeds` must be integers from 0 on, at least one. "
                f"Received: {','.join(map(str, seeds)) or 'none'}"
            )
        self.options = {
            "model": model,
            "plan": plan,
            "steps": steps,
            "data": data,
            "limit": limit,
            "config": dict(config or {}),
        }
        self.base = self._base()
        texts = [text.strip() for text in plan.split(";") if text.strip()]
        source = open_source(model)
        if source.scratch:
            raise UserError(
                "`model` must be one that is trained already: styles begin "
                f"with its weights. Received: {model}"
            )
        precision, plans = structure(self.base, source.config)
        self.names = {t: p.name for t, p in zip(texts, plans, strict=True)}
        self._seconds = {}  # of the steps of a run, by seed and name
        self.runs = style_runs(styles, texts, steps, precision.widths)
        self.context = min(Protocol.context, source.config.context)
        for run in self.runs:  # what they refuse is refused now
            self.settings(self.seeds[0], run)

    def _base(self):
        """The `TrainSettings` that all runs share."""
        options, values = self.options, self.options["config"]
        for name in OWN:
            if name in values:
                raise UserError(
                    f"`config` must not set {name}: the suite does. "
                    f"Received: {values[name]!r}"
                )
        return TrainSettings(
            **{
                "batch_size": BATCH,
                **values,
                "model": options["model"],
                "plan": options["plan"],
                "eval_data": options["data"],
            }
        )

    def run(self, *, speed=True, attack=True, on_results=lambda results: None):
        """Makes what is missing.

        Args:
            speed: Whether each plan is exported once, and its decoding timed.
            attack: Whether each judged plan is attacked, too (`attacked`).
            on_results: Called with the results so far after each run.

        Returns:
            Dict of `rows` (`summarize_styles`), `records` (one a seed, style
            and plan), `reference` and `protocol` as in `results.json`,
            `settings`, `speeds` (`plan_speeds`), `finished` and `runs` (how
            many of how many), `environment`, `command` and `seconds`.

        Raises:
            UserError: The folder holds something else, or a run fails.
        """
        from tfshrink.deploy.litert.library import require_litert

        if speed:
            require_litert()
        keep_options(self.folder, self.options)
        start, records, judged, done, speeds = time.monotonic(), [], {}, 0, {}

        def results():
            seconds = round(time.monotonic() - start, 3)
            return {
                **self._results(records, judged, speeds),
                "finished": done,
                "runs": len(self.runs) * len(self.seeds),
                "seconds": seconds,
            }

        for seed in self.seeds:
            for run in self.runs:
                found = self._run(seed, run, attack)
                if found:
                    judged = judged or found
                    records += self._records(seed, run, found["plans"])
                done += 1
                gc.collect()  # compiled functions hold weights in circles
                on_results(results())
        if speed:
            begin = self.place(self.seeds[0], BEGIN)
            speeds = plan_speeds(begin, self.names, self.folder)
        on_results(results())
        return results()

    def place(self, seed, name):
        """The folder of a run."""
        return self.folder / f"seed-{seed}" / name

    def settings(self, seed, run):
        """The `TrainSettings` of a run."""
        values = {**self.base.to_json(), "seed": seed, **run.changes}
        if run.begins is not None:
            name, checkpoint = run.begins
            start = self.place(seed, name) / "checkpoints" / checkpoint
            # Text is that of the start, the checkpoint may be a later one's;
            # both have smoothing behind them.
            values |= start_of(self.place(seed, BEGIN), values["data"])
            values |= {"start": str(start), "smooth": 0.0}
        return TrainSettings(**values)

    def _run(self, seed, run, attack):
        """What judging a run found, or `None`; makes what is missing."""
        folder = self.place(seed, run.name)
        self._seconds[seed, run.name] = kept_run(
            self.settings(seed, run), folder
        )
        if not run.plans:
            return None
        return judged_run(
            folder,
            run.plans,
            attack=attack,
            data=self.options["data"],
            limit=self.options["limit"],
            context=self.context,
            dtype=self.base.dtype,
        )

    def _records(self, seed, run, rows):
        """Rows of a run's plans, with what lies behind its model."""
        behind = runs_behind(run, self.runs)
        seconds = sum(self._seconds[seed, own.name] for own in behind)
        return [
            {
                **row,
                "seed": seed,
                "style": run.style,
                "plan": self.names[text],
                "run": f"seed-{seed}/{run.name}",
                "updates": run.updates,
                "passes": sum(own.passes for own in behind),
                "training_seconds": seconds if run.updates else 0.0,
            }
            for text, row in zip(run.plans, rows, strict=True)
        ]

    def _results(self, records, judged, speeds):
        """The figures so far."""
        rows = summarize_styles(records)
        for row in rows:
            if row["plan"] in speeds:
                own = speeds[row["plan"]]
                row["decoding_tokens_per_second"] = own["median"]
        steps = self.options["steps"]
        return {
            "suite": "styles",
            "model": self.options["model"],
            "rows": rows,
            "records": records,
            "reference": judged.get("reference"),
            "protocol": judged.get("protocol"),
            "settings": {**self.base.to_json(), "total_steps": steps},
            "seeds": list(self.seeds),
            "speeds": speeds,
            "environment": environment(),
            "command": command_line(),
        }
