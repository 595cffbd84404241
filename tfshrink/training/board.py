"""TensorBoard events without TensorFlow."""

import time

import numpy as np


class Board:
    """Writes numbers as TensorBoard scalars, arrays as histograms.

    Args:
        folder: Folder of the event file, or `None` to write nothing.
    """

    def __init__(self, folder):
        self._writer = None
        if folder is not None:
            from tensorboard.summary.writer.event_file_writer import (
                EventFileWriter,
            )

            self._writer = EventFileWriter(str(folder))

    def write(self, step, values):
        """Writes every number of a (nested) dict at `step`."""
        if self._writer is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=tag, simple_value=float(value))
            for tag, value in _flat(values)
        ]
        event = Event(
            wall_time=time.time(), step=step, summary=Summary(value=values)
        )
        self._writer.add_event(event)

    def write_histograms(self, step, values, bins=30):
        """Writes the distribution of every array of a (nested) dict at `step`.

        Args:
            step: Integer.
            values: Dict of arrays of finite numbers, none of them empty.
            bins: Equal parts between the smallest and the largest.
        """
        if self._writer is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import HistogramProto
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary()
        for tag, own in _flat(values):
            own = np.asarray(own, "float64").ravel()
            counts, edges = np.histogram(own, bins)
            histogram = HistogramProto(
                min=own.min(),
                max=own.max(),
                num=own.size,
                sum=own.sum(),
                sum_squares=(own**2).sum(),
                bucket_limit=edges[1:].tolist(),
                bucket=counts.tolist(),
            )
            summary.value.add(tag=tag, histo=histogram)
        event = Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)

    def close(self):
        """Flushes and closes the event file."""
        if self._writer is not None:
            self._writer.close()


def _flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        elif name != "step":
            yield prefix + name, value
