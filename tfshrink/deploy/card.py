"""The model card of an export."""

from tfshrink.evaluation.table import markdown_table
from tfshrink.exit_spec import ExitSpec
from tfshrink.kv_spec import KVSpec

CARD = """# {name}, {plan}

{name} shrunk by tfshrink to the plan `{plan}` ({hash}){run}.

{table}

"largest error" is that of a logit against the plan simulated in Keras, beside
the largest logit; "same next token" is the share of {tokens} tokens of text
for which both find the same likeliest successor.

| layer groups | bits |
| --- | --- |
{bits}

K/V cache: {cache}.
{exits}
Weights: {source}. Their licence is that of the model they come from.

```bash
bin/generate --artifact=FOLDER --prompt="Once upon a time"
```
"""


def model_card(metadata, rows, tokens):
    """The card of an export as Markdown.

    Args:
        metadata: Dict of metadata.json.
        rows: Dicts, one a format.
        tokens: Tokens they were compared on.
    """
    plan = metadata["plan"]
    counts = {}
    for bits in plan["bits"].values():
        counts[bits] = counts.get(bits, 0) + 1
    source = metadata["source"]
    return CARD.format(
        name=metadata["name"],
        plan=plan["name"],
        hash=metadata["plan_hash"],
        run=f", trained in {metadata['run']}" if metadata["run"] else "",
        table=markdown_table(rows, formats=FORMATS),
        tokens=tokens,
        cache=_cache(plan["kv"]),
        exits=_exits(metadata.get("exit")),
        bits="\n".join(f"| {counts[b]} | {b} |" for b in sorted(counts)),
        source=", ".join(f"{key} {value}" for key, value in source.items()),
    )


def _exits(values):
    if values is None:
        return ""
    spec = ExitSpec.from_json(values)
    layers = ", ".join(map(str, spec.layers))
    return (
        f"\nA token of a text leaves behind block {layers} where the policy "
        f'`{spec}` lets it. "same through exits" counts those that left behind '
        "the same block, with the same successor, as in Keras; all else in the "
        "table is of the full model.\n"
    )


def _cache(kv):
    spec = KVSpec.from_json(kv) if kv else None
    if spec is None or spec.codec == "identity":
        return "exact, float32"
    return f"{spec}, what is recent float32"


# How the columns of a row are written, on the card and in the terminal.
FORMATS = {
    "MB": ".1f",
    "predicted MB": ".1f",
    "largest error": ".3f",
    "of": ".1f",
    "same next token": ".1%",
    "blocks a token": ".1f",
    "same through exits": ".1%",
    "tokens/s": ".1f",
    "seconds": ".1f",
}
