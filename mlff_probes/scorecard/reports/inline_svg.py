"""Figures as SVG that can stand in one HTML page with others."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mlff_probes.measure.styles import HOVER, own_settings

DENSE = 100
"""A scatter of more points than this becomes an image inside the drawing: smaller, and lighter to scroll."""

IMAGE_DPI = 144

NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
SETTINGS: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "mlff-probes", "font.sans-serif": ["DejaVu Sans"]}
"""Text stays text: smaller than outlines, found by a search, and set by the browser whatever its script. What a
browser takes for DejaVu Sans where it has none is narrower, so that it fits as well."""

QUOTE = '"'

# Inside a tag there is no raw < or >, inside a text neither: what these change is never the text of a figure.
TAG = re.compile(r"<[^<>]+>")
IDENTIFIER = re.compile(r'(\bid="|\bhref="#|\burl\(#)(?=[^")])')
IMAGE_ID = re.compile(r' id="[^"]*"')
LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


def inline(figure: Figure, label: str, prefix: str) -> str:
    """The `svg` element of a figure.

    Parameters
    ----------
    figure
        Cannot be used for anything else afterwards: its dense scatters are turned into images, its layout is fixed.
    label
        The text for a reader who does not see the figure.
    prefix
        Begins every id in the element, so that the ids of two figures differ.
    """
    for line in figure.findobj(Line2D):
        if np.size(line.get_xdata()) > DENSE and line.get_linestyle() == "None":
            line.set_rasterized(True)
    out = io.StringIO()
    with own_settings(SETTINGS):
        _lay_out(figure)
        figure.savefig(out, format="svg", dpi=IMAGE_DPI, metadata=NO_METADATA)
    text = out.getvalue()
    body = STYLE.sub("", text[text.index(">", text.index("<svg")) + 1 :])
    width, height = figure.get_size_inches()
    head = f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {72 * width:g} {72 * height:g}"'
    return f'{head} style="--width: {width:g}in">{TAG.sub(lambda tag: _slim(tag[0], prefix), body)}'


def _lay_out(figure: Figure) -> None:
    """Place the axes of a figure as `savefig` would, which draws the whole figure a second time in order to do so."""
    engine = figure.get_layout_engine()
    if engine is not None:
        canvas = FigureCanvasSVG(figure)  # its letters are as wide as those of the file
        figure.dpi = canvas.fixed_dpi
        engine.execute(figure)
        figure.set_layout_engine(None)


def _slim(tag: str, prefix: str) -> str:
    """A tag without names that nothing refers to, with ids that begin with `prefix`, and with short numbers."""
    if tag.startswith(said := f'<g id="{HOVER}'):
        return f"<g><title>{tag[len(said) : tag.rindex(QUOTE)]}</title>"
    if tag.startswith('<g id="') and tag.count('"') == 2:  # names of artists, to which nothing refers
        return "<g/>" if tag.endswith("/>") else "<g>"
    if tag.startswith("<image"):  # nothing refers to its id, and two of the same pixels have the same
        tag = IMAGE_ID.sub("", tag)
    tag = IDENTIFIER.sub(rf"\g<1>{prefix}-", tag.replace("xlink:href", "href"))
    return " ".join(LONG_NUMBER.sub(r"\1", tag).split())
