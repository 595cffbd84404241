import numpy as np
from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.data.pack import pack
from tfshrink.data.pack import tokenize
from tfshrink.data.pack import windows
from tfshrink.errors import UserError


class Characters:
    """One token a character."""

    def encode(self, text, add_special_tokens=True):
        return [0] * add_special_tokens + [ord(letter) for letter in text]


class PackTest(TestCase):
    def test_tokenize_adds_no_special_tokens(self):
        lists = tokenize(["ab", ""], Characters())
        self.assertAllEqual(lists[0], [97, 98])
        self.assertEmpty(lists[1])
        self.assertEqual(lists[0].dtype, np.int32)

    def test_packed_by_hand(self):
        examples = pack([[1, 2, 3], [4, 5], [6, 7, 8, 9]], 4, separator=0)
        self.assertAllEqual(
            examples.tokens, [[1, 2, 3, 0], [4, 5, 0, 6], [7, 8, 9, 0]]
        )
        self.assertAllEqual(examples.mask, [[0, 1, 1, 1]] * 3)
        self.assertEqual(examples.tokens.dtype, np.int32)
        self.assertEqual(examples.mask.dtype, np.float32)
        self.assertEqual(examples.targets, 9)

    def test_packed_leaves_out_what_fills_no_row(self):
        self.assertLen(pack([list(range(10))], 4, separator=0), 2)

    def test_packed_prompts_never_count(self):
        examples = pack(
            [[1, 2, 3], [4, 5, 6]], 8, separator=0, prompt_lengths=[2, 1]
        )
        self.assertAllEqual(examples.tokens, [[1, 2, 3, 0, 4, 5, 6, 0]])
        self.assertAllEqual(examples.mask, [[0, 0, 1, 1, 0, 1, 1, 1]])

    def test_padded_by_hand(self):
        examples = pack(
            [[1, 2, 3, 4, 5, 6], [7, 8], [9]],
            4,
            separator=0,
            mode="padded",
        )
        self.assertAllEqual(
            examples.tokens, [[1, 2, 3, 4], [7, 8, 0, 0], [9, 0, 0, 0]]
        )
        # The separator that ends a document counts, the padding does not.
        self.assertAllEqual(
            examples.mask, [[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 0, 0]]
        )

    def test_padded_cuts_the_prompt_before_the_answer(self):
        examples = pack(
            [[1, 2, 3, 4, 5, 8, 9], [1, 8], [5, 6, 7, 8, 9, 9]],
            5,
            separator=0,
            mode="padded",
            prompt_lengths=[5, 1, 0],
        )
        self.assertAllEqual(
            examples.tokens,
            [[4, 5, 8, 9, 0], [1, 8, 0, 0, 0], [5, 6, 7, 8, 9]],
        )
        self.assertAllEqual(
            examples.mask, [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0, 1, 1, 1, 1]]
        )

    def test_padded_drops_rows_without_a_target(self):
        examples = pack([[], [1, 2]], 4, separator=0, mode="padded")
        self.assertAllEqual(examples.tokens, [[1, 2, 0, 0]])

    def test_bad_input(self):
        with self.assertRaisesRegex(UserError, "has 4 tokens.* at least 512"):
            pack([[1, 2, 3]], 512, separator=0)
        with self.assertRaisesRegex(UserError, "empty"):
            pack([[]], 8, separator=0, mode="padded")
        with self.assertRaisesRegex(UserError, "Did you mean `padded`"):
            pack([[1]], 2, separator=0, mode="paded")
        with self.assertRaisesRegex(UserError, "`context` must be at least 2"):
            pack([[1]], 1, separator=0)
        with self.assertRaisesRegex(ValueError, "one entry per document"):
            pack([[1]], 2, separator=0, prompt_lengths=[])

    @parameterized.parameters(
        (100, 16, 8), (100, 16, 15), (16, 16, 4), (17, 16, 1), (101, 16, 5)
    )
    def test_windows_count_each_target_once(self, length, context, stride):
        examples = windows(np.arange(length), context, stride)
        counted = examples.tokens[examples.mask > 0]
        self.assertAllEqual(np.sort(counted), np.arange(1, length))
        # Rows are stretches of the stream: values are positions.
        self.assertAllEqual(
            examples.tokens - examples.tokens[:, :1],
            np.tile(np.arange(context), (len(examples), 1)),
        )

    def test_windows_leave_enough_before_each_target(self):
        examples = windows(np.arange(100), 16, 6)
        first = examples.mask[1:].argmax(axis=1)
        self.assertGreaterEqual(first.min(), 16 - 6)

    def test_windows_by_hand(self):
        examples = windows([5, 6, 7, 8, 9, 4], 4, 1)
        self.assertAllEqual(
            examples.tokens, [[5, 6, 7, 8], [6, 7, 8, 9], [7, 8, 9, 4]]
        )
        self.assertAllEqual(
            examples.mask, [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
        )

    def test_windows_of_bad_sizes(self):
        with self.assertRaisesRegex(UserError, "has 3 tokens.* at least 4"):
            windows([1, 2, 3], 4, 2)
        for stride in (0, 4):
            with self.assertRaisesRegex(UserError, "`stride` must be between"):
                windows(np.arange(9), 4, stride)
