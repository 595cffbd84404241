import pathlib
import types
from unittest import mock

import numpy as np

from tests.test_case import TestCase
from tfshrink.deploy.litert import host_memory
from tfshrink.deploy.litert.host_memory import bind
from tfshrink.errors import UserError


def aligned(*shape):
    raw = np.zeros(4 * int(np.prod(shape)) + 64, "uint8")
    start = -raw.ctypes.data % 64
    size = 4 * int(np.prod(shape))
    return raw[start : start + size].view("float32").reshape(shape)


class HostMemoryTest(TestCase):
    def test_a_buffer_has_the_shape_and_the_memory_of_its_array(self):
        array = aligned(2, 3, 4)
        buffer = bind(array)
        details = buffer.get_tensor_details()
        self.assertEqual(tuple(details["shape"]), (2, 3, 4))
        self.assertEqual(details["dtype"], "float32")
        array[1, 2, 3] = 7.0
        self.assertEqual(buffer.read(24, np.float32)[-1], 7.0)
        buffer.write(np.arange(24, dtype="float32").reshape(2, 3, 4))
        self.assertAllEqual(array.reshape(-1), np.arange(24))

    def test_integers_are_integers(self):
        details = bind(aligned(5).view("int32")).get_tensor_details()
        self.assertEqual(details["dtype"], "int32")

    def test_memory_outlives_its_buffer(self):
        array = aligned(6, 4)
        array[:] = 3.0
        del_me = bind(array)
        del del_me
        self.assertAllEqual(array, np.full((6, 4), 3.0))

    def test_another_interface_is_one_error(self):
        other = types.SimpleNamespace(shape=(24,))
        with (
            mock.patch(
                "ai_edge_litert.tensor_buffer.TensorBuffer.get_tensor_details",
                lambda buffer: vars(other),
            ),
            self.assertRaisesRegex(UserError, "`ai-edge-litert` must be"),
        ):
            bind(aligned(2, 3, 4))

    def test_a_missing_library_is_one_error(self):
        host_memory._library.cache_clear()
        self.addCleanup(host_memory._library.cache_clear)
        with (
            mock.patch.object(pathlib.Path, "glob", lambda *_: []),
            self.assertRaisesRegex(UserError, "has no library"),
        ):
            bind(aligned(2))
