"""``fhir-aftercare subscribe``: have a clinic's FHIR server tell this service what changes, and see that it goes on.

What is asked for, and when something is written, is decided in ``flows.subscribe``. The clinic's secret comes from the
environment and goes to the FHIR server; whatever is printed, it is not in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 (typer needs it)
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

import httpx
import typer

from fhir_aftercare.cli.given_token import VARIABLE, given_token
from fhir_aftercare.clinic_file import read_clinic_file
from fhir_aftercare.config import read_settings
from fhir_aftercare.ehr.client import FhirClient
from fhir_aftercare.errors import AftercareError, ConfigFault, FhirServerError
from fhir_aftercare.fhir.identifiers import Identifiers
from fhir_aftercare.flows import subscribe as flow
from fhir_aftercare.flows import subscribe_forms as wanted
from fhir_aftercare.intake.settings import TABLE, secret_names
from fhir_aftercare.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.clinic_file import ClinicSettings
    from fhir_aftercare.flows.subscribe import Subscribed
    from fhir_aftercare.flows.subscribe_forms import Form
    from fhir_aftercare.intake.settings import SubscriptionSettings

_OWN: Final = "own"
_NOT_RIGHT: Final = 1
_MASK: Final = "[secret]"
_SIGNED: Final = (
    "a server that signs is given the secret with the request that subscribes, in a way of its own; "
    "subscribe there as the EHR describes it, with the clinic's secret"
)
# What a server may answer today and not tomorrow: a watch goes on.
_PASSING: Final = frozenset({"transient", "timeout", "throttled", "exception", "structure", "conflict"})

_CLINIC = typer.Option(..., "--clinic", help="A clinic's TOML file: its FHIR server and what the drug is called there.")
_FILTERS = typer.Option([], "--filter", help="With the URL of a topic: what of it, such as Encounter?status=finished.")
_TOPIC = typer.Option(None, "--topic", help="Subscribe to a topic (R5 backport): its URL, or `own` to make ours first.")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be subscribed, where, and what must not be shown."""

    base: str
    forms: list[Form]
    hidden: tuple[str, ...]
    as_json: bool


