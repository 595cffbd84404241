"""Tasks of lm-evaluation-harness, through its Python API."""

import contextlib
import dataclasses
import os
import pathlib

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.harness.adapter import adapter
from tfshrink.evaluation.protocol import HARNESS

BOOTSTRAP = 1000  # draws of a standard error that has no formula


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harness:
    """Tasks that are there, with their data.

    Args:
        names: Of tasks, groups or tags.
        manager: `lm_eval.tasks.TaskManager` that knows them.
        folder: Absolute path that relative paths in local task files start
            from, or `None`.
        limit: Examples of each task at most, or `None`.
    """

    names: tuple
    manager: object
    folder: str | None = None
    limit: int | None = None

    @classmethod
    def load(cls, names, *, folder=None, limit=None):
        """Finds tasks, and loads them once to see that their data is there.

        Args:
            names: Of tasks, groups or tags.
            folder: Folder of task files (YAML), beside those of the package.
            limit: Examples of each task at most, or `None`.

        Raises:
            UserError: The package is missing, a name is unknown, or a task's
                data cannot be loaded.
        """
        if folder is not None:
            if not pathlib.Path(folder).is_dir():
                raise UserError(
                    "`lm_eval_tasks` must be a folder of task files (YAML). "
                    f"Received: {folder}"
                )
            folder = str(pathlib.Path(folder).resolve())
        manager = _manager(folder)
        for name in names:
            if name not in manager.all_tasks:
                raise _unknown(name, manager.all_tasks)
        own = cls(
            names=tuple(names), manager=manager, folder=folder, limit=limit
        )
        for name in names:
            own.check(name)
        return own

    def check(self, name):
        """Raises a `UserError` unless a task and its data can be loaded."""
        try:
            with self._at_home():
                self.manager.load([name])
        except Exception as error:  # tasks are programs: anything may fail
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(
                f"`tasks` {HARNESS}{name} must have its data at hand: from the "
                "Hugging Face hub, or local in --lm_eval_tasks=FOLDER. "
                f"Received: {type(error).__name__}: {said[0][:200]}"
            ) from error

    def measure(self, model):
        """Runs the tasks on a model.

        Args:
            model: `LanguageModel`.

        Returns:
            Dict of `version` (of lm_eval) and `tasks`: name to a dict of
            `version`, `shots`, `samples` and `metrics`, where each metric has
            `value`, `stderr` (`None` where the harness has none) and
            `higher_is_better`.
        """
        from lm_eval import simple_evaluate

        # It would fork a process that holds TensorFlow's threads.
        os.environ.setdefault("DISABLE_MULTIPROC", "1")
        with self._at_home():
            found = simple_evaluate(
                adapter(model),
                tasks=list(self.names),
                task_manager=self.manager,
                limit=self.limit,
                bootstrap_iters=BOOTSTRAP,
                log_samples=False,
            )
        return {"version": found["lm_eval_version"], "tasks": _tasks(found)}

    def _at_home(self):
        if self.folder is None:
            return contextlib.nullcontext()
        return contextlib.chdir(self.folder)


def _manager(folder):
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise UserError(
            f"`tasks` {HARNESS}NAME needs the package lm_eval: "
            f"python3 -m pip install -e '.[lm_eval]'. Received: {error}"
        ) from error
    return TaskManager(include_path=folder)


def _unknown(name, known):
    """A short error: the harness knows thousands of names."""
    said = str(
        unknown_choice("tasks", HARNESS + name, [HARNESS + n for n in known])
    )
    hint = said.partition("Did you mean ")[2]
    hint = f" Did you mean {hint}" if hint else ""
    return UserError(
        f"`tasks` {HARNESS}NAME must be one of the {len(known):,} tasks and "
        f"groups of lm_eval, or of --lm_eval_tasks. Received: {name!r}.{hint}"
    )


def _tasks(found):
    """Results of `simple_evaluate`, by task."""
    return {
        name: {
            "version": found["versions"].get(name),
            "shots": found["n-shot"].get(name),
            "samples": found["n-samples"].get(name, {}).get("effective"),
            "metrics": _metrics(own, found["higher_is_better"].get(name, {})),
        }
        for name, own in found["results"].items()
    }


def _metrics(values, better):
    """Metrics of a task; a filter other than `none` is part of the name."""
    found = {}
    for key, value in values.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{chosen}")
        found[metric if chosen == "none" else key] = {
            "value": value,
            "stderr": stderr if isinstance(stderr, (int, float)) else None,
            "higher_is_better": better.get(metric),
        }
    return found
