"""Everything that is measured of one run, model or export."""

import functools
import time

from tfshrink.analysis.cycles import cycle_analysis
from tfshrink.analysis.insights.rules import insights_of
from tfshrink.analysis.settings import AnalysisSettings
from tfshrink.analysis.target import EXPORT
from tfshrink.analysis.target import open_target
from tfshrink.analysis.target import RUN
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError

WARMUP = 1  # calls before those that are timed
PARTS = ("performance", "bits", "robustness", "cycles", "insights")


class ModelAnalyzer:
    """Measures a run, a model or an export, part by part.

    Each part is measured when it is asked for, and kept. What cannot be
    measured of a target (the cycles of a model, say) is `None`, and `notes`
    says why.

    Args:
        path: Run folder of `bin/train` or its final checkpoint, folder of
            `bin/export`, or what `--model` takes.
        references: Dict that analyzers share: each full-precision reference is
            measured once.
        **settings: Fields of `AnalysisSettings`.

    Attributes:
        performance: What `analyze_performance` returned, or `None`; in the
            same way `bits`, `robustness`, `cycles`.
        notes: List of dicts: a `part` and the `reason` that it lacks
            something.
        seconds: What each part took.

    Raises:
        UserError: Nothing is there, or it is unfinished or damaged.

    Example:
        >>> analyzer = ModelAnalyzer("runs/spnet-1", limit=16)
        >>> analyzer.analyze_performance()["plans"][0]["perplexity_ratio"]
        1.002
        >>> analyzer.generate_comprehensive_report("out/spnet-1")
    """

    def __init__(self, path, *, references=None, **settings):
        self.settings = _settings(settings)
        own = ("plan", "group", "scales", "activations")
        options = {name: getattr(self.settings, name) for name in own}
        self.target = open_target(path, **options)
        self.references = references
        self.performance = self.bits = self.robustness = self.cycles = None
        self.notes, self.seconds = [], {}

    @functools.cached_property
    def measurements(self):
        """The `Measurements` of the target."""
        from tfshrink.analysis.measurements import Measurements

        return Measurements(self.target, self.settings, self.references)

    def analyze_performance(self):
        """Quality, speed, latency, memory and bytes of every plan.

        Returns:
            A dict: `protocol`, `timing` (how times were measured),
            `reference` and `plans`, rows as of `bin/evaluate` with `speed`,
            `latency`, `block_seconds` and `peak_memory` beside, as
            `JudgedModel.speed` has them. Those of a translating run are rows
            of `bin/evaluate` alone.
        """
        with _Clock(self, "performance"):
            if self.target.translates:
                from tfshrink.analysis import translation

                (one,) = self.target.candidates
                found = translation.translation_performance(one, self.settings)
                self._note("performance", "a run that translates is not timed")
            else:
                found = self._performance()
        self.performance = found
        return found

    def _performance(self):
        own, timed = self.measurements, self.target.kind != EXPORT
        # First: what it loads is gone before the plans' own model comes.
        reference = own.reference(timed=timed)
        rows = [
            {**row, **speed}
            for row, speed in zip(own.rows(), own.speeds(), strict=True)
        ]
        return {
            "protocol": own.protocol_json,
            "timing": {
                "what": "the file itself" if not timed else "simulation",
                "repeats": self.settings.repeats,
                "warmup": WARMUP,
                "new_tokens": self.settings.new_tokens,
            },
            "reference": reference,
            "plans": rows,
        }

    def analyze_bit_widths(self):
        """Effective bits, compression, bit maps, and plans by size.

        Returns:
            The dict of `bit_widths.bit_widths`.
        """
        with _Clock(self, "bits"):
            if self.target.translates:
                from tfshrink.analysis import translation

                (one,) = self.target.candidates
                found = translation.translation_bits(one)
            else:
                from tfshrink.analysis.bit_widths import bit_widths

                found, notes = bit_widths(
                    self.target, self.measurements, self.settings
                )
                for reason in notes:
                    self._note("bits", reason)
        self.bits = found
        return found

    def analyze_robustness(self, **settings):
        """Attacks and noise on every plan.

        Args:
            **settings: Fields of `RobustnessSettings`, over those of the
                analysis.

        Returns:
            What `robustness_study` returns, of the first candidate; `None` of
            an export, which takes no gradients.

        Raises:
            UserError: The plans have what the study does not know.
        """
        if self.target.kind == EXPORT:
            self._note("robustness", "an export lets no gradients through")
            return None
        from tfshrink.analysis.robustness.settings import RobustnessSettings
        from tfshrink.analysis.robustness.study import robustness_study

        own = {
            "data": self.settings.data,
            "limit": self.settings.robustness_limit,
            "dtype": "float32",  # gradients of bfloat16 are coarse
        }
        if len(self.target.candidates) > 1:
            self._note("robustness", "of the plans of one group size alone")
        self.release()
        with _Clock(self, "robustness"):
            self.robustness = robustness_study(
                candidate=self.target.candidates[0],
                settings=RobustnessSettings(**{**own, **settings}),
            )
        return self.robustness

    def analyze_cycles(self):
        """Loss by precision over the cycles of a run.

        Returns:
            What `cycle_analysis` returns; `None` of what is no run.
        """
        if self.target.kind != RUN:
            self._note("cycles", f"{self.target.kind}s have no training log")
            return None
        with _Clock(self, "cycles"):
            self.cycles = cycle_analysis(self.target.path)
        if self.cycles["period"] is None:
            self._note("cycles", f"style {self.cycles['style']} has no cycles")
        return self.cycles

    def insights(self):
        """What the figures so far say to do next: a list of dicts."""
        return insights_of(self.results())

    def results(self):
        """All that was measured, as a plain dict."""
        return {
            "name": self.target.name,
            "kind": self.target.kind,
            "path": self.target.path,
            "model": self.target.source.name,
            "identity": self.target.source.identity,
            "performance": self.performance,
            "bits": self.bits,
            "robustness": self.robustness,
            "cycles": self.cycles,
            "notes": self.notes,
            "seconds": self.seconds,
        }

    def analyze(self, parts=PARTS):
        """Measures parts; what fails for a reason of the target is noted.

        Args:
            parts: Names from `PARTS`.

        Returns:
            The dict of `results`, with `insights` if they are a part.
        """
        check_parts(parts)
        for part, measure in MEASURES.items():
            if part in parts and getattr(self, part) is None:
                try:
                    measure(self)
                except UserError as error:
                    self._note(part, str(error), failed=True)
        found = self.results()
        if "insights" in parts:
            found["insights"] = insights_of(found)
        return found

    def generate_comprehensive_report(
        self, folder, *, parts=PARTS, overwrite=False
    ):
        """Measures what is missing and writes the files of `bin/analyze`.

        Args:
            folder: Folder to make.
            parts: Names from `PARTS`.
            overwrite: Replaces an earlier analysis that is there.

        Returns:
            The dict of `analysis_results.json`.
        """
        from tfshrink.analysis.report_folder import check_folder
        from tfshrink.analysis.report_folder import write_report
        from tfshrink.analysis.results import build_analysis

        start = time.monotonic()
        check_folder(folder, overwrite)
        subject = self.analyze(parts)
        results = build_analysis([subject], [], time.monotonic() - start)
        write_report(folder, results)
        return results

    def release(self):
        """Frees the model; what was measured stays."""
        if "measurements" in self.__dict__:
            self.measurements.release()

    def _note(self, part, reason, failed=False):
        note = {"part": part, "reason": reason, "failed": failed}
        if note not in self.notes:
            self.notes.append(note)


MEASURES = {
    "performance": ModelAnalyzer.analyze_performance,
    "bits": ModelAnalyzer.analyze_bit_widths,
    "robustness": ModelAnalyzer.analyze_robustness,
    "cycles": ModelAnalyzer.analyze_cycles,
}


def check_parts(parts):
    """Raises a `UserError` for names that are none of `PARTS`."""
    if not parts:
        raise UserError(
            f"`parts` must name some of {', '.join(PARTS)}. Received: none"
        )
    for part in parts:
        if part not in PARTS:
            raise unknown_choice("parts", part, PARTS)


def _settings(values):
    known = AnalysisSettings.__dataclass_fields__
    for name in values:
        if name not in known:
            raise unknown_choice("setting", name, known)
    return AnalysisSettings(**values)


class _Clock:
    """Notes the seconds that a part took."""

    def __init__(self, analyzer, part):
        self.analyzer = analyzer
        self.part = part

    def __enter__(self):
        self.start = time.monotonic()

    def __exit__(self, kind, *_):
        if kind is None:
            seconds = round(time.monotonic() - self.start, 3)
            self.analyzer.seconds[self.part] = seconds
