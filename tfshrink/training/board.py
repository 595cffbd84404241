"""TensorBoard events without TensorFlow."""

import time


class Board:
    """Writes numbers as TensorBoard scalars.

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

        summary = Summary(
            value=[
                Summary.Value(tag=tag, simple_value=float(value))
                for tag, value in _flat(values)
            ]
        )
        self._writer.add_event(
            Event(wall_time=time.time(), step=step, summary=summary)
        )

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
