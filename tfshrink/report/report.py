"""One self-contained HTML page from what commands left."""

import pathlib

from tfshrink.errors import UserError
from tfshrink.files import atomic_write
from tfshrink.report.chart import FORMATS
from tfshrink.report.models import by_model
from tfshrink.report.page import page
from tfshrink.report.page import section_name
from tfshrink.report.places import read_place


def report(places, output, *, title="tfshrink report", figures=None):
    """Writes a page about folders and files of results.

    What is missing or damaged is left out, and named on the page.

    Args:
        places: Run folders, search folders, or files that commands wrote.
        output: HTML file.
        title: Its heading.
        figures: Folder that takes each figure as PNG and as SVG, or `None`.

    Returns:
        `(sections, problems)`: how many parts the page has, and a list of
        sentences about what was left out.

    Raises:
        UserError: Nothing of it can be shown.
    """
    sections, problems = [], []
    for place in places:
        more, wrong = read_place(place)
        sections += more
        problems += wrong
    if not sections:
        raise UserError(
            "; ".join(problems)
            or "A run folder, or a file of results, must be given. Received: "
            "none"
        )
    models = by_model(sections)
    text = page(models, problems, title)
    with atomic_write(output, "wb") as file:
        # JSON may hold half a character, which UTF-8 does not know.
        file.write(text.encode("utf-8", "replace"))
    if figures:
        _save(models, pathlib.Path(figures))
    return sum(len(model.sections) for model in models), problems


def _save(models, folder):
    for model in models:
        for number, section in enumerate(model.sections, 1):
            name = section_name(section, number)
            for chart in section.charts:
                for kind in FORMATS:
                    chart.save(folder / f"{name}-{chart.name}.{kind}")
