"""Rows of dicts as a table: for a terminal, or in Markdown."""

import numbers

# What letters that mean something to LaTeX are written as.
LATEX = {
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
}


def print_table(rows, columns=None, *, title=None, formats=None):
    """Prints rows as a table on standard output.

    Args:
        rows: List of dicts, one a row.
        columns: Keys to show in order, or a dict of key: heading. By
            default every key there is, in order of appearance.
        title: A line above the table.
        formats: Dict of key: format specification (`".2f"`) or function
            of the value.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    headings = _headings(rows, columns)
    table = Table(title=title, title_justify="left")
    for key, heading in headings.items():
        justify = "right" if _is_numeric(rows, key) else "left"
        table.add_column(Text(heading), justify=justify, overflow="fold")
    for row in _cells(rows, headings, formats):
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width: lines are as long as they are.
        wide = Console(width=10_000)
        console = Console(width=max(80, wide.measure(table).maximum))
    console.print(table)


def markdown_table(rows, columns=None, *, formats=None):
    """The rows as a Markdown table, for the README and reports.

    Args:
        rows: List of dicts, one a row.
        columns: Keys to show in order, or a dict of key: heading.
        formats: As in `print_table`.

    Returns:
        The lines of the table in one string.
    """
    headings = _headings(rows, columns)
    rules = ["--:" if _is_numeric(rows, key) else "---" for key in headings]
    lines = [list(headings.values()), rules, *_cells(rows, headings, formats)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |"
        for line in lines
    )


def latex_table(rows, columns=None, *, formats=None):
    """The rows as a LaTeX `tabular` with rules of `booktabs`, for papers.

    Args:
        rows: As in `markdown_table`, like the next two.
        columns: Keys, or keys with headings.
        formats: How values are written.

    Returns:
        The lines of the table in one string.
    """
    headings = _headings(rows, columns)
    sides = ["r" if _is_numeric(rows, key) else "l" for key in headings]
    lines = [list(headings.values()), *_cells(rows, headings, formats)]
    first, *rest = (
        " & ".join(map(_latex_text, line)) + r" \\" for line in lines
    )
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join(sides)}}}",
            r"\toprule",
            first,
            r"\midrule",
            *rest,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _latex_text(text):
    return "".join(LATEX.get(letter, letter) for letter in text)


def format_cell(value, how=None):
    """One value as text: four digits, thousands apart, `–` for nothing.

    Args:
        value: Number, string, boolean or `None`.
        how: Format specification or function; see `print_table`.
    """
    if value is None:
        return "–"
    if callable(how):
        return how(value)
    if how is not None:
        return format(value, how)
    if not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _headings(rows, columns):
    if isinstance(columns, dict):
        return columns
    if columns is None:
        columns = dict.fromkeys(key for row in rows for key in row)
    return {key: key.replace("_", " ") for key in columns}


def _cells(rows, headings, formats):
    formats = formats or {}
    return [
        [format_cell(row.get(key), formats.get(key)) for key in headings]
        for row in rows
    ]


def _is_numeric(rows, key):
    values = [row[key] for row in rows if row.get(key) is not None]
    return bool(values) and all(
        isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values
    )
