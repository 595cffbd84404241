"""Sections as one HTML page that holds everything in itself."""

import datetime
import json
import pathlib
import re

import tfshrink
from tfshrink.report import theme
from tfshrink.report.inline_svg import with_ids

HERE = pathlib.Path(__file__).parent


def page(models, problems, title):
    """The text of the page.

    Args:
        models: List of `Model`.
        problems: Sentences about what could not be shown.
        title: Its heading.

    Returns:
        HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [
        {
            "heading": model.heading,
            "reference": model.reference,
            "sections": [
                {"id": section_name(own, number), "own": own}
                for number, own in enumerate(model.sections, 1)
            ],
        }
        for model in models
    ]
    return environment.get_template("page.html").render(
        title=title,
        version=tfshrink.__version__,
        date=datetime.date.today().isoformat(),
        models=shown,
        problems=problems,
        light=theme.LIGHT,
        dark=theme.DARK,
        drawn=_drawn,
        versions=_versions,
    )


def section_name(section, number):
    """Letters, digits and hyphens that name a section and its files.

    Args:
        section: `Section`.
        number: Of the section among those of its model.
    """
    text = f"{section.model or 'all'}-{number}-{section.kind}-{section.place}"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80]


def _drawn(chart, name):
    """A chart as the page has it."""
    import markupsafe

    svg, tips = chart.drawn
    svg = with_ids(svg, f"{name}-{chart.name}-")
    return {
        "svg": markupsafe.Markup(svg),  # Matplotlib's, which escapes text
        "tips": json.dumps(tips, ensure_ascii=False, separators=(",", ":")),
    }


def _versions(environment):
    """Rows of what an environment says."""
    versions = environment.get("versions") or {}
    rows = [
        (key, environment[key])
        for key in ("device", "cores", "system", "backend")
        if environment.get(key)
    ]
    return rows + sorted(versions.items())
