"""The one progress bar of long work on text."""

import contextlib


@contextlib.contextmanager
def progress_bar(label, total):
    """Shows rows done, tokens/s and the time that is left, on stderr.

    Args:
        label: What is being done.
        total: Rows.

    Yields:
        Callable: (rows done, tokens made so far). The bar appears with the
        first call, so that an error before it is alone on the screen.
    """
    from rich.console import Console
    from rich.progress import BarColumn
    from rich.progress import MofNCompleteColumn
    from rich.progress import Progress
    from rich.progress import TextColumn
    from rich.progress import TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(label, total=total, speed=0.0)

    def update(done, tokens):
        bar.start()
        seconds = bar.tasks[task].elapsed or 1.0
        bar.update(task, completed=done, speed=tokens / seconds)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()
