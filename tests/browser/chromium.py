"""Chromium as Debian packages it, driven by Playwright, with the cookie settings of three kinds of users.

    async with chromium(folder, cookies="blocked") as browser: …

Settings are written into a fresh profile, as a user's clicks would write them; no command-line switch touches cookies.
``watch`` notes what a test must not see: requests to strange origins, broken policies, scripts that fail.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request

PROGRAM = Path("/usr/bin/chromium")
SECONDS = 10.0
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# allowed: every site's. blocked: no third-party ones, as most browsers now do. none: not even partitioned ones in a
# frame.
Cookies = Literal["allowed", "blocked", "none"]
# A page that breaks its own policy, told by the browser itself; outside the page's own policy.
_LISTEN = """addEventListener('securitypolicyviolation', event =>
  console.error(`policy broken: ${event.violatedDirective} ${event.blockedURI}`))"""


class ChromiumMissing(RuntimeError):
    """The browser the tests need is not installed."""


@dataclass
class Watch:
    """What a browser did since the last look. ``requests`` are all addresses asked for, ``said`` the console's errors.

    A test that goes to other origins on purpose, or breaks a policy on purpose, says so: ``expected``.
    """

    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)

    def origins(self) -> set[str]:
        """Give the origins that were asked."""
        return {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, self.requests)}

    def broken(self) -> list[str]:
        """Give what the browser said of broken policies, and of scripts that failed."""
        return [
            each for each in self.said if not each.startswith("Failed to load resource") and each not in self.expected
        ]

    def clear(self) -> None:
        """Forget it all."""
        self.requests.clear()
        self.said.clear()
        self.expected.clear()

    def follow(self, context: BrowserContext) -> None:
        """Note what happens in a browser from now on."""
        context.on("request", self._requested)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.said.append(str(error.error)))

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)


@dataclass
class Browser:
    """A running Chromium with one profile."""

    context: BrowserContext
    watch: Watch

    async def open(self, address: str) -> Page:
        """Open an address in a tab of its own."""
        page = await self.context.new_page()
        await page.goto(address)
        return page

    async def start_over(self) -> None:
        """Close all tabs but an empty one (without any, Chromium ends), and forget all cookies."""
        kept, *others = self.context.pages
        for page in others:
            await page.close()
        await kept.goto("about:blank")
        await self.context.clear_cookies()
        self.watch.clear()


def preferences(cookies: Cookies, ehr: str, app: str) -> dict[str, Any]:
    """Give what Chromium writes into a profile for a choice under "Third-party cookies"."""
    profile: dict[str, Any] = {
        "cookie_controls_mode": 0 if cookies == "allowed" else 1,
        "block_third_party_cookies": cookies != "allowed",
    }
    if cookies == "none":  # "Not allowed to use cookies": this site inside that one
        exceptions = {"cookies": {f"{app},{ehr}": {"setting": 2}}}
        profile["content_settings"] = {"exceptions": exceptions}
    return {"profile": profile}


def _prepare(folder: Path, settings: dict[str, Any]) -> None:
    """Make a profile with settings."""
    if not PROGRAM.exists():
        raise ChromiumMissing(f"Chromium is not at {PROGRAM}. Run: make test-deps")
    (folder / "Default").mkdir(parents=True)
    (folder / "Default" / "Preferences").write_text(json.dumps(settings))


@asynccontextmanager
async def chromium(
    folder: Path, *, cookies: Cookies, ehr: str, app: str, keeps_pages: bool = False, scripts: bool = True
) -> AsyncIterator[Browser]:
    """Run Chromium with a new profile in ``folder``; ``ehr`` and ``app`` are the origins its settings name.

    ``keeps_pages``: with its cache of whole pages for the back button, as people have it; Playwright knows no page that
    comes out of it. ``scripts``: whether pages may run any. Raises ``ChromiumMissing``.
    """
    _prepare(folder, preferences(cookies, ehr, app))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder,
            executable_path=PROGRAM,
            args=ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"] if keeps_pages else [],
            viewport={"width": 1280, "height": 900},
            java_script_enabled=scripts,
            timeout=60_000,
        )
        try:
            context.set_default_timeout(SECONDS * 1000)
            await context.add_init_script(_LISTEN)
            watch = Watch()
            watch.follow(context)
            yield Browser(context, watch)
        finally:
            await context.close()
