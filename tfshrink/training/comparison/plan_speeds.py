"""How fast plans decode once they are exported."""

import json

from tfshrink.files import write_json

FULL = "32"  # the plan of full precision
NAME = "full precision"


def plan_speeds(workdir, plans, folder):
    """Exports plans of a run, and times decoding.

    What is exported is measured, not the simulation: that computes in the same
    type at any bit-width. Styles share a structure, so one run speaks for
    all of them.

    Args:
        workdir: Run folder.
        plans: Dict of a plan as `--plan` takes it to its name.
        folder: Where exports and figures go; figures there are taken as they
            are.

    Returns:
        Dict of a plan's name, and `full precision`, to `median`, ... of
        `evaluation.speed.rates` in tokens/s, and `bytes` of the file.
    """
    path = folder / "speeds.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for place, (plan, name) in enumerate({FULL: NAME, **plans}.items()):
        if name not in found:
            found[name] = _measured(workdir, plan, folder / f"export-{place}")
            write_json(path, found)
    return found


def _measured(workdir, plan, out):
    from tfshrink.deploy.export import export
    from tfshrink.evaluation.artefact_judge import ArtefactJudge
    from tfshrink.evaluation.material import Material
    from tfshrink.evaluation.protocol import Protocol

    export(workdir=str(workdir), plan=plan, out=out, overwrite=out.exists())
    protocol = Protocol(tasks=("speed",), context=2)
    row = ArtefactJudge(out, protocol, Material(tokenizer=None)).measure()
    return {**row["speed"]["decoding"], "bytes": row["bytes"]}
