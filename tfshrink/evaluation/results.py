"""`results.json`: the one form in which commands hand on what they found."""

import json
import os
import shlex
import sys

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.evaluation.environment import environment
from tfshrink.files import write_json

_TOP = {
    "model": str,
    "reference": dict,
    "plans": list,
    "environment": dict,
    "command": str,
    "seconds": (int, float),
}
_REFERENCE = ("perplexity", "bytes")
_PLAN = {
    "name": str,
    "plan": (dict, list, str, int),
}


def build_results(model, reference, plans, *, seconds, **more):
    """The dict of `results.json`, complete and checked.

    Args:
        model: The model's name.
        reference: Dict of the full-precision model's `perplexity` and
            `bytes`, on the same text.
        plans: List of dicts, one a plan: `name`, `plan` (its JSON form),
            `effective_bits`, `bytes`, `perplexity` and whatever else was
            measured. `perplexity_ratio` is added where it is missing.
        seconds: What the command took.
        **more: Further entries at the top, such as `protocol`.

    Returns:
        A dict as `validate_results` accepts it.
    """
    results = {
        "model": model,
        "reference": dict(reference),
        "plans": [_with_ratio(plan, reference) for plan in plans],
        "environment": environment(),
        "command": command_line(),
        "seconds": round(seconds, 3),
        **more,
    }
    return validate_results(results)


def _with_ratio(plan, reference):
    whole, own = reference.get("perplexity"), plan.get("perplexity")
    if not whole or own is None or "perplexity_ratio" in plan:
        return dict(plan)
    return {**plan, "perplexity_ratio": own / whole}


def origin():
    """What made a file: `environment` and `command`, as a dict."""
    return {"environment": environment(), "command": command_line()}


def command_line(argv=None):
    """The command as it can be typed again, from the clone's folder."""
    name, *arguments = sys.argv if argv is None else argv
    folder, name = os.path.split(name)
    if os.path.basename(folder) in ("bin", "benchmarks"):
        name = f"{os.path.basename(folder)}/{name}"
    return shlex.join([name, *arguments])


def validate_results(results, source="results"):
    """Returns `results` if it keeps the contract.

    Args:
        results: What `results.json` holds.
        source: The file it came from, for the error.

    Raises:
        UserError: An entry is missing or of another kind.
    """
    if not isinstance(results, dict):
        raise UserError(
            f"{source} must hold a JSON object. "
            f"Received: {type(results).__name__}"
        )
    _check(results, _TOP, source)
    _check(results["reference"], dict.fromkeys(_REFERENCE), source)
    for plan in results["plans"]:
        if not isinstance(plan, dict):
            raise UserError(
                f"{source}: every plan must be an object. Received: {plan!r}"
            )
        _check(plan, _PLAN, source)
    return results


def _check(entries, expected, source):
    for key, kind in expected.items():
        if key not in entries:
            raise UserError(
                f"{source} must have `{key}`. Received: {sorted(entries)}"
            )
        if kind is not None and not isinstance(entries[key], kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            names = " or ".join(k.__name__ for k in kinds)
            raise UserError(
                f"{source}: `{key}` must be {names}. Received: {entries[key]!r}"
            )


def write_results(path, results):
    """Checks the results and writes them, whole or not at all."""
    write_json(path, validate_results(results))


def read_results(path):
    """Reads a `results.json`, or the one in a run folder.

    Raises:
        UserError: There is none, or it does not keep the contract.
    """
    if os.path.isdir(path):
        path = os.path.join(path, "results.json")
    try:
        with open(path, encoding="utf-8") as file:
            results = json.load(file)
    except FileNotFoundError as error:
        raise UserError(
            f"A run folder or results.json must be given. Received: {path}, "
            "which does not exist"
        ) from error
    except DAMAGE as error:
        raise UserError(
            f"{path} must be valid JSON. Received: {error}"
        ) from error
    return validate_results(results, source=str(path))
