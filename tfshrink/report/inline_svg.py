"""Matplotlib's SVG as an element of a page, in the page's colours."""

import html
import io
import re

from tfshrink.report.theme import LIGHT

_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_DROPPED = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", re.DOTALL
)
_SIZE = re.compile(r'<svg[^>]*?viewBox="([^"]+)"[^>]*>', re.DOTALL)
_ID = re.compile(r' id="([^"]+)"')
_USED = re.compile(r'(?:href="#|url\(#)([^")]+)')
_FAMILY = re.compile(r"font-family: [^;\"]*; ?")


def inline_svg(figure, alt):
    """The text of a figure's `<svg>` element.

    Its colours become variables of the page's style, so that it follows light
    and dark; what only a file of its own needs is left out.

    Args:
        figure: Matplotlib's.
        alt: What it shows, in words.

    Returns:
        A string.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor="none")
    text = _HEAD.sub("", buffer.getvalue(), count=1)
    text = _DROPPED.sub("", text)
    text = _SIZE.sub(
        lambda found: (
            f'<svg viewBox="{found[1]}" role="img" '
            f'aria-label="{html.escape(alt)}" '
            'xmlns:xlink="http://www.w3.org/1999/xlink">'
        ),
        text,
        count=1,
    )
    used = set(_USED.findall(text))
    text = _ID.sub(lambda found: found[0] if found[1] in used else "", text)
    text = _FAMILY.sub("", text)  # it is the page's
    for name, color in LIGHT.items():
        text = text.replace(color, f"var(--{name})")
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def with_ids(svg, prefix):
    """The same element with ids that begin with `prefix`, a figure's own."""
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
