"""What only pages can go wrong with, as errors of the common tree."""

from __future__ import annotations

from fhir_aftercare.errors import AftercareError


class ForeignForm(AftercareError):
    """A form that did not come from the page it pretends to come from; nothing was done."""

    code, status, issue = "foreign-form", 403, "security"
    default_remedy = "Open the page again from the chart and press the button there."


class NoPatient(AftercareError):
    """The launch came without a patient."""

    code, status, issue = "no-patient", 409, "business-rule"
    default_remedy = "Open a patient's chart, then open this app from it."


class NoCookie(AftercareError):
    """The browser does not send this app's cookie back, as in a frame whose cookies are blocked.

    ``address`` is where the launch can be repeated in a window of its own.
    """

    code, status, issue = "no-cookie", 403, "security"
    default_remedy = "Open the app in a window of its own, or allow cookies for it in this browser."

    def __init__(self, address: str) -> None:
        super().__init__("This browser does not send the app's cookie back while the app is inside another page.")
        self.address = address


class StaffOnly(AftercareError):
    """A page or a change that is for the clinic's staff; somebody else signed in."""

    code, status, issue = "staff-only", 403, "forbidden"
    default_remedy = "Ask the clinic, or sign in as a member of its staff."


class NotGranted(AftercareError):
    """The EHR granted this launch less than the page or the change needs; nothing was done."""

    code, status, issue = "not-granted", 403, "forbidden"
    default_remedy = "Ask whoever registered the app at the EHR to grant the scopes named, then open it again."
