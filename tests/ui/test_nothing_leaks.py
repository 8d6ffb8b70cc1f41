"""Tokens, codes, cookies and patients stand in no log line, no address, no header and not in the clear on disk."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from fhir_aftercare.observe import logs
from ui.house import REDIRECT, form_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ui.house import House


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", stream)
    yield stream
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def secrets_of(house: House) -> list[str]:
    """Give all that only EHR and service may know."""
    ehr = house.ehr
    forms = [
        form[name] for form in ehr.token_requests for name in ("code", "code_verifier", "refresh_token") if name in form
    ]
    return [*ehr.access, *ehr.refresh, *ehr.revoked, *forms]


async def a_whole_visit(house: House) -> tuple[list[str], list[str]]:
    """Launch, look, refresh, fail and sign out; give what must stay secret and the addresses seen."""
    patient = await house.patient()
    browser = house.browser()
    house.ehr.faults.expires_in = 300
    back = await browser.until(browser.launch_address(patient=patient), REDIRECT)
    page = await browser.get(back)
    first = str(browser.cookie)
    house.clock.move(minutes=4, seconds=30)
    page = await browser.get(str(page.url))
    house.wire.refuses = {"Patient": 500}
    await browser.get(str(page.url))
    house.wire.refuses = {}
    await browser.get("/callback?state=x&error=access_denied&error_description=RIVERA")
    await house.browser().get(str(page.url))
    kept = secrets_of(house)
    house.ehr.faults.refuse_revocation = True
    await browser.sign_out(page)
    assert len(kept) >= 6
    return [*kept, first, patient, *form_of(page).values()], browser.seen


async def test_no_log_line_holds_a_secret_or_a_patient(house: House, logged: io.StringIO) -> None:
    hidden, _ = await a_whole_visit(house)
    text = logged.getvalue()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    for event in ("launch began", "launch finished", "page refused", "tokens not revoked", "signed out"):
        assert event in events
    assert "harbor" in text
    for word in (*hidden, "Rivera", "RIVERA", "dr-grey", "access_token", "evil"):
        assert word not in text, word
    assert "[withheld]" not in text  # every key that is logged was meant to be


async def test_no_address_and_no_page_holds_a_token(house: House) -> None:
    hidden, seen = await a_whole_visit(house)
    tokens = {*house.ehr.access, *house.ehr.refresh, *hidden[:-3]}
    ours = [address for address in seen if address.startswith("https://app.example/") and "/callback" not in address]
    assert ours
    for address in ours:
        assert not any(token in address for token in tokens)
    page = await house.browser().launch(patient=await house.patient())
    everything = page.text + str(page.headers) + "".join(str(each.headers) for each in page.history)
    assert not any(token in everything for token in (*house.ehr.access, *house.ehr.refresh))


def stored_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


async def test_on_disk_tokens_and_context_are_sealed_and_cookies_are_digests(house: House, tmp_path: Path) -> None:
    browser = house.browser()
    page = await browser.launch(patient=await house.patient())
    assert page.status_code == 200
    stored = stored_in(tmp_path)
    assert b"harbor" in stored
    hidden = [*house.ehr.access, *house.ehr.refresh, *secrets_of(house), str(browser.cookie), await house.patient()]
    states = [each["state"] for each in house.ehr.authorizations]
    for word in (*hidden, *states, "Rivera", "dr-grey", "Practitioner"):
        assert word.encode() not in stored, word
