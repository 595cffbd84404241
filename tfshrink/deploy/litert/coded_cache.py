"""What a LiteRT file holds of a codec of the K/V cache."""

import json

import numpy as np
from scipy.linalg import block_diag

from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.ops import rotary

BLOCKS = 4  # of coded tokens, in the graphs as they lie in the file
INTEGERS = {"int8": 8, "int4": 4}


class CodedCache:
    """Constants of the graphs and of `CodedColumns`.

    Args:
        spec: `KVSpec` that `check_kv` takes.
        codecs: `BlockCodecs`, one codec a block.
        config: `DecoderConfig`.

    Attributes:
        kind: `"int"` or `"pca"`.
        unit: What one step of a stored byte is to the graphs.
        tokens: Coded columns at first.
    """

    def __init__(self, spec, codecs, config):
        self.block = spec.block
        self.tokens = BLOCKS * spec.block
        self.bits = INTEGERS.get(spec.codec, 4)
        self.kind = "pca" if spec.codec == "pca" else "int"
        self.unit = 1.0 if self.bits == 8 else 1 / 16
        self.tables, self._host = {}, {}
        self.columns = {}
        self.waves = self.kind == "pca" and config.positions == "rope"
        settings = {
            "kind": self.kind,
            "bits": self.bits,
            "block": spec.block,
            "window": spec.window,
            "sinks": spec.sinks,
        }
        if self.kind == "pca":
            for index, codec in enumerate(codecs.codecs):
                self._add(index, codec, config)
            settings["columns"] = self.columns
        if self.waves:
            self._host["frequencies"] = rotary.frequencies(
                config.head_dim, config.rope_theta, config.rope_scaling
            )
        self._host["settings"] = np.array(json.dumps(settings))

    def attached(self):
        """Arrays for `CodedColumns`."""
        return self._host

    def _add(self, index, codec, config):
        """Tables of a `DirectCodec`."""
        scale = config.head_dim**-0.25  # of queries, and of half a score
        own, tables = f"{index:02d}", codec.tables
        for name, table in (
            ("key", codec.key_table),
            ("value", codec.value_table),
        ):
            rows = table.backward / table.variances[:, None]
            forward = block_diag(*table.metric) @ rows.T
            wide = table.counts[0] if table.widths[0] == 8 else 0
            host = {
                "mean": table.mean,
                "forward": forward,
                "steps": table.steps,
            }
            for part, x in host.items():
                self._host[f"{own}/{name}_{part}"] = np.asarray(x, "float32")
            self._host[f"{own}/{name}_wide"] = np.array(wide)
            self.columns[name] = tables[f"{name}_basis"].shape[-1]
        self._host[f"{own}/centre"] = tables["centre"]
        # Stored codes begin at 0, those of the tables at -8.
        low = {
            name: tables[f"{name}_constant"]
            - 8.0 * tables[f"{name}_basis"].sum(-1)
            for name in ("key", "value")
        }
        basis = tables["value_basis"].transpose(0, 2, 1)
        for name, x in {
            "key_basis": scale * tables["key_basis"][:, None],
            "key_constant": scale * low["key"][:, None, None],
            "centre_scaled": scale * tables["centre"][:, None, None],
            "value_basis": basis[:, None],
            "value_constant": low["value"][:, None, None],
            "mean": tables["mean"][:, None, None],
        }.items():
            self.tables[f"{own}/{name}"] = np.ascontiguousarray(x, "float32")


def check_kv(plan, config):
    """Raises a `UserError` unless a LiteRT file can have a plan's codec.

    Args:
        plan: `Plan`.
        config: `DecoderConfig`.
    """
    if plan.kv is None:
        return
    spec = KVSpec.from_json(plan.kv)
    turned = config.positions == "rope" or spec.codec == "pca"
    if spec.codec == "identity":
        return
    if spec.codec not in ("pca", *INTEGERS):
        wanted = "must be identity, int8, int4 or pca"
    elif turned and not spec.rotated:
        wanted = "must have rotated=true: keys are not turned one by one"
    elif spec.layers != "all":
        wanted = "must code all layers"
    elif spec.block % 2:
        wanted = "must have an even block"
    elif spec.codec == "pca" and plan.removes:
        wanted = "must not be pca where heads may go"
    else:
        return
    raise UserError(
        f"`plan` {plan.name}: its kv {wanted}, for --format=litert. "
        f"Received: {spec}"
    )
