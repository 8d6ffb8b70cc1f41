"""What every page of a launch works with, and how its routes are made: one function is one page, or one thing to do.

    @view("record")                     GET, and POST for a browser without cookies; for the launch's patient and others
    async def show(desk: Desk) -> Response: …

    @action("record/start")             POST only, from a form of ours
    async def start(desk: Desk) -> Response: …

Who may see a launch is ``entry``'s to say. Here: whose chart it is, who is staff, which token writes (design §9.8), and
that after something was done the browser is sent to a page that can be reloaded.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from fhir_aftercare.ui import asked
from fhir_aftercare.ui.answers import PageRoute, page, redirect
from fhir_aftercare.ui.entry import Visit, posted, visit
from fhir_aftercare.ui.faults import NoPatient, NotGranted, StaffOnly
from fhir_aftercare.ui.place import VISIT, Place
from fhir_aftercare.ui.said import said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.flows.context import ClinicContext
    from fhir_aftercare.ui.asked import Action
    from fhir_aftercare.ui.people import Banner

    Show = Callable[["Desk"], Awaitable[Response]]

LaunchId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{16,64}$")]
PatientId = Annotated[str, Path(pattern="^[A-Za-z0-9.-]{1,64}$")]

_STAFF: Final = frozenset({"Practitioner", "PractitionerRole"})
_VIEWS: Final[dict[str, Show]] = {}


@dataclass(frozen=True, slots=True)
class Desk:
    """One request for a page of a launch. ``form`` holds what was typed, ``query`` what stands in the address;
    ``context`` is the clinic with the user's own token: what pages read with.
    """

    request: Request
    found: Visit
    place: Place
    context: ClinicContext
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def form(self) -> Mapping[str, str]:
        """What was posted, without the fields that protect the form."""
        return self.found.form

    @property
    def zone(self) -> ZoneInfo:
        """The clinic's zone: what times on pages for staff are in."""
        return self.context.clinic.zone

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.context.clock()

    @property
    def patient(self) -> str:
        """The patient whose page it is, ``Patient/1``. Raises ``NoPatient``."""
        if self.place.patient is None:
            raise NoPatient("The launch names no patient.")
        return self.place.patient

    @property
    def launched(self) -> str | None:
        """The patient whose chart is open in the EHR."""
        patient = self.found.session.context.patient
        return f"Patient/{patient}" if patient else None

    @property
    def person(self) -> str | None:
        """Who signed in, as a FHIR reference; None if the EHR does not say."""
        user = self.found.session.user
        return user.reference if user is not None else None

    @property
    def is_staff(self) -> bool:
        """Whether the EHR named a member of staff. Whom it does not name sees what a patient may see, unless the
        clinic asks for nobody's name.
        """
        user = self.found.session.user
        if user is None:
            return not self.found.pages.registration.scopes.identity
        return user.type in _STAFF

    @property
    def sees_everybody(self) -> bool:
        """Whether the token may look across patients."""
        return self.is_staff and not asked.for_everybody(self.found.session.tokens.granted)

    @property
    def cookieless(self) -> bool:
        """Whether the browser carries the launch's handle from form to form in place of a cookie."""
        return self.found.browser is None

    @property
    def shows_banner(self) -> bool:
        """Whether the page itself must say whose it is: the EHR asks for it, or nothing of the EHR stands around it."""
        alone = self.request.headers.get("sec-fetch-dest") == "document"
        return self.found.session.context.need_patient_banner or alone or self.place.other

    @property
    def theme(self) -> str | None:
        """The address of the EHR's style as a sheet of ours, if the launch names one; its version is part of it."""
        url = self.found.session.context.smart_style_url
        if url is None or self.cookieless:
            return None
        return self.place.home("theme.css", v=hashlib.sha256(url.encode()).hexdigest()[:12])

    @property
    def missing(self) -> tuple[str, ...]:
        """The scopes that were asked for and not granted."""
        return self.found.session.tokens.granted.missing(self.found.pages.registration.scopes)

    def staff_only(self) -> None:
        """Raise ``StaffOnly`` unless a member of staff signed in."""
        if not self.is_staff:
            raise StaffOnly("This page is for the clinic's staff.")

    def everybody_only(self, why: str = "the one whose chart is open") -> None:
        """Raise ``NotGranted`` unless the token may look across patients; ``why`` ends the sentence."""
        if not self.sees_everybody:
            raise NotGranted(f"The EHR lets this app see one patient only: {why}.")

    def why_not(self, action: Action) -> str | None:
        """Say why an action is not offered here, in a sentence for the page; None: it is."""
        if not self.is_staff:
            return "You can read this page. Only the clinic's staff can change it."
        lacking = asked.lacking(action, self.found.session.tokens.granted)
        if not lacking or self.found.pages.write_as == "backend":
            return None
        return f"The EHR did not grant this app: {', '.join(lacking)}."

    def writer(self, action: Action) -> ClinicContext:
        """Give the clinic with the one token that an action reads and writes with (design §9.8).

        The user's if its scopes cover the whole Bundle, else the service's own where the clinic's file says so. Raises
        ``NotGranted``, ``StaffOnly``.
        """
        self.staff_only()
        why = self.why_not(action)
        if why is not None:
            raise NotGranted(why)
        if asked.lacking(action, self.found.session.tokens.granted):
            return self.found.door.own(self.found.session)
        return self.context

    def page(self, template: str, *, status: int = 200, banner: Banner | None = None, **values: Any) -> Response:
        """Give a page with what all of a launch show. ``banner`` is drawn if the page must say whose it is."""
        minutes = round(self.found.pages.idle.total_seconds() / 60)
        return page(
            self.request,
            template,
            status=status,
            scripted=True,
            desk=self,
            place=self.place,
            clinic=self.context.clinic.name,
            secret=self.found.secret,
            cookieless=self.cookieless,
            banner=banner if self.shows_banner else None,
            idle=minutes,
            said=said(self.query, self.now, self.zone),
            **values,
        )

    async def done(self, name: str, **query: str | int | None) -> Response:
        """Go to a page after something was done: by a redirect, or at once where no cookie would come along."""
        if not self.cookieless:
            return redirect(self.place.at(name, **query))
        given = {key: str(value) for key, value in query.items() if value is not None}
        found = replace(self.found, form={})
        return await _VIEWS[name](replace(self, found=found, query=given))

    def one_patient_only(self, name: str, title: str) -> Response:
        """Give the page that stands in for one across patients: why it is not offered, and what to ask the EHR for."""
        lacking = asked.for_everybody(self.found.session.tokens.granted)
        return self.page("across_refused.html", view_name=name, title=title, lacking=lacking)

    def at(self, visit: str | None) -> Desk:
        """Give the desk of a visit of the patient, ``Encounter/1``; None: of no single one. Raises ``NoPatient``."""
        return replace(self, place=self.place.of(self.patient, visit, launched=self.launched))

    @property
    def of_nobody(self) -> Desk:
        """The desk of pages that are about no single patient."""
        return replace(self, place=self.place.of_nobody)


