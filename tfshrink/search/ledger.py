"""What a search has judged so far, kept where it survives a kill."""

import contextlib
import pathlib
import warnings

from tfshrink.errors import UserError
from tfshrink.files import sha256_json

RECORD = "record"  # of a trial: what was found of its plan
IDENTITY = "identity"  # of a study: what it is a search of
PATIENCE = 20  # seconds that a locked SQLite file is waited for
HEARTBEAT = 30  # seconds; a worker silent for twice as long is gone


class Ledger:
    """An Optuna study that holds one record a judged plan.

    Several processes, on one machine or many, may work on one study.

    Args:
        storage: URL as Optuna takes it, or the path of an SQLite file.
        name: Name of the study.
        identity: What the search is of; another study of that name is refused.
        objectives: Names of what is to be small.
        resume: Whether the study may be there already.

    Raises:
        UserError: The study is there and not to be resumed, is of another
            model or search, or its database is locked, read-only or damaged.
    """

    def __init__(self, storage, name, identity, objectives, *, resume=False):
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.storage = storage
        self._errors = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
        url = storage if "://" in storage else f"sqlite:///{storage}"
        if url.startswith("sqlite:///"):
            path = pathlib.Path(url.removeprefix("sqlite:///"))
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._clear_errors():
            backend = optuna.storages.RDBStorage(
                url,
                # Others that write at the same time are waited for.
                engine_kwargs={"connect_args": {"timeout": PATIENCE}}
                if url.startswith("sqlite")
                else None,
                heartbeat_interval=HEARTBEAT,
                grace_period=2 * HEARTBEAT,
                heartbeat_stale_trial_callback=(
                    optuna.storages.RetryHeartbeatStaleTrialCallback()
                ),
            )
            known = name in optuna.get_all_study_names(backend)
            if known and not resume:
                raise UserError(
                    f"`storage` must not hold the study {name} yet; --resume "
                    f"continues it. Received: {storage}"
                )
            self.study = optuna.create_study(
                storage=backend,
                study_name=name,
                directions=["minimize"] * len(objectives),
                load_if_exists=True,
            )
            self._check(identity, name)

    def _check(self, identity, name):
        digest = sha256_json(identity)
        own = self.study.user_attrs.get(IDENTITY)
        if own is None:
            self.study.set_user_attr(IDENTITY, digest)
        elif own != digest:
            raise UserError(
                f"`storage` holds a study {name} of another model, run, "
                "formula, text or setting: name another --study_name. "
                f"Received: {self.storage}"
            )

    @contextlib.contextmanager
    def _clear_errors(self):
        """Errors of the database as one line; Optuna's news stay its own."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )
            try:
                yield
            except self._errors as error:
                cause = getattr(error, "orig", None) or error.__cause__ or error
                raise UserError(
                    "`storage` must be an SQLite file, or the URL of a "
                    "database, that can be read and written. Received: "
                    f"{self.storage} ({str(cause).splitlines()[0]})"
                ) from error

    def records(self):
        """What was found, a dict a plan, in the order of judging."""
        from optuna.trial import TrialState

        with self._clear_errors():
            trials = self.study.get_trials(
                deepcopy=False, states=(TrialState.COMPLETE,)
            )
        return [t.user_attrs[RECORD] for t in trials if RECORD in t.user_attrs]

    def add(self, record, values):
        """Keeps a record that no sampler asked for.

        Args:
            record: JSON dict.
            values: Of the objectives.
        """
        import optuna

        with self._clear_errors():
            self.study.add_trial(
                optuna.create_trial(values=values, user_attrs={RECORD: record})
            )

    def start(self, sampler, points=(), *, alone=True):
        """Sets the sampler of `run`, and what a study begins with.

        Args:
            sampler: Function of the number of trials to an Optuna sampler.
            points: Dicts of parameters that are tried first, those that a
                stopped search was at or did not come to among them.
            alone: Whether no other process works on the study: a trial that
                somebody began is one of a process that was killed. Those of a
                shared study are begun anew once their worker is silent.
        """
        from optuna.trial import TrialState

        with self._clear_errors():
            trials = self.study.get_trials(deepcopy=False)
            self.study.sampler = sampler(len(trials))
            lost = [
                trial
                for trial in trials
                if alone and trial.state == TrialState.RUNNING
            ]
            for trial in lost:
                self.study.tell(trial.number, state=TrialState.FAIL)
            gone = {trial.number for trial in lost}
            known = [
                trial.system_attrs.get("fixed_params", trial.params)
                for trial in trials
                if trial.number not in gone and trial.state != TrialState.FAIL
            ]
            for point in points:
                if point not in known:
                    self.study.enqueue_trial(point)

    def run(self, objective, point=None):
        """Runs one trial: one that waits, or what the sampler proposes.

        Args:
            objective: Function of a trial to `(record, values, constraints)`.
            point: Parameters that are tried where none wait; `None` leaves them
                to the sampler.
        """
        from optuna.samplers import PartialFixedSampler

        def one(trial):
            record, values, constraints = objective(trial)
            trial.set_user_attr(RECORD, record)
            for name, amount in constraints.items():
                trial.set_constraint(name, amount)
            return values

        with self._clear_errors():
            sampler = self.study.sampler
            if point is not None:
                self.study.sampler = PartialFixedSampler(point, sampler)
            try:
                self.study.optimize(one, n_trials=1)
            finally:
                self.study.sampler = sampler
