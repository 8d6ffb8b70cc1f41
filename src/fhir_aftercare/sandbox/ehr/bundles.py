"""Batches, transactions and answers with several resources: each entry judged by itself.

A transaction with one entry too many is refused whole. In a batch such an entry is answered with 403 and the others
are sent. In answers, entries beyond the scopes are taken out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from fhir_aftercare.sandbox.ehr import interactions
from fhir_aftercare.sandbox.ehr.rights import Denied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fhir_aftercare.sandbox.ehr.interactions import Interaction
    from fhir_aftercare.sandbox.ehr.rights import Rights

Resource = dict[str, Any]

MOST_ENTRIES: Final = 1_000


class Bundle:
    """A batch or transaction of an app. Raises ``Denied`` (400) for any other Bundle, and for a malformed one."""

    def __init__(self, resource: Resource, store_base: str, rights: Rights) -> None:
        self._resource, self._base, self._rights = resource, store_base, rights
        entries = resource.get("entry", [])
        if resource.get("type") not in {"batch", "transaction"}:
            raise Denied(400, "invalid", "Only a batch or a transaction can be posted to the base.")
        if not isinstance(entries, list) or len(entries) > MOST_ENTRIES:
            raise Denied(400, "too-costly", f"A Bundle has a list of {MOST_ENTRIES} entries at most.")
        self._entries: list[Any] = entries
        self._asked: list[Interaction | Denied] = []

    async def allowed(
        self, check_write: Callable[[Interaction, Resource | None, Rights], Awaitable[None]]
    ) -> Resource | None:
        """Give the Bundle as it is sent to the store; None if nothing of it may be. Raises ``Denied``."""
        sent = []
        for entry in self._entries:
            try:
                asked, narrowed = self._judged(entry)
                if asked.writes:
                    await check_write(asked, entry.get("resource"), self._rights)
                sent.append(narrowed)
                self._asked.append(asked)
            except Denied as denied:
                if self._resource["type"] == "transaction":
                    raise
                self._asked.append(denied)
        if self._entries and not sent:
            return None
        return {**self._resource, "entry": sent} if "entry" in self._resource else self._resource

    def answer(self, stored: Resource) -> Resource:
        """Give the store's answer with the refused entries in their places, and without what may not be seen."""
        answers = iter(stored.get("entry", []))
        entries = [
            _refused(asked) if isinstance(asked, Denied) else self._shown(asked, next(answers, {}))
            for asked in self._asked
        ]
        return {**stored, "type": f"{self._resource['type']}-response", "entry": entries}

    def _judged(self, entry: object) -> tuple[Interaction, Resource]:
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(request, dict) or not isinstance(request.get("url"), str):
            raise Denied(400, "structure", "An entry has no request with method and url.")
        url = request["url"].removeprefix(f"{self._base}/")
        if "://" in url.partition("?")[0]:
            raise Denied(400, "invalid", "An entry's request leads to another server.")
        path, _, query = url.partition("?")
        method = "GET" if request.get("method") == "HEAD" else str(request.get("method"))
        asked = interactions.read(method, path, query, if_none_exist=request.get("ifNoneExist"))
        if asked.name in {"bundle", "capabilities", "page"}:
            raise Denied(403, "forbidden", "This cannot be an entry of a Bundle.")
        self._rights.demand(asked.letters, asked.type)
        resource = entry.get("resource")
        if asked.name in {"create", "update"} and (
            not isinstance(resource, dict) or resource.get("resourceType") != asked.type
        ):
            raise Denied(400, "structure", f"An entry for {asked.type} holds another resource, or none.")
        more = self._rights.narrowing(asked.type, asked.asks) if asked.searches else ()
        whole = "&".join(part for part in (query, urlencode(more)) if part)
        return asked, {**entry, "request": {**request, "url": f"{path}?{whole}" if whole else path}}

    def _shown(self, asked: Interaction, entry: Resource) -> Resource:
        resource = entry.get("resource")
        if not isinstance(resource, dict) or resource.get("resourceType") == "OperationOutcome":
            return entry
        if resource.get("resourceType") == "Bundle" and asked.type != "Bundle":
            hide(resource, self._rights)
            return entry
        if asked.writes:
            found = str(entry.get("response", {}).get("status", "")).startswith("200")
            seen = not (asked.conditional and found) or self._rights.permit("rs", resource)
            return entry if seen else {name: value for name, value in entry.items() if name != "resource"}
        if self._rights.permit("r", resource):
            return entry
        return _refused(Denied(403, "forbidden", f"The token's scopes do not reach this {asked.type}."))


def hide(bundle: Resource, rights: Rights) -> bool:
    """Take what may not be seen out of a searchset or history, and then its total; tell whether there was any."""
    entries = bundle.get("entry", [])
    kept = [entry for entry in entries if _is_seen(entry, rights)]
    if len(kept) == len(entries):
        return False
    bundle["entry"] = kept
    bundle.pop("total", None)
    return True


def outcome(denied: Denied) -> Resource:
    """Give the OperationOutcome of a refusal."""
    issue = {"severity": "error", "code": denied.issue, "diagnostics": denied.text}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def _is_seen(entry: Resource, rights: Rights) -> bool:
    resource = entry.get("resource")
    if isinstance(resource, dict):
        return resource.get("resourceType") == "OperationOutcome" or rights.permit("rs", resource)
    # A deletion in a history: it names a resource and shows nothing of it.
    type_ = str(entry.get("request", {}).get("url", "")).rpartition("://")[2].split("/")[-2:-1]
    return any(rights.are_free(letter, each) for letter in "rs" for each in type_)


def _refused(denied: Denied) -> Resource:
    return {"response": {"status": f"{denied.status}", "outcome": outcome(denied)}}