def _desk(request: Request, found: Visit, patient: str | None) -> Desk:
    """Give the desk of the page. Another patient than the launch's is for staff who may look across patients."""
    session, visit_ = found.session, request.query_params.get(VISIT)
    nobody = Place(session.launch_id, None)
    desk = Desk(request, found, nobody, found.door.charts(session), dict(request.query_params))
    own = desk.launched
    if patient is None or f"Patient/{patient}" == own:
        encounter = visit_ or session.context.encounter
        return replace(desk, place=replace(nobody, patient=own, visit=f"Encounter/{encounter}" if encounter else None))
    desk.staff_only()
    desk.everybody_only()
    visit_of = f"Encounter/{visit_}" if visit_ else None
    return replace(desk, place=nobody.of(f"Patient/{patient}", visit_of, launched=own))


def view(router: APIRouter, name: str) -> Callable[[Show], Any]:
    """Make a function a page ``name`` of every launch (``""`` is where it lands)."""

    def made(show: Show) -> Any:
        _VIEWS[name] = show
        _serve(router, name, "GET", visit, show)
        _serve(router, name, "POST", posted, show)
        return show

    return made


def action(router: APIRouter, name: str) -> Callable[[Show], Any]:
    """Make a function something that a form of a page does."""

    def made(do: Show) -> Any:
        _serve(router, name, "POST", posted, do)
        return do

    return made


def _serve(
    router: APIRouter, name: str, method: str, opens: Callable[[Request, str], Awaitable[Visit]], show: Show
) -> None:
    """Serve a function at its addresses; ``opens`` says who may see the launch."""

    async def serve(request: Request, launch_id: LaunchId, patient: PatientId | None = None) -> Response:
        return await show(_desk(request, await opens(request, launch_id), patient))

    for path in _paths(name):
        router.add_api_route(path, serve, methods=[method], response_class=Response)


def _paths(name: str) -> tuple[str, str]:
    return f"/app/l/{{launch_id}}/{name}", f"/app/l/{{launch_id}}/of/{{patient}}/{name}"


def new_router() -> APIRouter:
    """Give a router for pages."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)
