"""How much each layer group minds fewer bits or weights, one at a time."""

import dataclasses
import json
import pathlib

import numpy as np

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError
from tfshrink.files import write_json

VERSION = 1
FILE = "sensitivity.json"


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What single changes of a model cost.

    Args:
        rows: One dict a change: `group`, `bits`, `pruning`, `sparsity`; `kl`
            and `jsd` (mean nats), `mse` and `mae` of the logits, `perplexity`,
            `margin` and a `margin_<property>` each (of the worst prompt); and
            `estimate` (Fisher, nats) where bits alone changed.
        names: Layer groups, in model order.
        identity: Of what was measured: model, run, requirement, prompts.
        info: What else the file says: correlation, seconds.
    """

    rows: list
    names: tuple
    identity: dict
    info: dict

    def table(self, measure="kl"):
        """A measure of the changes of bits.

        Returns:
            `(values, widths)`: an array `(groups, widths)`, NaN where nothing
            was measured, and the bit-widths, highest first.
        """
        rows = [row for row in self.rows if not row["pruning"]]
        widths = sorted({row["bits"] for row in rows}, reverse=True)
        found = np.full((len(self.names), len(widths)), np.nan)
        for row in rows:
            value = row.get(measure)
            if value is not None:
                place = self.names.index(row["group"])
                found[place, widths.index(row["bits"])] = value
        return found, widths

    def save(self, path):
        """Writes the JSON form, whole or not at all."""
        write_json(
            path,
            {
                "version": VERSION,
                "identity": self.identity,
                "names": self.names,
                **self.info,
                "rows": self.rows,
            },
        )

    @classmethod
    def load(cls, path, identity=None):
        """Reads a file of `save`.

        Args:
            path: The file.
            identity: What it must be of, or `None`.

        Raises:
            UserError: It is missing, damaged or of another model.
        """
        try:
            values = json.loads(pathlib.Path(path).read_text("utf-8"))
            rows, names = values.pop("rows"), tuple(values.pop("names"))
            own, version = values.pop("identity"), values.pop("version")
            for row in rows:
                _ = row["group"], row["bits"], row["pruning"], row["sparsity"]
                _ = float(row["kl"])
            own = dict(own)
        except (OSError, *DAMAGE) as error:
            raise UserError(
                "`sensitivity_file` must be a file of bin/sensitivity. "
                f"Received: {path} ({type(error).__name__}: {error})"
            ) from error
        if version != VERSION:
            raise UserError(
                f"`sensitivity_file` must be of version {VERSION}. "
                f"Received: {path}, version {version}"
            )
        for key in ("model", "run"):
            if identity is not None and own.get(key) != identity.get(key):
                raise UserError(
                    f"`sensitivity_file` must be of the {key} that is "
                    f"searched, {identity.get(key)}. Received: {path}, of "
                    f"{own.get(key)}"
                )
        return cls(rows, names, own, values)
