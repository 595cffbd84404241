"""A study of exits as TensorBoard scalars and histograms."""

import pathlib

from tfshrink.exits.behaviour import token_rows
from tfshrink.training.board import Board

KEPT = ("agreement", "exit_rate", "layers", "weights_read")
EVENTS = "events.out.tfevents.*"


def write_board(study, trace, spec, folder):
    """Writes what TensorBoard shows of a study.

    Scalars: `sweep/<confidence>/...` over the thresholds tried, from the
    boldest; `suggested/...` over the wanted agreement, per mille;
    `position/...` over the text made, in tokens; `time/...` from prompt to
    prompt; `ppo/<reads>/...` over the cost weight, per mille. Histograms:
    `confidence/<name>/block_<layer>` and `depth`, blocks of a token.

    Args:
        study: Dict of `diagnosis.study_exits`.
        trace: `ExitTrace` that it was judged on.
        spec: `ExitSpec` that it suggests.
        folder: Gets the event file; older ones in it go.
    """
    for path in pathlib.Path(folder).glob(EVENTS):
        path.unlink()
    board = Board(folder)
    counts = {}
    for row in study["sweep"]:
        name = row["exit"].partition(":")[0]
        step = counts[name] = counts.get(name, -1) + 1
        board.write(step, {"sweep": {name: _kept(row)}})
    for own in study["suggestions"]:
        step = round(1000 * own["wanted"])
        board.write(step, {"suggested": _kept(own["test"])})
    for row in study["behaviour"]["positions"]:
        board.write(row["position"], {"position": _kept(row)})
    for row in study["behaviour"]["prompts"]:
        board.write(row["prompt"], {"time": _kept(row)})
    for row in (study.get("ppo") or {}).get("policies", []):
        values = {**_kept(row), "reward": row["reward"]}
        step = round(1000 * row["cost_weight"])
        board.write(step, {"ppo": {row["reads"]: values}})
    confidences = {
        name: {
            f"block_{layer}": values[index][trace.made]
            for index, layer in enumerate(trace.layers)
        }
        for name, values in trace.confidence.items()
    }
    depths = [row["exit"] for row in token_rows(trace, spec)]
    board.write_histograms(0, {"confidence": confidences, "depth": depths})
    board.close()


def _kept(row):
    return {name: row[name] for name in KEPT if name in row}
