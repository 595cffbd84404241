"""A plain text file of what a study did, and when."""

import pathlib
import time


class StudyLog:
    """Writes lines with local time and the seconds since the first one.

    Args:
        path: File that is begun anew; missing folders are made.

    Call arguments:
        text: One line, written at once.
    """

    def __init__(self, path):
        self._path = pathlib.Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("", encoding="utf-8")
        self._start = time.monotonic()

    def __call__(self, text):
        seconds = time.monotonic() - self._start
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {seconds:8.1f} s  {text}\n")
