"""Hands that touch nothing but a keyboard: they reach a thing by Tab, as it comes, and see where they are.

hands = Hands(page, frame)
await hands.press(frame.get_by_role("button", name="Save row"))      # Tab … Tab, Enter
await hands.type(frame.get_by_label("Systolic"), "138")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import Frame, Locator, Page

MOST_STEPS = 150
_IS_HERE = "element => document.hasFocus() && document.activeElement === element"
# What has the focus in this document can be seen: it has an outline, and stands inside the window.
_HIDDEN_FOCUS = """() => {
  const element = document.activeElement;
  if (!document.hasFocus() || element === document.body || element.tagName === "IFRAME") return null;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const name = () => `${element.tagName} ${element.id} ${element.textContent.trim().slice(0, 40)}`;
  return inside && style.outlineStyle !== "none" ? null : name();
}"""


@dataclass
class Hands:
    """On the keyboard of one tab, whose app is in ``frame``."""

    page: Page
    frame: Frame

    async def to(self, thing: Locator, *, back: bool = False) -> None:
        """Press Tab (or Shift+Tab) until a thing has the focus, which must be seen at every stop on the way."""
        await expect(thing).to_be_visible()
        for _ in range(MOST_STEPS):
            if await thing.evaluate(_IS_HERE):
                return
            await self.page.keyboard.press("Shift+Tab" if back else "Tab")
            unseen = await self.frame.evaluate(_HIDDEN_FOCUS)
            assert unseen is None, f"the focus cannot be seen on {unseen}"
        raise AssertionError(f"{thing} cannot be reached by Tab")

    async def press(self, thing: Locator, key: str = "Enter", *, back: bool = False) -> None:
        """Go to a thing and press a key on it."""
        await self.to(thing, back=back)
        await self.page.keyboard.press(key)

    async def type(self, field: Locator, text: str, *, back: bool = False) -> None:
        """Go to a field and type a text in place of what it holds."""
        await self.to(field, back=back)
        await self.page.keyboard.press("Control+a")
        await self.page.keyboard.type(text)

    async def says(self, text: str) -> None:
        """Wait until the page says that something is done."""
        await expect(self.frame.locator(".saved")).to_contain_text(text)
