"""The form of the switches on the start page, and how its answer, or the same as JSON, is read."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir import exact_json
from fhir_aftercare.sandbox.ehr.faults import CHOICES, Faults
from fhir_aftercare.sandbox.ehr.html import Html, tag

if TYPE_CHECKING:
    from collections.abc import Mapping

FAULTS_PATH: Final = "/faults"
_LABELS: Final = {
    "authorize_error": "Authorization is refused with",
    "token_error": "The token endpoint refuses with",
    "unauthorized_once": "The next FHIR call is answered with 401",
    "slow_seconds": "Tokens and FHIR answer after (seconds)",
    "no_id_token": "No id_token comes",
    "wrong_nonce": "The id_token has another nonce",
    "wrong_iss": "The id_token has another iss",
    "wrong_callback_iss": "The callback has another iss",
    "token_life": "Access tokens live for (seconds)",
    "withheld": "Scopes that are not granted",
    "scope_version": "Scope syntax taken",
    "fhir_user": "fhirUser is written",
}
_ACTIONS: Final = {
    "": "Only set the switches",
    "expire_tokens": "and let all access tokens run out",
    "revoke_tokens": "and revoke all tokens",
    "rotate_keys": "and change the signing keys",
    "reset": "No: switch everything off",
}


def form(faults: Faults) -> Html:
    """Give the form with the switches as they stand."""
    rows = [
        tag("div", tag("label", _LABELS[field.name], for_=field.name), _input(field.name, getattr(faults, field.name)))
        for field in fields(faults)
    ]
    actions = [tag("option", text, value=action) for action, text in _ACTIONS.items()]
    rows.append(tag("div", tag("label", "At once", for_="action"), tag("select", *actions, name="action", id="action")))
    return tag("form", *rows, tag("button", "Set"), method="post", action=FAULTS_PATH, class_="faults")


def of_form(given: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Read the form: all switches (a box that is not ticked is not sent), and the action. Raises ``InvalidInput``."""
    changes: dict[str, Any] = {}
    for field in fields(Faults):
        usual, value = getattr(Faults(), field.name), given.get(field.name)
        if isinstance(usual, bool):
            changes[field.name] = value is not None
        elif value is not None:
            changes[field.name] = _number(field.name, value, type(usual)) if not isinstance(usual, str) else value
    return changes, given.get("action", "")


def of_json(content: bytes) -> tuple[dict[str, Any], str]:
    """Read an object with some switches, and ``action`` if something is to be done at once. Raises ``InvalidInput``."""
    try:
        given = exact_json.loads(content)
    except ValueError:
        raise InvalidInput("The body is not JSON.", where="body") from None
    if not isinstance(given, dict):
        raise InvalidInput("The body is not a JSON object.", where="body")
    action = given.pop("action", "")
    if "slow_seconds" in given:
        given["slow_seconds"] = _number("slow_seconds", str(given["slow_seconds"]), float)
    return given, str(action)


def _number(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise InvalidInput("The switch is a number.", where=name) from None


def _input(name: str, value: object) -> Html:
    if name in CHOICES:
        options = [tag("option", each or "(off)", value=each, selected=each == value) for each in CHOICES[name]]
        return tag("select", *options, name=name, id=name)
    if isinstance(value, bool):
        return tag("input", type="checkbox", name=name, id=name, value="on", checked=value)
    if isinstance(value, str):
        return tag("input", type="text", name=name, id=name, value=value, autocomplete="off")
    step = "1" if isinstance(value, int) else "0.1"
    return tag("input", type="number", name=name, id=name, value=str(value), step=step, min="0")
