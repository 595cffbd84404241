import numpy as np

from tests.exits import traces
from tests.test_case import TestCase


class TraceTest(TestCase):
    def test_the_last_layer_says_what_the_model_wrote(self):
        _, trace, rows = traces.of_tiny()
        for index, (prompt, row) in enumerate(
            zip(traces.PROMPTS, rows, strict=True)
        ):
            self.assertEqual(row[: len(prompt)], prompt)
            said = trace.last_token[index][trace.made[index]]
            self.assertEqual(said.tolist(), row[len(prompt) :])

    def test_steps_count_the_tokens_made(self):
        _, trace, rows = traces.of_tiny()
        for index, prompt in enumerate(traces.PROMPTS):
            steps = trace.step[index][trace.made[index]].tolist()
            self.assertEqual(steps, list(range(len(rows[index]) - len(prompt))))

    def test_an_exit_that_goes_on_like_the_model_is_as_surprised(self):
        # Its own block starts as the model's next one, which is the last.
        _, trace, _ = traces.of_tiny()
        last = trace.last_nats[trace.made]
        self.assertAllGreater(last, 0.0)
        self.assertAllClose(trace.nats[0][trace.made], last, atol=1e-4)

    def test_rows_can_be_taken(self):
        trace = traces.made_up()
        part = trace[np.array([3, 1])]
        self.assertLen(part, 2)
        self.assertAllEqual(part.right, trace.right[:, [3, 1]])
        self.assertAllEqual(part.last_nats, trace.last_nats[[3, 1]])
        for name, values in part.confidence.items():
            self.assertAllEqual(values, trace.confidence[name][:, [3, 1]])
