"""What a run trains, on disk: safetensors, never pickles."""

import os

import numpy as np

from tfshrink.errors import UserError
from tfshrink.files import atomic_write
from tfshrink.layer_groups import ENCODER
from tfshrink.layer_groups import EXIT
from tfshrink.models.folds import folds
from tfshrink.models.folds import set_folds
from tfshrink.models.ordering import orders
from tfshrink.models.ordering import set_orders

TRAINED = ("/quantizer/", "/adapters/", "norm/", "/exit_")
FOLD = "fold/"  # before the name of a layer group whose inputs are scaled
ORDER = "order/"  # before `block_00/heads` and the like


def variable_name(variable):
    """Path of a variable below the model: `block_00/mlp/up/kernel`."""
    parts = variable.path.split("/")
    roots = ("embedding", "positions", "final_norm", "head")
    while parts and parts[0] not in roots:
        if parts[0].startswith(("block_", ENCODER, EXIT)):
            break
        parts = parts[1:]
    return "/".join(parts)


def save_tensors(path, tensors, metadata=None):
    """Writes arrays as one safetensors file, whole or not at all.

    Args:
        path: The file.
        tensors: Name to NumPy array.
        metadata: Dict of strings.
    """
    from safetensors.numpy import save

    data = save(
        # Not `ascontiguousarray`: it would make a vector of a scalar.
        {name: np.asarray(value, order="C") for name, value in tensors.items()},
        metadata={k: str(v) for k, v in (metadata or {}).items()},
    )
    with atomic_write(path, "wb") as file:
        file.write(data)


def load_tensors(path):
    """Reads a file of `save_tensors`.

    Returns:
        `(tensors, metadata)`.

    Raises:
        UserError: naming the file, when it is missing or damaged.
    """
    from safetensors import safe_open

    if not os.path.exists(path):
        raise UserError(f"`checkpoint` must exist. Received: {path}")
    try:
        with safe_open(str(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, dict(file.metadata() or {})
    except Exception as error:  # safetensors has an error type of its own
        raise UserError(
            f"{path} must be a whole safetensors file. Received: {error}"
        ) from error


def save_model(path, model, metadata=None, *, weights=False):
    """Saves scales, codes, adapters, norms, exits, folds and orders.

    Latent codes are stored as the integers they round to; codes of at most
    4 bits take half a byte.

    Args:
        path: The file.
        model: Built `Decoder`.
        metadata: Dict of strings.
        weights: Whether to save the shared weights as well, for a run that
            trains them.
    """
    tensors = {FOLD + name: scale for name, scale in folds(model).items()}
    for name, order in orders(model).items():
        tensors[ORDER + name] = order
    for variable in model.variables:
        name = variable_name(variable)
        if name.endswith("/quantizer/bank"):
            tensors[name] = _pack(_integers(model, variable))
        elif weights or _is_trained(name):
            tensors[name] = np.asarray(variable)
    save_tensors(path, tensors, metadata)


def load_model_state(path, model):
    """Restores a file of `save_model` into a model of the same structure.

    The exits of a model are left as they are by a file that has none.

    Args:
        path: The file.
        model: Built `Decoder` with the weights of its source.

    Returns:
        The metadata.

    Raises:
        UserError: the file is damaged or belongs to another structure.
    """
    tensors, metadata = load_tensors(path)
    scales, places = _named(FOLD, tensors), _named(ORDER, tensors)
    own = {variable_name(v): v for v in model.variables}
    wanted = {name for name in own if _is_trained(name)}
    if not any(name.startswith(EXIT) for name in tensors):
        wanted = {name for name in wanted if not name.startswith(EXIT)}
    wrong = sorted((wanted - set(tensors)) | (set(tensors) - set(own)))
    if wrong:
        raise UserError(
            f"{path} must hold what this model trains. Wrong: {wrong[0]} and "
            f"{len(wrong) - 1} more"
        )
    set_orders(model, places)
    set_folds(model, scales, norms=False)  # the norms were saved folded
    for name, value in tensors.items():
        variable = own[name]
        if name.endswith("/quantizer/bank"):
            value = _unpack(value, variable.shape)
        if tuple(value.shape) != tuple(variable.shape):
            raise UserError(
                f"{path}: {name} must have shape {tuple(variable.shape)}. "
                f"Received: {tuple(value.shape)}"
            )
        variable.assign(value)
    return metadata


def holds_exits(path):
    """Whether a file of `save_model` holds exits."""
    return any(name.startswith(EXIT) for name in load_tensors(path)[0])


def _named(prefix, tensors):
    """Takes the tensors of a prefix out of a dict."""
    return {
        name.removeprefix(prefix): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(prefix)
    }


def _is_trained(name):
    return any(part in f"/{name}" for part in TRAINED)


def _integers(model, variable):
    """A bank as int8, latent or not."""
    values = np.asarray(variable)
    if values.dtype == np.int8:
        return values
    widths = model.precision.banked
    out = np.empty(values.shape, "int8")
    for row, bits in enumerate(widths):
        high = 2 ** (bits - 1) - 1
        low = -2 if bits == 2 else -high
        out[row] = np.clip(np.round(values[row]), low, high)
    return out


def _pack(codes):
    """Two codes a byte where all fit in four bits."""
    if codes.min() < -8 or codes.max() > 7 or codes.shape[-1] % 2:
        return codes
    low = codes[..., 0::2].view("uint8") & 15
    high = codes[..., 1::2].view("uint8") << 4
    return low | high


def _unpack(stored, shape):
    if stored.dtype == np.int8:
        return stored
    out = np.empty(tuple(shape), "int8")
    signed = stored.view("int8")
    out[..., 0::2] = (signed << 4) >> 4
    out[..., 1::2] = signed >> 4
    return out
