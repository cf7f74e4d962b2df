"""An SVG file as part of a page: ids of its own, and colors that follow the page's light or dark theme."""

import re
from html import escape
from pathlib import Path

from .figures.style import HEADLINE, HEADLINE_POINTS, THEME
from .pictures import SHARP_BELOW, smaller

PIXEL_LOOK = 'style="image-rendering:crisp-edges;image-rendering:pixelated"'
SCALE, LEAST = 1.12, 0.62  # size on a wide page, and the share of it below which a narrow page scrolls instead


def inline_svg(path: Path, prefix: str, label: str) -> str:
    """The <svg> of a figure for an HTML page; `prefix` keeps its ids apart, `label` is read aloud in its place."""
    text = path.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style .*?</style>", "", text, flags=re.S)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None  # matplotlib writes one
    width, height = map(float, box.groups())
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    # The page has a heading of its own over each figure.
    top = HEADLINE_POINTS if f'<g id="{HEADLINE}">' in body else 0
    body = re.sub(rf'<g id="{HEADLINE}">.*?</g>', "", body, flags=re.S)
    body = body.replace("xlink:href", "href")
    # Only what is referred to keeps an id, and one that no other figure has.
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{prefix}-{match.group(1)}"' if match.group(1) in used else "", body)
    body = body.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    body = re.sub(r"<image [^>]*>", _smooth_photo, body)
    # The white sheets behind the figure and its axes let the page shine through.
    body = body.replace("fill: #ffffff", "fill: none")
    body = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _themed, body)
    body = re.sub(r">\s+<", "><", body)
    pixels = width * 96 / 72 * SCALE
    return (
        f'<svg viewBox="0 {top} {width:g} {height - top:g}" role="img" '
        f'style="max-width:{pixels:.0f}px;min-width:{pixels * LEAST:.0f}px" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _themed(match: re.Match) -> str:
    name = THEME.get(match.group(2))
    return f"{match.group(1)}: var(--{name})" if name else match.group(0)


def _smooth_photo(match: re.Match) -> str:
    """A photo, which the browser may smooth and which need not be exact: figures/ holds the exact one."""
    tag = match.group(0)
    size = max(float(value) for value in re.findall(r'\b(?:width|height)="([\d.]+)"', tag))
    if size < SHARP_BELOW:
        return tag
    return re.sub(r"data:image/png;base64,[^\"]*", lambda found: smaller(found.group(0)), tag.replace(PIXEL_LOOK, ""))
