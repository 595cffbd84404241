"""One part of the page: what one file, or one run, says."""

import dataclasses

from tfshrink.evaluation.table import format_cell


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as text, beside a caption.

    Args:
        caption: Above it.
        head: Headings.
        rows: Lists of strings, one a heading.
        text: Whether each column holds words, which begin at its left.
    """

    caption: str
    head: list
    rows: list
    text: list

    @classmethod
    def of(cls, caption, rows, columns, formats=None):
        """A table of dicts; columns that no row has a value of are left out.

        Args:
            caption: Above it.
            rows: List of dicts.
            columns: Dict of key: heading.
            formats: As `print_table` takes them.
        """
        formats = formats or {}
        used = {
            key: heading
            for key, heading in columns.items()
            if any(row.get(key) is not None for row in rows)
        }
        cells = [
            [format_cell(row.get(key), formats.get(key)) for key in used]
            for row in rows
        ]
        text = [
            any(isinstance(row.get(key), str) for row in rows) for key in used
        ]
        return cls(caption, list(used.values()), cells, text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """What one file, or one run, says.

    Args:
        kind: What it is: `"Search"`.
        place: Run folder or file it is of, as people know it.
        source: The files, as they were given.
        model: Name of the model, or `None` where the file does not say.
        lines: Sentences.
        charts: List of `Chart`.
        tables: List of `Table`.
        command: What made it, or `None`.
        environment: Dict of `evaluation.environment`, or `None`.
        reference: What full precision is, in words, or nothing.
        results: The dict of a `results.json`, for comparisons.
    """

    kind: str
    place: str
    source: str
    model: str | None = None
    lines: tuple = ()
    charts: tuple = ()
    tables: tuple = ()
    command: str | None = None
    environment: dict | None = None
    reference: str = ""
    results: dict | None = None

    @property
    def title(self):
        """Kind and place."""
        return f"{self.kind}: {self.place}"
