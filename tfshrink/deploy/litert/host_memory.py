"""NumPy arrays as LiteRT's inputs and outputs, in place and of any rank.

LiteRT's Python binding gives host memory one dimension, and LiteRT refuses it
for a tensor of more; a reshape in the graph copies what it reads. So buffers
are made by the C interface of the same package, which takes a shape.
"""

import ctypes
import functools
import pathlib
import weakref

from tfshrink.errors import UserError

_TYPES = {"float32": 1, "int32": 2}  # LiteRtElementType
_NAME = b"LiteRtTensorBuffer"  # of the capsules that the binding takes


class _Layout(ctypes.Structure):
    _fields_ = [
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    ]


class _TensorType(ctypes.Structure):
    _fields_ = [("element_type", ctypes.c_int), ("layout", _Layout)]


def bind(array):
    """A `TensorBuffer` over the memory of an array, of the array's shape.

    Args:
        array: Contiguous float32 or int32, at a multiple of 64 bytes. It has to
            outlive the buffer.

    Raises:
        UserError: the installed LiteRT has another interface.
    """
    from ai_edge_litert.tensor_buffer import TensorBuffer

    library = _library()
    kind = _TensorType(_TYPES[str(array.dtype)])
    kind.layout.rank = array.ndim
    kind.layout.dimensions[: array.ndim] = array.shape
    pointer = ctypes.c_void_p()
    status = library.LiteRtCreateTensorBufferFromHostMemory(
        ctypes.byref(kind),
        ctypes.c_void_p(array.ctypes.data),
        ctypes.c_size_t(array.nbytes),
        None,  # LiteRT does not free it
        ctypes.byref(pointer),
    )
    if status:
        raise RuntimeError(f"LiteRT refused {array.shape}: status {status}")
    buffer = TensorBuffer(_capsule()(pointer, _NAME, None))
    weakref.finalize(buffer, library.LiteRtDestroyTensorBuffer, pointer)
    if tuple(buffer.get_tensor_details()["shape"]) != array.shape:
        raise UserError(
            "`ai-edge-litert` must be of the version that tfshrink[deploy] "
            "installs: what is installed lays out tensors in another way"
        )
    return buffer


@functools.cache
def _library():
    """LiteRT's C interface."""
    import ai_edge_litert

    folder = pathlib.Path(ai_edge_litert.__file__).parent
    found = sorted(folder.glob("*LiteRt.*"))
    if not found:
        raise UserError(
            "`ai-edge-litert` must be of the version that tfshrink[deploy] "
            "installs: what is installed has no library libLiteRt"
        )
    return ctypes.CDLL(str(found[0]))


@functools.cache
def _capsule():
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new
