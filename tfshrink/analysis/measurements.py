"""What is measured of one target, each thing once."""

import functools
import gc

from tfshrink.analysis.judged_export import JudgedExport
from tfshrink.analysis.judged_model import JudgedModel
from tfshrink.analysis.target import EXPORT
from tfshrink.data.progress_bar import counting_bar
from tfshrink.errors import UserError
from tfshrink.evaluation.material import Material
from tfshrink.evaluation.plan_rows import plan_row
from tfshrink.evaluation.plan_rows import reference_cost
from tfshrink.evaluation.protocol import Protocol
from tfshrink.exit_spec import ExitSpec
from tfshrink.files import sha256_json

CONTEXT = 512  # tokens of a window, where the model has as many


class Measurements:
    """Judges the plans of a target and its reference on one text.

    Args:
        target: `Target` of a decoder.
        settings: `AnalysisSettings`.
        references: Dict that targets of one model share: each reference is
            measured once, and each text read once.

    Raises:
        UserError: A plan lets tokens leave early, or the settings are wrong.
    """

    def __init__(self, target, settings, references=None):
        self.target = target
        self.settings = settings
        self.protocol = _protocol(target, settings)
        shared = {} if references is None else references
        key = sha256_json(
            [target.source.identity, self.protocol.to_json(), settings.repeats]
        )
        self._shared = shared.setdefault(key, {})
        self._judged = {}  # the last one, by the number of its candidate
        self._rows = {}
        for one in target.candidates:
            for plan in one.plans:
                _check_exit(plan)

    @functools.cached_property
    def material(self):
        """The `Material`: windows of the text."""
        if "material" not in self._shared:
            loaded = Material.load(self.protocol, self.target.source)
            self._shared["material"] = loaded
        return self._shared["material"]

    @property
    def protocol_json(self):
        """The protocol, and the text that it came to."""
        text = self.material.text
        return {
            **self.protocol.to_json(),
            "tokens": text.tokens,
            "windows": len(text.examples),
            "text": text.identity,
            "describe": text.describe(self.protocol),
        }

    def reference(self, *, timed=False):
        """The row of full precision: the source as it is, in Keras.

        Args:
            timed: Whether its times are measured, too.
        """
        known = self._shared
        if "quality" not in known or (timed and "speed" not in known):
            judged = self._full_precision()
            name = f"{self.target.source.name}: full precision"
            if "quality" not in known:
                with counting_bar(name, self.material.rows) as judged.on_rows:
                    found = judged.judge(None).measure()
                cost = reference_cost(self.target.source)
                known["quality"] = {**cost, **found}
            if timed:
                new_tokens = self.settings.new_tokens
                known["speed"] = judged.speed(None, new_tokens)
        return {**known["quality"], **(known["speed"] if timed else {})}

    def _full_precision(self):
        from tfshrink.models.load import load_model

        source = self.target.source
        return JudgedModel(
            source,
            lambda dtype: load_model(source, dtype=dtype),
            self.protocol,
            self.material,
            repeats=self.settings.repeats,
        )

    def rows(self):
        """A row of each plan, or of the export, beside the reference."""
        if self.target.kind == EXPORT:
            return [self._export_row(i) for i in range(self._export.count)]
        return [
            self.row(number, plan)
            for number, one in enumerate(self.target.candidates)
            for plan in one.plans
        ]

    def row(self, number, plan):
        """The row of one plan.

        Args:
            number: Of the candidate.
            plan: `Plan` of its structure.
        """
        key = number, plan.hash
        if key not in self._rows:
            reference = self.reference()
            judged = self.judged(number)
            one = self.target.candidates[number]
            label = f"{self.target.name}: {plan.name}"
            with counting_bar(label, self.material.rows) as judged.on_rows:
                found = plan_row(one, plan, judged.judge(plan), reference)
            self._rows[key] = found
        return {**self._rows[key], "name": plan.name}

    def _export_row(self, number):
        if number not in self._rows:
            reference = self.reference()
            label = f"{self.target.name}: {self.target.format}"
            with counting_bar(label, self.material.rows) as on_rows:
                self._export.on_rows = on_rows
                self._rows[number] = self._export.quality(number, reference)
        return self._rows[number]

    def speeds(self):
        """What `JudgedModel.speed` says of each of `rows`."""
        new_tokens = self.settings.new_tokens
        if self.target.kind == EXPORT:
            count = self._export.count
            return [self._export.speed(i, new_tokens) for i in range(count)]
        return [
            self.judged(number).speed(plan, new_tokens)
            for number, one in enumerate(self.target.candidates)
            for plan in one.plans
        ]

    def judged(self, number):
        """The `JudgedModel` of a candidate: one at a time is loaded."""
        if number not in self._judged:
            self.release()
            one = self.target.candidates[number]
            self._judged[number] = JudgedModel(
                one.source,
                one.load,
                self.protocol,
                self.material,
                repeats=self.settings.repeats,
            )
        return self._judged[number]

    @functools.cached_property
    def _export(self):
        return JudgedExport(
            self.target,
            self.protocol,
            self.material,
            repeats=self.settings.repeats,
        )

    def release(self):
        """Frees what is loaded; rows stay."""
        self._judged = {}
        gc.collect()  # compiled functions hold weights in circles


def _protocol(target, settings):
    config = target.source.config
    protocol = Protocol(
        data=settings.data,
        limit=settings.limit,
        context=settings.context or min(CONTEXT, config.context),
        dtype=settings.dtype,
        batch_size=settings.batch_size,
    )
    protocol.check_model(config)
    return protocol


def _check_exit(plan):
    if plan.exit:
        raise UserError(
            f"`plan` {plan.name} must let no token leave early: exit policies "
            "are judged by bin/evaluate --exit and bin/diagnose exits. "
            f"Received: {ExitSpec.from_json(plan.exit)}"
        )
