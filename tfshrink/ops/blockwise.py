"""A basis applied to a sequence block by block, and what happens between."""

import functools

import numpy as np
from keras import ops

from tfshrink.errors import unknown_choice
from tfshrink.errors import UserError
from tfshrink.ops.transforms import dct_basis
from tfshrink.ops.transforms import LEAST

BLOCKS = (LEAST, 128)  # samples, from and to
BOUNDARIES = {
    "none": "blocks know nothing of each other",
    "lapped": "neighbours overlap by half a block on either side",
    "even": "each block is continued by its mirror image",
}


def forward(x, basis, boundary="none"):
    """Coefficients of a sequence, block by block.

    Where the length is no multiple of the block, the last token is repeated
    until it is. All treatments are orthonormal: with a whole basis, squares
    sum to those of the sequence (its repeated tokens included) and `inverse`
    gives the sequence back.

    Args:
        x: `(..., T, C)`, floating.
        basis: NumPy `(K, n)`, orthonormal rows; n is the block, which "lapped"
            wants even. For "even" n is twice the block and each row equals its
            mirror image or the negative of it; the K rows that count are the
            former.
        boundary: One of `BOUNDARIES`.

    Returns:
        `(..., M, K, C)`: M blocks, of the type of `x`.

    Raises:
        UserError: An unknown treatment, a block out of range, or a basis the
            treatment cannot use.

    Reference: for "lapped", Tran, Liang and Tu, Lapped transform via
        time-domain pre- and post-filtering, 2003: the filter of Malvar's LOT,
        which leaves constants as they are.
    """
    rows = block_rows(basis, boundary)
    block = rows.shape[1]
    x = ops.convert_to_tensor(x)
    missing = -x.shape[-2] % block
    if missing:
        last = ops.repeat(x[..., -1:, :], missing, axis=-2)
        x = ops.concatenate([x, last], axis=-2)
    if boundary == "lapped":
        x = _filtered(x, lap(block))
    return ops.matmul(ops.cast(rows, x.dtype), _split(x, block))


def inverse(coefficients, basis, length, boundary="none"):
    """The sequence of coefficients.

    Args:
        coefficients: `(..., M, K, C)` of `forward`.
        basis: As in `forward`. With fewer rows than samples, what comes back
            is the nearest sequence that they can make.
        length: Tokens T of the sequence; those repeated go.
        boundary: As in `forward`.

    Returns:
        `(..., T, C)`.
    """
    coefficients = ops.convert_to_tensor(coefficients)
    rows = ops.cast(block_rows(basis, boundary), coefficients.dtype)
    x = _joined(ops.matmul(ops.transpose(rows), coefficients))
    if boundary == "lapped":
        x = _filtered(x, lap(rows.shape[1]).T)
    return x[..., :length, :]


def block_rows(basis, boundary="none"):
    """The rows that meet a block, `(K, block)`; see `forward`."""
    if boundary not in BOUNDARIES:
        raise unknown_choice("boundary", boundary, BOUNDARIES)
    rows = _even_half(basis) if boundary == "even" else np.asarray(basis)
    count, block = rows.shape
    least, most = BLOCKS
    if not least <= block <= most:
        raise UserError(
            f"`block` must be between {least} and {most} samples. "
            f"Received: {block}"
        )
    if count > block:
        raise UserError(
            f"`basis` must have at most {block} functions, the samples of a "
            f"block. Received: {count}"
        )
    if boundary == "lapped" and block % 2:
        raise UserError(
            f"`block` must be even where blocks overlap. Received: {block}"
        )
    return rows


def _even_half(basis):
    """Half of the rows that equal their mirror image, of unit norm again."""
    basis = np.asarray(basis)
    mirrored = basis[:, ::-1]
    even = np.isclose(basis, mirrored, atol=1e-8).all(axis=1)
    odd = np.isclose(basis, -mirrored, atol=1e-8).all(axis=1)
    if basis.shape[1] % 2 or not (even | odd).all() or not even.any():
        raise UserError(
            "`basis` must have even and odd functions of an even number of "
            "samples where blocks are mirrored. "
            f"Received: shape {basis.shape}, {even.sum()} even, {odd.sum()} odd"
        )
    return basis[even, : basis.shape[1] // 2] * np.sqrt(2)


@functools.lru_cache(maxsize=8)
def lap(block):
    """The filter across the end of a block, `(block, block)` orthonormal.

    It takes half a block on either side. What both have in common passes;
    their difference is turned by V = J C2' C4 J, of the DCTs II and IV.

    Args:
        block: Samples of a block, even.
    """
    half = block // 2
    places = np.arange(half) + 0.5
    fourth = np.cos(np.pi / half * np.outer(places, places))
    fourth *= np.sqrt(2 / half)
    turn = (dct_basis(half).T @ fourth)[::-1, ::-1]
    one, mirror = np.eye(half), np.eye(half)[::-1]
    butterfly = np.block([[one, mirror], [mirror, -one]]) / np.sqrt(2)
    inner = np.eye(block)
    inner[half:, half:] = turn
    return butterfly @ inner @ butterfly


def _filtered(x, matrix):
    """Applies a matrix across every place where two blocks meet."""
    block = len(matrix)
    half = block // 2
    if x.shape[-2] == block:
        return x
    inner = _split(x[..., half:-half, :], block)
    inner = _joined(ops.matmul(ops.cast(matrix, x.dtype), inner))
    ends = x[..., :half, :], x[..., -half:, :]
    return ops.concatenate([ends[0], inner, ends[1]], axis=-2)


def _split(x, block):
    """From `(..., M n, C)` to `(..., M, n, C)`."""
    *outer, length, channels = ops.shape(x)
    return ops.reshape(x, (*outer, length // block, block, channels))


def _joined(x):
    """From `(..., M, n, C)` to `(..., M n, C)`."""
    *outer, blocks, block, channels = ops.shape(x)
    return ops.reshape(x, (*outer, blocks * block, channels))
