"""The work of `bin/diagnose exits`: what exits can do, and what to try."""

import json
import pathlib

from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import PRESETS
from tfshrink.exits.batches import batch_layers
from tfshrink.exits.behaviour import behaviour
from tfshrink.exits.behaviour import token_rows
from tfshrink.exits.choice import ExitCost
from tfshrink.exits.choice import summary
from tfshrink.exits.ppo_study import compare_policies
from tfshrink.exits.ppo_study import policy_files
from tfshrink.exits.sensitivity import sensitivity
from tfshrink.exits.study_board import write_board
from tfshrink.exits.study_log import StudyLog
from tfshrink.exits.sweep import calibration_curve
from tfshrink.exits.sweep import sweep
from tfshrink.exits.sweep import tuned
from tfshrink.files import atomic_write
from tfshrink.files import write_json
from tfshrink.report.exit_plot import draw_calibration
from tfshrink.report.exit_plot import draw_positions
from tfshrink.report.exit_plot import draw_sweep

WANTED = (0.9, 0.95, 0.98, 0.99)  # agreements that a study tunes for
FOLLOWED = 0.95  # the one of them that is looked at token by token
FILES = (
    ".json",
    "_front.png",
    "_calibration.png",
    "_positions.png",
    "_tokens.jsonl",
    ".log",
)


def study_exits(
    subject,
    *,
    output_dir="diagnosis",
    overwrite=False,
    wanted=WANTED,
    ppo=False,
):
    """Sweeps thresholds of every confidence, and suggests policies.

    Thresholds are chosen on one part of the text ("calibrate") and reported
    on another ("test").

    Args:
        subject: `ExitSubject`.
        output_dir: Folder that gets `exits.json`, figures, a line for each
            token, a log, learned policies, and TensorBoard events in `tb`.
        overwrite: Replaces files that are there.
        wanted: Agreements to tune for.
        ppo: Whether to train policies by PPO and set them beside thresholds.

    Returns:
        Dict: `sweep` (rows of `sweep.sweep`), `suggestions` (an agreement's
        policy, `chosen` and `test` summaries), `presets` (summaries, with
        `preset`), `followed` (the suggestion that is looked at closely), its
        `sensitivity`, `behaviour` and `batches` (of `batch_layers`), `ppo` (of
        `compare_policies`, or `None`), `calibration` (a curve an exit), `exits`
        (agreement of each alone), `files` written.

    Raises:
        UserError: A study is there, or the subject has no exits.
    """
    folder = pathlib.Path(output_dir)
    files = {name: folder / f"exits{name}" for name in FILES}
    learned = policy_files(folder) if ppo else {}
    for path in (*files.values(), *learned.values()):
        if path.exists() and not overwrite:
            raise UserError(
                "`output_dir` must not hold a study yet, or come with "
                f"--overwrite. Received: {path}, which is there"
            )
    own = subject.open()
    log = StudyLog(files[".log"])
    cost = ExitCost.of(own.model)
    chosen, trace = _traces(own, log)
    suggestions = _suggestions(chosen, trace, cost, wanted, log)
    followed = min(suggestions, key=lambda x: abs(x["wanted"] - FOLLOWED))
    spec = ExitSpec.parse(followed["policy"])
    compared = None
    if ppo:
        compared = compare_policies(chosen, trace, cost, learned)
        for row in compared["policies"]:
            log(f"learned at cost weight {row['cost_weight']:g}: {_said(row)}")
    changes = sensitivity(trace, spec, cost)
    for row in changes:
        log(f"{row['parameter']} {row['value']}: {_said(row)}")
    found = own.results(
        sweep=sweep(trace, cost),
        suggestions=suggestions,
        presets=_presets(trace, cost, log),
        followed=followed["policy"],
        sensitivity=changes,
        behaviour=behaviour(trace, spec),
        batches=batch_layers(trace, spec),
        ppo=compared,
        calibration=calibration_curve(trace, "classifier"),
        exits=_exits(trace),
        prompts=[len(chosen), len(trace)],
        files=[str(x) for x in (*files.values(), *learned.values())],
    )
    _write(found, trace, spec, files)
    log("done")
    return found


def _traces(own, log):
    """The traces to choose on and to judge on."""
    found = []
    for split in ("calibrate", "test"):
        found.append(own.trace(own.prompts(split))[0])
        tokens = int(found[-1].made.sum())
        log(f"traced {len(found[-1])} prompts of {split}, {tokens} tokens")
    return found


def _presets(trace, cost, log):
    """What each preset reaches."""
    found = []
    for name in PRESETS:
        row = summary(trace, ExitSpec.parse(name), cost)
        found.append({"preset": name, **row})
        log(f"preset {name}: {_said(row)}")
    return found


def _write(study, trace, spec, files):
    """Tokens, figures, TensorBoard events, and the study last."""
    with atomic_write(files["_tokens.jsonl"]) as file:
        for row in token_rows(trace, spec):
            file.write(json.dumps(row) + "\n")
    draw_sweep(study, files["_front.png"])
    draw_calibration(study, files["_calibration.png"])
    draw_positions(study, files["_positions.png"])
    write_board(study, trace, spec, files[".json"].parent / "tb")
    write_json(files[".json"], study)


def _suggestions(chosen, trace, cost, wanted, log):
    """The policy tuned for each wanted agreement, judged on other text."""
    found = []
    for agreement in wanted:
        spec, own = tuned(chosen, cost, agreement)
        row = summary(trace, spec, cost)
        found.append(
            {
                "wanted": agreement,
                "policy": str(spec),
                "chosen": own,
                "test": row,
            }
        )
        log(f"suggested for {agreement:g}: {_said(row)}, {spec}")
    return found


def _exits(trace):
    """How good each exit is alone."""
    return [
        {
            "layer": layer,
            "agreement": float(trace.right[index][trace.made].mean()),
            "nats": float(trace.nats[index][trace.made].mean()),
            "last_nats": float(trace.last_nats[trace.made].mean()),
        }
        for index, layer in enumerate(trace.layers)
    ]


def _said(row):
    return (
        f"agreement {row['agreement']:.4f}, "
        f"weights read {row['weights_read']:.4f}"
    )
