"""The EHR's style as custom properties of ``aftercare.css``: what fits is taken, everything else stays ours (ui §2).

    SMART style document (SMART App Launch 2.2, ``smart_style_url``) → a style sheet of custom properties

A colour is taken only if it can be read on what it stands on: text 4.5 : 1, lines 3 : 1 (WCAG 2.2 AA). What does not
match its strict pattern is left out, so nothing of a document ever stands in the sheet but colours, lengths and names
of fonts that were read and written anew. Pure.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Colour = tuple[int, int, int]

TEXT: Final = 4.5
LINE: Final = 3.0
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_COLOUR: Final = re.compile(r"#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})")
_LENGTH: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)(px|rem|em)")
_FONT: Final = re.compile(r"""(['"]?)([A-Za-z][A-Za-z0-9 -]{0,39})\1""")
_GENERIC: Final = frozenset({"serif", "sans-serif", "monospace", "system-ui", "ui-sans-serif", "ui-serif"})
_MOST_FONTS: Final = 8
_PX: Final = 16
# SMART's name → ours, with the least and the most in rem: letters no smaller than 14 px, room for fingers.
_LENGTHS: Final = {
    "dim_border_radius": ("radius", 0.0, 1.0),
    "dim_font_size": ("size", 0.875, 1.25),
    "dim_spacing_size": ("gap", 0.5, 1.5),
}
_FONTS: Final = {"font_family_body": "font", "font_family_heading": "heading"}
_ACCENTS: Final = {"color_highlight": "accent", "color_error": "danger", "color_success": "ok"}


def sheet(style: Mapping[str, Any]) -> str:
    """Give the style sheet for a style document; empty if nothing of it can be used."""
    shape = {**_lengths(style), **_families(style)}
    back = _colour(style.get("color_background"))
    own = _scheme_for(back) if back is not None else None
    if back is not None and own is not None:  # the EHR's background is the same by day and by night
        return _rule({**_on(back, style, own), "color-scheme": own, **shape})
    blocks = [_rule(shape)]
    for name, tokens in OWN.items():
        colours = _ours(style, tokens)
        if colours:
            blocks.append(f"@media (prefers-color-scheme: {name}) {{\n{_rule(colours)}}}\n")
    return "".join(blocks)


def contrast(one: Colour, other: Colour) -> float:
    """Give the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    parts = (each / 255 for each in colour)
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _scheme_for(back: Colour) -> str | None:
    """Give which of our own schemes can be read on a background, by its text; None: neither."""
    best = max(OWN, key=lambda name: contrast(OWN[name]["text"], back))
    return best if contrast(OWN[best]["text"], back) >= TEXT else None


def _on(back: Colour, style: Mapping[str, Any], own: str) -> dict[str, str]:
    """Give all colours for a background of the EHR's: what it says, else ours, else the text's own."""
    tokens = OWN[own]
    text = _readable(_colour(style.get("color_text")), (back,)) or tokens["text"]
    raised = _mixed(back, text, 0.04)
    backs = (back, raised) if contrast(text, raised) >= TEXT else (back,)
    raised = backs[-1]
    # Also those that the EHR says nothing about: the browser's scheme may be the other one.
    found = {**tokens, "back": back, "raised": raised, "text": text, "hair": _mixed(back, text, 0.16)}
    found["muted"] = _readable(tokens["muted"], backs) or text
    found["line"] = tokens["line"] if contrast(tokens["line"], back) >= LINE else text
    for theirs, name in _ACCENTS.items():
        found[name] = _readable(_colour(style.get(theirs)), backs) or _readable(tokens[name], backs) or text
    found["on-accent"] = _over(found["accent"])
    return {name: _hex(colour) for name, colour in found.items()}


def _ours(style: Mapping[str, Any], tokens: Mapping[str, Colour]) -> dict[str, str]:
    """Give the EHR's colours that can be read on our own background."""
    backs = (tokens["back"], tokens["raised"])
    said = {"text": style.get("color_text"), **{name: style.get(theirs) for theirs, name in _ACCENTS.items()}}
    found = {name: colour for name, given in said.items() if (colour := _readable(_colour(given), backs)) is not None}
    if "accent" in found:
        found["on-accent"] = _over(found["accent"])
    return {name: _hex(colour) for name, colour in found.items()}


def _readable(colour: Colour | None, backs: Iterable[Colour]) -> Colour | None:
    """Give a colour if text in it can be read on each of these."""
    return colour if colour is not None and all(contrast(colour, back) >= TEXT for back in backs) else None


def _over(colour: Colour) -> Colour:
    """Give black or white, whichever stands out more: one of them always has more than 4.5 : 1."""
    return max((_WHITE, _BLACK), key=lambda each: contrast(each, colour))


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _colour(given: Any) -> Colour | None:
    if not isinstance(given, str) or not _COLOUR.fullmatch(given.strip()):
        return None
    digits = given.strip()[1:]
    digits = "".join(each * 2 for each in digits) if len(digits) == 3 else digits
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _hex(colour: Colour) -> str:
    return f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}"


def _lengths(style: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for theirs, (name, least, most) in _LENGTHS.items():
        match = _LENGTH.fullmatch(given.strip()) if isinstance(given := style.get(theirs), str) else None
        if match is not None:
            value = float(match[1]) / (_PX if match[2] == "px" else 1)
            found[name] = f"{min(max(value, least), most):g}rem"
    return found


def _families(style: Mapping[str, Any]) -> dict[str, str]:
    """Give the font lists, written anew, each with one of the browser's own at its end."""
    found = {}
    for theirs, name in _FONTS.items():
        given = style.get(theirs)
        if not isinstance(given, str):
            continue
        # SMART's own example ends with a semicolon.
        names = [_FONT.fullmatch(each.strip()) for each in given.strip().removesuffix(";").split(",")]
        if len(names) <= _MOST_FONTS and all(names):
            families = [each[2] if each[2] in _GENERIC else f'"{each[2]}"' for each in names if each]
            ends = families[-1] in _GENERIC
            found[name] = ", ".join(dict.fromkeys(families if ends else [*families, "sans-serif"]))
    return found


def _rule(properties: Mapping[str, str]) -> str:
    if not properties:
        return ""
    lines = "".join(
        f"  {name if name == 'color-scheme' else f'--{name}'}: {value};\n" for name, value in properties.items()
    )
    return f":root {{\n{lines}}}\n"


def own_tokens(css: str) -> dict[str, dict[str, Colour]]:
    """Give the colours that ``aftercare.css`` has of its own, by scheme; it stands there alone."""
    light, _, rest = css.partition("@media (prefers-color-scheme: dark)")
    dark = rest.partition("}")[0]
    found: dict[str, dict[str, Colour]] = {}
    for name, text in (("light", light), ("dark", dark)):
        pairs = re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text)
        found[name] = {token: colour for token, given in pairs if (colour := _colour(given)) is not None}
    return found


OWN: Final = own_tokens((Path(__file__).parent / "static" / "aftercare.css").read_text("utf-8"))
