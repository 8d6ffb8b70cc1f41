"""Which addresses may be spoken to: https only, no user in them, no private host an outsider could point us at.

Pure: nothing is sent or resolved here. Host names are judged by their text; what they resolve to is the network's to
guard (integration §1.1 rows 2, 4, 8; §1.2 row 19).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import httpx

from fhir_aftercare.loopback import is_loopback
from fhir_aftercare.smart.faults import UnsafeAddress

LONGEST: Final = 2048
_PORTS: Final = {"http": 80, "https": 443}
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_DOTS: Final = re.compile(r"/\.{1,2}(?:[/?]|$)")
_RESERVED_NAMES: Final = (".local", ".internal", ".localdomain", ".home.arpa")


def parse(text: object, what: str) -> httpx.URL:
    """Give an absolute http(s) URL without user, fragment, dot segments or backslash. Raises ``UnsafeAddress``."""
    if not isinstance(text, str) or len(text) > LONGEST or not _VISIBLE.fullmatch(text) or "\\" in text:
        raise UnsafeAddress(f"{what} is not an address.", where=what)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise UnsafeAddress(f"{what} is not an address.", where=what) from None
    if url.scheme not in _PORTS or not url.host:
        raise UnsafeAddress(f"{what} must be an absolute https URL.", where=what)
    # httpx takes plain dot segments out; that an address holds some is reason enough not to trust it.
    if url.userinfo or "#" in text or _DOTS.search(text) or climbs(url):
        raise UnsafeAddress(f"{what} must hold no user, fragment or dot segment.", where=what)
    return url


def base_url(text: object, what: str) -> str:
    """Give a base URL in the one form compared everywhere: host in lower case, no default port, no slash at the end.

    Raises ``UnsafeAddress`` for what ``parse`` refuses, for a query, and for http beyond this machine.
    """
    url = parse(text, what)
    if url.query or str(text).endswith("?"):
        raise UnsafeAddress(f"{what} must hold no query.", where=what)
    if url.scheme != "https" and not is_loopback(url.host):
        raise UnsafeAddress(f"{what} must be https.", where=what)
    path = url.raw_path.decode("ascii").rstrip("/")
    port = "" if url.port in {None, _PORTS[url.scheme]} else f":{url.port}"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host.lower()}{port}{path}"


def endpoint(text: object, what: str, *, base: str) -> str:
    """Give an endpoint named by a server's configuration, relative ones resolved against ``base`` (the FHIR base).

    Raises ``UnsafeAddress`` unless it is https (http only if it and the base are both on this machine), and if its
    host is an IP address or this machine while the base's host is another one, or a private name while the base's is
    a public one.
    """
    home = httpx.URL(base)
    if isinstance(text, str) and text and "://" not in text:
        # RFC 1808 against the base as a folder: "token" and "/token" both mean what the server's author meant.
        text = str(httpx.URL(base.rstrip("/") + "/").join(_relative(text, what)))
    url = parse(text, what)
    inside = is_loopback(url.host) and is_loopback(home.host)
    if url.scheme != "https" and not inside:
        raise UnsafeAddress(f"{what} must be https.", where=what)
    if url.host != home.host and not inside and not _may_name(home.host, url.host):
        raise UnsafeAddress(f"{what} names a host of a private network.", where=what)
    return str(url)


def within(base: str, text: str) -> bool:
    """Tell whether an absolute URL is of the base's origin and below its path; only there may its token go."""
    try:
        url = parse(text, "address")
    except UnsafeAddress:
        return False
    home = httpx.URL(base)
    root = home.path.rstrip("/")
    return origin(url) == origin(home) and (url.path == root or url.path.startswith(f"{root}/"))


def origin(url: httpx.URL | str) -> tuple[str, str, int | None]:
    """Give scheme, host and port of an address."""
    url = httpx.URL(url)
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)


def climbs(url: httpx.URL) -> bool:
    """Tell whether the path holds a dot segment or a backslash, also one that is percent-encoded."""
    path = url.path  # percent-decoded
    return "\\" in path or any(step in {".", ".."} for step in path.split("/"))


def _relative(text: str, what: str) -> httpx.URL:
    if text.startswith("//") or not _VISIBLE.fullmatch(text) or len(text) > LONGEST:
        raise UnsafeAddress(f"{what} is not an address.", where=what)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise UnsafeAddress(f"{what} is not an address.", where=what) from None
    if url.scheme or url.host:
        raise UnsafeAddress(f"{what} must be an absolute https URL.", where=what)
    return url


def _may_name(home: str, other: str) -> bool:
    # An address in figures has no name that a certificate or a registration could vouch for, not even a public one.
    if is_loopback(other) or _address(other) is not None:
        return False
    return _private_name(home) or not _private_name(other)


def _private_name(host: str) -> bool:
    name = host.casefold().rstrip(".")
    return "." not in name or name.endswith(_RESERVED_NAMES) or _address(name) is not None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
