"""The tensors of a folder of safetensors files, read one at a time."""

import contextlib
import json

from tfshrink.errors import DAMAGE
from tfshrink.errors import UserError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_TYPES = ("F16", "BF16", "F32", "F64")


class SafetensorsFiles(contextlib.AbstractContextManager):
    """Opens the one file or the shards of a checkpoint; nothing is copied.

    Args:
        folder: Path of the folder.

    Raises:
        UserError: No safetensors, only pickles, a shard missing, or a file
            that is truncated or corrupt.

    Example:
        with SafetensorsFiles(folder) as files:
            files.read("model.norm.weight")
    """

    def __init__(self, folder):
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._slices = {}
        try:
            for path in weight_files(folder):
                self._open(path)
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *error):
        self._slices.clear()
        self._stack.close()

    def __contains__(self, name):
        return name in self._slices

    def file(self, name):
        """Returns the path of the file that holds tensor `name`."""
        return self._slices[name][0]

    def read(self, name, columns=slice(None)):
        """Returns a tensor, or a range of its last axis.

        Args:
            name: Name of the tensor.
            columns: Slice of the last axis; only that is read.
        """
        if name not in self:
            raise UserError(f"{self.folder}: expected a tensor `{name}`")
        path, handle = self._slices[name]
        view = handle.get_slice(name)
        if view.get_dtype() not in _TYPES:
            raise UserError(
                f"{path}: `{name}` must be of type {', '.join(_TYPES)}. "
                f"Received: {view.get_dtype()}"
            )
        rank = len(view.get_shape())
        return view[(slice(None),) * (rank - 1) + (columns,)]

    def shape(self, name):
        """Returns the stored shape of a tensor that is there."""
        return tuple(self._slices[name][1].get_slice(name).get_shape())

    def _open(self, path):
        import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
        import safetensors

        try:
            handle = self._stack.enter_context(
                safetensors.safe_open(path, framework="numpy")
            )
        except FileNotFoundError as error:
            raise UserError(
                f"{path}: expected the shard that {INDEX} lists"
            ) from error
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise UserError(
                f"{path}: expected a complete safetensors file. Received: "
                f"{error}"
            ) from error
        for name in handle.keys():
            self._slices[name] = (path, handle)


def weight_files(folder):
    """Returns the paths of a checkpoint's safetensors files.

    Raises:
        UserError: There are none; pickles are refused by name.
    """
    if (folder / INDEX).is_file():
        return _shards(folder / INDEX)
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    pickles = [p for p in sorted(folder.glob("*")) if is_pickle(p)]
    if pickles and not found:
        refuse_pickle(pickles[0])
    raise UserError(
        f"{folder}: expected {SINGLE} or {INDEX}. Received: a folder with "
        f"{len(found)} other safetensors files"
    )


def is_pickle(path):
    """Whether the name of `path` is that of a pickled checkpoint."""
    return path.suffix in _PICKLES


def refuse_pickle(path):
    """Raises the one answer to a pickled checkpoint."""
    raise UserError(
        f"{path}: expected safetensors. Received: a pickle, which can run "
        "any code when it is read; convert it with `save_pretrained` of "
        "transformers (safetensors is its default)"
    )


def _shards(index):
    values = read_json(index)
    names = values.get("weight_map")
    if not isinstance(names, dict) or not names:
        raise UserError(f"{index}: expected a dict `weight_map`")
    shards = sorted({str(name) for name in names.values()})
    for shard in shards:
        # A shard lies beside its index: nothing else is ever opened.
        if "/" in shard or "\\" in shard or shard.startswith("."):
            raise UserError(
                f"{index}: expected names of files in the same folder. "
                f"Received: {shard!r}"
            )
    return [index.parent / shard for shard in shards]


def read_json(path):
    """Returns the dict in a JSON file, or raises a `UserError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: expected a readable file. Received: {error.strerror}"
        ) from error
    except DAMAGE as error:
        raise UserError(
            f"{path}: expected JSON. Received: {error} (truncated?)"
        ) from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object")
    return values
