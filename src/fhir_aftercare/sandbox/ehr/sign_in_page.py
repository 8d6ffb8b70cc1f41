"""The two pages of the authorization endpoint: who signs in and for whom, and why a request was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_aftercare.sandbox.ehr.html import page, tag
from fhir_aftercare.sandbox.ehr.settings import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.responses import Response

    from fhir_aftercare.sandbox.ehr.charts import Patient
    from fhir_aftercare.sandbox.ehr.settings import EhrClient, EhrUser

DECIDE_PATH = "/auth/decide"


def refused(why: str) -> Response:
    """Give the page that stands in for a redirect when there is nowhere safe to go."""
    return page(
        "The app could not be opened",
        tag("h1", "The app could not be opened"),
        tag("p", f"The request was refused: {why}."),
        tag("p", "Nothing was sent to the app. Compare its registration with what it asked for."),
        status=400,
        framed_by="'self'",
    )


def asked(
    key: str,
    client: EhrClient,
    *,
    users: Iterable[EhrUser],
    patients: Sequence[Patient],
    scope: str,
    asks_patient: bool,
) -> Response:
    """Give the form of a standalone launch. ``key`` names the request and is good for one answer."""
    people = [tag("option", user.name, value=user.key) for user in users]
    people.append(tag("option", "The patient chosen below", value="patient"))
    chosen = [tag("option", f"{each.name}, born {each.born}", value=each.id) for each in patients]
    if not asks_patient:
        chosen.insert(0, tag("option", "No patient", value=""))
    redirect = {origin_of(uri) for uri in client.redirect_uris}
    return page(
        f"Sign in for {client.title}",
        tag("h1", f"Sign in for {client.title}"),
        tag(
            "form",
            tag("input", type="hidden", name="request", value=key),
            tag("label", "Sign in as", for_="user"),
            tag("select", *people, name="user", id="user"),
            tag("label", "Patient", for_="patient"),
            tag("select", *chosen, name="patient", id="patient"),
            tag("p", "The app asks for:"),
            tag("ul", *(tag("li", tag("code", each)) for each in scope.split(" ")), class_="scopes"),
            tag("button", "Allow", name="decision", value="allow"),
            tag("button", "Do not allow", name="decision", value="deny", class_="second"),
            method="post",
            action=DECIDE_PATH,
        ),
        forms=sorted(redirect),
        framed_by="'self'",
    )
