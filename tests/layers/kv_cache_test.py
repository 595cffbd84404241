import keras
import numpy as np
from keras import ops

from tests.layers.layer_inputs import LLAMA
from tests.test_case import shapes_of
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink import backend
from tfshrink.layers.exact_kv import ExactKV
from tfshrink.layers.kv_cache import KVCache


class KVCacheTest(TestCase):
    def test_a_new_state_is_zeros_for_every_block(self):
        state = KVCache(LLAMA, 6, "bfloat16").create(3)
        self.assertEqual(shapes_of(state), (((3, 2, 6, 4),) * 2,) * 2)
        for keys, values in state:
            for x in (keys, values):
                kind = keras.backend.standardize_dtype(x.dtype)
                self.assertEqual(kind, "bfloat16")
                self.assertAllEqual(ops.cast(x, "float32"), np.zeros(x.shape))

    def test_columns_are_written_where_they_belong(self):
        store = ExactKV(LLAMA, 6)
        random = np.random.default_rng(0)
        append = backend.Compiled(store.append)
        state = store.create(3)
        expected = np.zeros((2, 3, 2, 6, 4))
        # Prefill writes several columns, decoding one.
        for column, length in ((0, 3), (3, 1), (5, 1), (1, 3)):
            new = random.normal(size=(2, 3, length, 2, 4)).astype("float32")
            state = append(state, *new, {"column": column})
            stop = column + length
            expected[:, :, :, column:stop] = new.transpose(0, 1, 3, 2, 4)
            self.assertAllEqual(
                np.stack([to_numpy(x) for x in state]), expected
            )
        self.assertEqual(append.traces, 2)
