"""A person with a browser at the pretend EHR: follows links, frames and forms as they stand on its pages.

person = Person()                                   one cookie jar; names under localhost are this machine
page = await person.open_in_chart(ehr_url, patient)     from the start page to what the app shows in the frame
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Self

import httpx

from fhir_aftercare.sandbox.ehr import LocalNames

if TYPE_CHECKING:
    from collections.abc import Mapping


class Page(HTMLParser):
    """The elements of a page, as (name, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def value(self, name: str, attribute: str, /, **marked: str) -> str:
        """Give an attribute of the first element of a name in whose attributes the texts of ``marked`` occur."""
        for each, attributes in self.elements:
            if each == name and all(text in (attributes.get(key) or "") for key, text in marked.items()):
                return attributes[attribute] or ""
        raise AssertionError(f"there is no {name} with {marked} on the page")


class Jar(httpx.AsyncBaseTransport):
    """Keeps cookies by host and name, and sends secure ones over http too: for browsers localhost is safe enough."""

    def __init__(self) -> None:
        self._inner = LocalNames()
        self.cookies: dict[tuple[str, str], str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        mine = [f"{name}={value}" for (host, name), value in self.cookies.items() if host == request.url.host]
        if mine:
            request.headers["cookie"] = "; ".join(mine)
        answer = await self._inner.handle_async_request(request)
        for header in answer.headers.get_list("set-cookie"):
            # Partitioned is younger than this parser, in some Pythons.
            for name, given in SimpleCookie(header.replace("; Partitioned", "")).items():
                self.cookies.pop((request.url.host, name), None)
                if given["max-age"] != "0":
                    self.cookies[request.url.host, name] = given.value
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Person:
    """``seen`` are the addresses the browser has been at, redirects included."""

    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(transport=Jar(), timeout=30))
    seen: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def get(self, address: str) -> httpx.Response:
        """Go to an address, and on to wherever it leads."""
        return self._seen(await self.http.get(address, follow_redirects=True))

    async def open_in_chart(self, ehr_url: str, patient: str, *, user: str = "nurse") -> httpx.Response:
        """Choose a patient (``Patient/7``) on the start page, open the chart, and load the app into its frame."""
        start = await self.get(f"{ehr_url}/?user={user}")
        assert start.status_code == 200, start.text
        link = Page(start.text).value("a", "href", href=f"patient={_id(patient)}&width=panel")
        chart = await self.get(f"{ehr_url}{link}")
        assert chart.status_code == 200, chart.text
        return await self.get(Page(chart.text).value("iframe", "src"))

    async def open_portal(self, ehr_url: str, patient: str) -> httpx.Response:
        """Open the app as the patient."""
        start = await self.get(ehr_url)
        link = Page(start.text).value("a", "href", href=f"/portal?client=aftercare-pages&patient={_id(patient)}")
        return await self.get(f"{ehr_url}{link}")

    async def start_alone(self, ehr_url: str, patient: str, *, user: str = "nurse") -> httpx.Response:
        """Start the app by itself, and sign in at the EHR."""
        start = await self.get(ehr_url)
        form = await self.get(Page(start.text).value("a", "href", href="/launch/"))
        page = Page(form.text)
        fields = {
            "request": page.value("input", "value", name="request"),
            "user": user,
            "patient": page.value("option", "value", value=_id(patient)),
            "decision": "allow",
        }
        address = str(form.url.join(page.value("form", "action")))
        return self._seen(
            await self.http.post(address, data=fields, headers={"origin": ehr_url}, follow_redirects=True)
        )

    def _seen(self, answer: httpx.Response) -> httpx.Response:
        self.seen += [str(each.url) for each in (*answer.history, answer)]
        return answer


def _id(patient: str) -> str:
    return patient.removeprefix("Patient/")


def is_the_storys_overview(page: httpx.Response) -> None:
    """Check that a page is the overview of the patient whom the demo's story is about."""
    assert page.status_code == 200, page.text
    assert page.url.path.startswith("/app/l/")
    for text in ("Aftercare of one ketamine infusion", "PHQ-9", "21 on"):
        assert text in page.text, text
