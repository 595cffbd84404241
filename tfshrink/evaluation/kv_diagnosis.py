"""A basis by itself, and on the keys and values of a model."""

import collections
import pathlib
import time

import numpy as np
from keras import ops

from tfshrink.data.documents import load_examples
from tfshrink.data.progress_bar import progress_bar
from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_heads import blocks_of
from tfshrink.evaluation.kv_heads import kv_heads
from tfshrink.evaluation.kv_heads import SINKS
from tfshrink.evaluation.kv_heads import standardised
from tfshrink.evaluation.results import origin
from tfshrink.files import write_json
from tfshrink.kv_spec import KVSpec
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.ops import blockwise
from tfshrink.ops.basis_choice import choose_basis
from tfshrink.ops.basis_choice import NAMES
from tfshrink.ops.basis_choice import PCA
from tfshrink.ops.basis_quality import basis_figures
from tfshrink.ops.basis_quality import condition_number
from tfshrink.ops.basis_quality import occupied_bandwidth
from tfshrink.ops.prolate import determined
from tfshrink.ops.prolate import sampled_pswf
from tfshrink.ops.transforms import BANDWIDTH
from tfshrink.ops.transforms import fixed_basis
from tfshrink.ops.transforms import pca_basis

SPLIT = "calibrate"


def diagnose(
    basis,
    *,
    block=64,
    bandwidth=BANDWIDTH,
    keep=0.25,
    measure=True,
    model="smollm2-135m",
    data="pydoc",
    tokens=2048,
    layers="all",
    output_dir="diagnosis",
    overwrite=False,
):
    """Says how good a basis is, and what it makes of a model's cache.

    Keys and values are measured along time, block by block, each channel
    brought to mean 0 and variance 1 first, as the means and gains of a codec
    do. RoPE turns the mean of a key's channel into a wave, so that keys after
    it have energy at few frequencies which before it is no energy at all.

    Args:
        basis: One of `NAMES`.
        block: Tokens of a block.
        bandwidth: Half bandwidth in cycles per token: what dpss and pswf are
            made for, and all are judged by.
        keep: Fraction of the coefficients that is to hold the energy.
        measure: Whether a model is run.
        model: What `--model` takes.
        data: Text that it reads.
        tokens: Of it, at most; in rows as long as the context allows.
        layers: As in `KVSpec`.
        output_dir: Folder that gets `<basis>.json`, the functions as
            `<basis>.png` and, of a model, `<basis>_compaction.png`.
        overwrite: Replaces files that are there.

    Returns:
        Dict of what was written: `figures` (`basis_figures`, and for pswf what
        its samples are like before they are made orthonormal), `rows` (one a
        layer, head and kind: see `_head_row`) and `summary` (one a kind).

    Raises:
        UserError: Anything the arguments got wrong.
    """
    start = time.monotonic()
    count = _checked(basis, block, bandwidth, keep, measure)
    paths = _paths(pathlib.Path(output_dir), basis, measure, overwrite)
    options = {"basis": basis, "block": block, "bandwidth": bandwidth}
    results = {**options, "kept": count}
    subject = _Subject(**options, keep=count)
    if measure:
        results |= subject.measured(model, data, tokens, layers)
    own = subject.shown_basis()
    results["figures"] = basis_figures(own, bandwidth)
    if basis == "pswf":
        results["figures"] |= _sampled_figures(block, bandwidth)
    results |= origin()
    results["seconds"] = time.monotonic() - start
    results["files"] = [str(path) for path in paths.values()]
    _write(results, own, paths)
    return results


def _checked(basis, block, bandwidth, keep, measure):
    """Number of coefficients that are kept; raises what is wrong."""
    if basis not in NAMES:
        raise unknown_choice("basis", basis, NAMES)
    if not 0 < keep <= 1:
        raise UserError(
            f"`keep` must be above 0 and at most 1. Received: {keep}"
        )
    if basis == PCA and not measure:
        raise UserError(
            "`measure` must be on for pca, which is found on data. "
            "Received: False"
        )
    for name in ("dpss", basis):  # the bandwidth too, whoever needs it
        if name != PCA:
            blockwise.block_rows(fixed_basis(name, block, bandwidth=bandwidth))
    return max(1, round(keep * block))