def subscribe(
    *,
    clinic: Path = _CLINIC,
    endpoint: str | None = typer.Option(
        None, "--endpoint", help="Where the FHIR server reaches this service; else AFTERCARE_PUBLIC_URL."
    ),
    fhir_base_url: str | None = typer.Option(None, "--fhir-base-url", help="The FHIR R4 server; else the clinic's."),
    payload: bool = typer.Option(
        True, "--payload/--no-payload", help="Without it no ids are sent, and each time the clinic is swept."
    ),
    answers: bool = typer.Option(
        False, "--answers", help="Answered questionnaires too: where patients answer in the EHR's own portal."
    ),
    topic: str | None = _TOPIC,
    filters: list[str] = _FILTERS,
    check: bool = typer.Option(False, "--check", help="Only look, and change nothing."),
    watch: bool = typer.Option(False, "--watch", help="Go on looking, and mend what stopped, until it is ended."),
    every: float = typer.Option(60.0, "--every", min=1, max=86_400, help="Seconds between two looks of --watch."),
    renew: bool = typer.Option(
        False, "--renew", help="Write all again: after a change of the secret, if the server does not show it."
    ),
    remove: bool = typer.Option(False, "--remove", help="Take the Subscriptions away."),
    allow_http: bool = typer.Option(
        False, "--allow-http", help="An endpoint without TLS: in a network that is yours alone."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON: one object, with --watch one for each change."),
) -> None:
    """Have a FHIR server tell this service what changes. Repeat it as you like: what is right stays as it is.

    One that was switched off, or failed, is switched on again. The clinic's secret is taken from the variable
    AFTERCARE_SUBSCRIPTION_SECRET_<CLINIC>, a bearer token for the FHIR server from AFTERCARE_FHIR_TOKEN.
    Exit code 0: all are active; 1: one is not, or something went wrong.
    """
    if sum((check, watch, remove, renew)) > 1:
        raise typer.BadParameter("use one of --check, --watch, --renew, --remove")
    hidden: list[str] = []
    try:
        settings, hook = _read(clinic)
        hidden += [*hook.secrets, *filter(None, [os.environ.get(VARIABLE)])]
        # What is taken away is found by its tag: no address is needed.
        nowhere = wanted.Receiver("", settings.clinic.id, "")
        receiver = nowhere if remove else _receiver(settings, hook, endpoint, allow_http=allow_http)
        forms = _forms(settings, receiver, topic, filters, payload=payload, answers=answers)
        asked = _Asked(fhir_base_url or settings.fhir_base_url, forms, tuple(hidden), as_json)
        found = asyncio.run(_do(asked, check=check, renew=renew, remove=remove, every=every if watch else None))
    except AftercareError as error:
        _say(error, hidden)
        raise typer.Exit(_NOT_RIGHT) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(0 if remove or all(each.active for each in found) else _NOT_RIGHT)


# --- what was asked --------------------------------------------------------------------------------------------------
def _read(path: Path) -> tuple[ClinicSettings, SubscriptionSettings]:
    """Give a clinic and how its server proves who it is. Raises ``ConfigFault``."""
    try:
        settings = read_clinic_file(path, os.environ)
    except ConfigFault as fault:
        raise ConfigFault([f"{path}: {each}" for each in fault.faults]) from None
    hook = settings.doors.subscription
    if hook is None:
        name, _ = secret_names(settings.clinic.id)
        raise ConfigFault([f"{name}: is missing; make one with `openssl rand -hex 32`"], where=name)
    if hook.topic_check == "signature":
        raise ConfigFault([f"{TABLE}.topic_check: {_SIGNED}"])
    return settings, hook


def _receiver(
    settings: ClinicSettings, hook: SubscriptionSettings, endpoint: str | None, *, allow_http: bool
) -> wanted.Receiver:
    """Give where the FHIR server is to tell us. The secret goes there each time, so it must be https."""
    base = endpoint or read_settings().public_url
    if base is None:
        raise typer.BadParameter("say where the FHIR server reaches this service", param_hint="--endpoint")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise typer.BadParameter(
            "must be an absolute URL without query, such as https://aftercare.clinic.com", param_hint="--endpoint"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_http:
        raise typer.BadParameter("must be https; the clinic's secret is sent there", param_hint="--endpoint")
    return wanted.Receiver(base, settings.clinic.id, f"{hook.header}: {hook.header_value}")


def _forms(
    settings: ClinicSettings,
    receiver: wanted.Receiver,
    topic: str | None,
    filters: Sequence[str],
    *,
    payload: bool,
    answers: bool,
) -> list[Form]:
    if filters and topic in {None, _OWN}:
        raise typer.BadParameter("a filter needs the URL of a topic", param_hint="--filter")
    identifiers = Identifiers(settings.identifier_base)
    sought = wanted.searches(settings.clinic, answers=answers)
    if topic is None:
        return wanted.criteria_forms(sought, receiver, identifiers, payload=payload)
    if topic == _OWN:
        form = wanted.topic_subscription_form(wanted.TOPIC, wanted.topic_filters(sought), receiver, identifiers)
        return [wanted.topic_form(sought, identifiers), form]
    return [wanted.topic_subscription_form(topic, filters, receiver, identifiers)]


# --- what is done ----------------------------------------------------------------------------------------------------
async def _do(asked: _Asked, *, check: bool, renew: bool, remove: bool, every: float | None) -> Sequence[Subscribed]:
    async with httpx.AsyncClient() as http:
        fhir = FhirClient(asked.base, http, token=given_token(asked.base, os.environ))
        if every is not None:
            await _watch(fhir, asked, every)
        if check:
            found = await flow.look(fhir, asked.forms)
        elif remove:
            found = await flow.unsubscribe(fhir, asked.forms)
        else:
            found = await flow.active(fhir, await flow.subscribe(fhir, asked.forms, renew=renew))
    _print(found, asked)
    return found


async def _watch(fhir: FhirClient, asked: _Asked, every: float) -> NoReturn:
    """Print how they are, and then whenever that changes. Raises what will not pass by itself."""
    last: list[tuple[str, str, str | None]] = []
    while True:
        try:
            async for found in flow.watch(fhir, asked.forms, every=every):
                now = [(each.reference, each.status, each.error) for each in found]
                if now != last or any(each.outcome != "unchanged" for each in found):
                    _print(found, asked)
                last = now
        except AftercareError as error:
            if error.issue not in _PASSING:
                raise
            _say(error, asked.hidden)
        await asyncio.sleep(every)


# --- what is printed -------------------------------------------------------------------------------------------------
def _print(found: Sequence[Subscribed], asked: _Asked) -> None:
    rows: list[dict[str, Any]] = [
        {
            "wanted": each.label,
            "reference": each.reference or None,
            "outcome": each.outcome,
            "status": each.status or None,
            "error": _shown(each.error, asked.hidden) if each.error else None,
        }
        for each in found
    ]
    if asked.as_json:
        typer.echo(json.dumps({"fhir_base_url": asked.base, "subscriptions": rows}))
    for row in () if asked.as_json else rows:
        typer.echo(f"{row['outcome']:<10} {row['status'] or '-':<10} {row['reference'] or '-'}  {row['wanted']}")
        if row["error"]:
            typer.echo(f"{'':<10} the server says: {row['error']}")
    sys.stdout.flush()


def _say(error: AftercareError, hidden: Sequence[str]) -> None:
    """Say what went wrong, and what the server said: whoever calls this owns it."""
    lines = [error.message, *(f"  {each}" for each in error.where), *_outcome(error), error.remedy]
    typer.echo(_shown("\n".join(lines), hidden), err=True)


def _shown(text: str, hidden: Sequence[str]) -> str:
    """Give a text without the secrets: a server may quote what it was sent."""
    for each in hidden:
        text = text.replace(each, _MASK)
    return text


def _outcome(error: AftercareError) -> list[str]:
    outcome = error.outcome if isinstance(error, FhirServerError) else None
    issues = outcome.get("issue") if outcome else None
    said = [each.get("diagnostics") for each in issues if isinstance(each, dict)] if isinstance(issues, list) else []
    return [f"  the server says: {each}" for each in said if isinstance(each, str)]
