"""Pages put together from elements, every text escaped where it is put in; no script and no inline style is possible.

Small on purpose: the pages of the pretend EHR need no template engine.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

STYLE_PATH: Final = "/ehr.css"
_VOID: Final = frozenset({"input", "meta", "link", "br"})
_FORBIDDEN: Final = frozenset({"script", "style"})


class Html(str):
    """Text that is markup already. Only ``tag`` and ``join`` make it."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | int | bool | None) -> Html:
    """Give an element. Children that are not ``Html`` are escaped, None is left out.

    ``class_`` and ``for_`` are written without the line. Attributes: None and False are left out, True stands alone.
    Raises ``ValueError`` for elements and attributes the pages' CSP would refuse.
    """
    written = []
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if attribute == "style" or attribute.startswith("on"):
            raise ValueError(f"{attribute} is refused by the CSP")
        if value is True:
            written.append(f" {attribute}")
        elif value is not None and value is not False:
            written.append(f' {attribute}="{escape(str(value))}"')
    if name in _FORBIDDEN:
        raise ValueError(f"{name} is refused by the CSP")
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Give several texts and elements as one."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def page(
    title: str,
    *body: str | None,
    status: int = 200,
    forms: Iterable[str] = (),
    frames: Iterable[str] = (),
    framed_by: str = "'none'",
) -> HTMLResponse:
    """Give a whole page with its "TEST DATA" bar and its CSP.

    ``forms``: origins a form's answer may lead to besides this one; ``frames``: origins shown in a frame of the page
    (this one as well then, since a launch passes through it); ``framed_by``: who may frame the page.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} (TEST DATA)"),
        tag("link", rel="stylesheet", href=STYLE_PATH),
    )
    bar = tag("p", "TEST DATA: a pretend EHR. Nobody here is real.", class_="test-data", role="note")
    whole = tag("html", head, tag("body", bar, tag("main", *body)), lang="en")
    shown = list(frames)
    policy = {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "form-action": ["'self'", *forms],
        "frame-src": ["'self'", *shown] if shown else ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": [framed_by],
    }
    text = "; ".join(f"{name} {' '.join(values)}" for name, values in policy.items())
    return HTMLResponse(f"<!doctype html>\n{whole}", status, headers={"Content-Security-Policy": text})
