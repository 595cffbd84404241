import numpy as np
import pytest

from tests.test_case import TestCase
from tfshrink.data.tf_example import decode_example
from tfshrink.data.tf_example import encode_example


def tf_example(tf, features):
    """The same example made by TensorFlow."""
    lists = {}
    for name, values in features.items():
        if isinstance(values[0], bytes):
            value = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=values)
            )
        elif isinstance(values[0], float):
            value = tf.train.Feature(
                float_list=tf.train.FloatList(value=values)
            )
        else:
            value = tf.train.Feature(
                int64_list=tf.train.Int64List(value=values)
            )
        lists[name] = value
    return tf.train.Example(features=tf.train.Features(feature=lists))


class TfExampleTest(TestCase):
    features = {
        "text": ["Bună ziua".encode()],
        "many": [b"", b"a" * 300, b"\x00\xff"],
        "tokens": [0, 1, 127, 128, 49151, 2**40, -1, -(2**63), 2**63 - 1],
        "rates": [0.5, -1.25, 3e38],
    }

    def test_decode_matches_tensorflow(self):
        tf = pytest.importorskip("tensorflow")
        data = tf_example(tf, self.features).SerializeToString()
        decoded = decode_example(data)
        self.assertCountEqual(decoded, self.features)
        for name in ("text", "many"):
            self.assertEqual(decoded[name], self.features[name])
        self.assertEqual(decoded["tokens"].tolist(), self.features["tokens"])
        self.assertAllClose(
            decoded["rates"], np.float32(self.features["rates"])
        )

    def test_encode_matches_tensorflow(self):
        tf = pytest.importorskip("tensorflow")
        theirs = tf.train.Example.FromString(encode_example(self.features))
        self.assertEqual(theirs, tf_example(tf, self.features))

    def test_single_values(self):
        row = {"n": 7, "x": 0.5, "s": "é", "b": b"\x00", "empty": []}
        decoded = decode_example(encode_example(row))
        self.assertEqual(decoded["n"].tolist(), [7])
        self.assertEqual(decoded["x"].tolist(), [0.5])
        self.assertEqual(decoded["s"], ["é".encode()])
        self.assertEqual(decoded["b"], [b"\x00"])
        self.assertEmpty(decoded["empty"])
