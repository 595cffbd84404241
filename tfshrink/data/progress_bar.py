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


@contextlib.contextmanager
def counting_bar(label, total):
    """A bar that is told what was done since, and adds it up.

    Args:
        label: As in `progress_bar`.
        total: The same; without it there is no bar.

    Yields:
        Function of the rows and tokens that were done since its last call, or
        `None`.
    """
    if not total:
        yield None
        return
    done = [0, 0]
    with progress_bar(label, total) as show:

        def on_rows(rows, tokens):
            done[0] += rows
            done[1] += tokens
            show(*done)

        yield on_rows