def _paths(folder, basis, measure, overwrite):
    paths = {"json": folder / f"{basis}.json", "png": folder / f"{basis}.png"}
    if measure:
        paths["map"] = folder / f"{basis}_compaction.png"
    there = [path for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise UserError(
            "`output_dir` must not hold this basis yet, or come with "
            f"--overwrite. Received: {there[0]}, which is there"
        )
    return paths


def _sampled_figures(block, bandwidth):
    """What midpoints make of the continuous functions."""
    sampled = sampled_pswf(block, np.pi * block * bandwidth)
    useful = max(1, int(2 * block * bandwidth))
    return {
        "sampled_condition_useful": condition_number(sampled[:useful]),
        "sampled_condition_all": condition_number(sampled),
        "determined": determined(sampled),
    }


def _write(results, basis, paths):
    from tfshrink.report.basis_plot import draw_basis
    from tfshrink.report.basis_plot import draw_compaction

    draw_basis(basis, paths["png"], title=results["basis"])
    if "map" in paths:
        draw_compaction(results["rows"], paths["map"], kept=results["kept"])
    write_json(paths["json"], results)


class _Subject:
    """A basis, and the blocks it is measured on."""

    def __init__(self, basis, block, bandwidth, keep):
        self.basis = basis
        self.block = block
        self.bandwidth = bandwidth
        self.keep = keep
        # Walsh functions of other lengths do not exist.
        self.names = [
            name
            for name in NAMES
            if name != "hadamard" or block & (block - 1) == 0
        ]
        self.moments = np.zeros((block, block))  # of keys and values

    def shown_basis(self):
        """The basis itself; of components, those of all heads together."""
        if self.basis == PCA:
            # A matrix and its square have the same components.
            return pca_basis(self.moments)
        return self._fixed(self.block)

    def _fixed(self, samples):
        return fixed_basis(self.basis, samples, bandwidth=self.bandwidth)

    def measured(self, model, data, tokens, layers):
        """Runs the model; what `diagnose` returns of it."""
        from tfshrink.models.load import load_model
        from tfshrink.models.sources import open_source

        source = open_source(model)
        check_plain_decoder(source.config, "model")
        spec = KVSpec(codec="int8", layers=layers)  # the one reader of layers
        chosen = spec.coded_layers(source.config.layers)
        text = self._text(source, data, tokens)
        rows = []
        with progress_bar("layers", len(chosen)) as show:
            heads = kv_heads(load_model(source), text)
            for layer, kinds in enumerate(heads):
                if chosen[layer]:
                    for kind, x in kinds.items():
                        rows += self._layer_rows(layer, kind, x)
                show(layer + 1, (layer + 1) * text.size)
        return {
            "model": source.name,
            "data": data,
            "split": SPLIT,
            "tokens": int(text.size),
            "context": text.shape[1],
            "rows": rows,
            "summary": summary(rows),
        }

    def _text(self, source, data, tokens):
        context = min(tokens, source.config.context)
        least = SINKS + 2 * self.block
        if context < least:
            raise UserError(
                f"`tokens` and the model's context must be at least {least}: "
                f"{SINKS} that are left out and two blocks. Received: {context}"
            )
        eos = source.config.eos
        examples = load_examples(
            data,
            source.tokenizer(),
            context,
            separator=eos[0] if eos else 0,
            split=SPLIT,
            mode="packed",
        )
        return examples.tokens[: tokens // context]

    def _layer_rows(self, layer, kind, x):
        """One row a head of x, `(N, T, H_kv, D)`."""
        x = standardised(np.moveaxis(x[:, SINKS:], 2, 0))  # (H_kv, N, T, D)
        left = self._left(x)
        rows = []
        for head, own in enumerate(x):
            blocks = blocks_of(own, self.block)
            if kind != "rotated_keys":
                self.moments += np.einsum("mic,mjc->ij", blocks, blocks)
            rows.append(
                {
                    "layer": layer,
                    "head": head,
                    "kind": kind,
                    **self._head_row(blocks),
                    "left": {name: e[head] for name, e in left.items()},
                }
            )
        return rows

    def _head_row(self, blocks):
        """Figures of `(M, block, D)`.

        Shares of energy are those of the first `keep` coefficients and of the
        best ones, bandwidths half ones in cycles per token, gains in dB;
        `picked` and `picked_fixed` are what `choose_basis` picks.
        """
        picked, table = choose_basis(
            blocks, self.names, self.keep, bandwidth=self.bandwidth
        )
        fixed = [name for name in self.names if name != PCA]
        return {
            **table[self.basis],
            "bandwidth_95": occupied_bandwidth(blocks, 0.95),
            "bandwidth_99": occupied_bandwidth(blocks, 0.99),
            "picked": picked,
            "picked_fixed": max(fixed, key=lambda name: table[name]["best"]),
            "bases": table,
        }

    def _left(self, x):
        """Share of the energy that the first coefficients leave, by boundary.

        Components belong to blocks as they are: nothing is said of them.

        Args:
            x: `(H_kv, N, T, D)`.

        Returns:
            Dict of boundary to a list with one number a head.
        """
        if self.basis == PCA:
            return {}
        whole = self._fixed(self.block)
        mirrored = blockwise.block_rows(self._fixed(2 * self.block), "even")
        found = {}
        for name, rows, boundary in (
            ("none", whole, "none"),
            ("lapped", whole, "lapped"),
            ("even", mirrored, "none"),  # with these rows it is that
        ):
            if boundary == "lapped" and self.block % 2:
                continue
            kept = rows[: self.keep]
            coefficients = blockwise.forward(x, kept, boundary)
            back = blockwise.inverse(coefficients, kept, x.shape[2], boundary)
            error = np.square(ops.convert_to_numpy(back) - x).mean((1, 2, 3))
            found[name] = (error / np.square(x).mean((1, 2, 3))).tolist()
        return found


def summary(rows):
    """Means over layers and heads of each kind, and how often each is picked.

    Args:
        rows: Of `diagnose`.

    Returns:
        Dict of kind to a dict with the numbers of a row, `bases`, `left`,
        `heads` and, of each basis, how often it was `picked`.
    """
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        found[kind] = {
            "heads": len(own),
            **{
                name: _mean([row[name] for row in own])
                for name, value in own[0].items()
                if isinstance(value, (dict, float))
            },
            **{
                name: dict(collections.Counter(row[name] for row in own))
                for name in ("picked", "picked_fixed")
            },
        }
    return found


def _mean(values):
    """The mean of numbers, or of dicts of them by key."""
    if isinstance(values[0], dict):
        return {key: _mean([v[key] for v in values]) for key in values[0]}
    return float(np.mean(values))
