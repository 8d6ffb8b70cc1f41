"""axe-core on a page as it is shown: which rules of WCAG 2.0 to 2.2, levels A and AA, it breaks.

    faults = await broken_rules(page.main_frame)        # ["color-contrast: .tag (…)"], [] if none

The source is evaluated through the developer tools, which the page's policy does not govern: the policy stays on.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npm import installed

if TYPE_CHECKING:
    from playwright.async_api import Frame

HERE = Path(__file__).resolve().parent
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
# Rules that must have run, so that an axe which was told the wrong tags finds not nothing wrong but fails.
SURELY = {"color-contrast", "target-size", "label", "document-title", "scrollable-region-focusable"}
_RUN = """tags => axe.run(document, { runOnly: tags, iframes: false, resultTypes: ["violations"] }).then(found => ({
  ran: ["violations", "passes", "incomplete", "inapplicable"].flatMap(kind => found[kind].map(rule => rule.id)),
  broken: found.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.failureSummary}`)),
}))"""


@cache
def source() -> str:
    """Give the text of axe-core."""
    return (installed(HERE / "axe", "axe-core") / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


async def looked_at(frame: Frame) -> dict[str, Any]:
    """Run it in a page, or in a frame of one; give the ids of the rules that ``ran`` and what is ``broken``, where."""
    if not await frame.evaluate("typeof axe === 'object'"):
        await frame.evaluate(source())
    found: dict[str, Any] = await frame.evaluate(_RUN, list(TAGS))
    return found


async def broken_rules(frame: Frame) -> list[str]:
    """Give what is broken, each with its place and what would mend it."""
    found = await looked_at(frame)
    assert {"color-contrast", "target-size", "label", "document-title", "scrollable-region-focusable"} <= {
        *found["ran"]
    }
    return list(found["broken"])
