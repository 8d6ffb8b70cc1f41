"""ETag, If-Match and If-None-Match: nobody overwrites what they have not seen, nobody fetches what they have.

Versions are FHIR's: ``W/"3"``. Comparison is weak (RFC 9110 §8.8.3.2), since a FHIR server's ETags are weak ones.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header
from starlette.responses import Response

from fhir_aftercare.api.faults import PreconditionRequired
from fhir_aftercare.errors import InvalidInput, Stale

ANY: Final = "*"
_ONE: Final = '^(W/)?"[!#-~]{1,200}"$'
_ETAG: Final = re.compile(r'\s*(?:W/)?"([\x21\x23-\x7e]{1,200})"\s*')


def etag(version: str) -> str:
    """Give the ETag of a version (``meta.versionId``)."""
    return f'W/"{version}"'


def etag_of_content(content: bytes) -> str:
    """Give the ETag of an answer made of many resources: a hash of its bytes."""
    return etag(hashlib.sha256(content).hexdigest()[:32])


def parse(value: str, header: str) -> tuple[str, ...]:
    """Give the versions named in If-Match or If-None-Match, ``("*",)`` for any.

    Raises ``InvalidInput`` if it is no list of ETags.
    """
    if value.strip() == ANY:
        return (ANY,)
    versions: list[str] = []
    rest = value
    while True:
        match = _ETAG.match(rest)
        if not match:
            raise InvalidInput(f'{header} must be an ETag such as W/"3".', where=header)
        versions.append(match[1])
        rest = rest[match.end() :]
        if not rest:
            return tuple(versions)
        if rest[0] != ",":
            raise InvalidInput(f'{header} must be an ETag such as W/"3".', where=header)
        rest = rest[1:]


@dataclass(frozen=True, slots=True)
class Expected:
    """The version a change is meant for."""

    version: str

    @property
    def etag(self) -> str:
        """As ``FhirClient.update(if_match=…)`` takes it."""
        return etag(self.version)

    def check(self, current: str | None) -> None:
        """Raise ``Stale`` (412) unless ``current`` (a ``meta.versionId``) is that version."""
        if current != self.version:
            raise Stale("It was changed since it was read.", where="If-Match")


def _expected(
    given: Annotated[
        str,
        Header(
            alias="If-Match",
            description="The ETag of the version to change.",
            examples=['W/"3"'],
            json_schema_extra={"pattern": _ONE},
        ),
    ],
) -> Expected:
    # Without one, ``reasons`` makes it a ``PreconditionRequired``. "*" would be a change of something nobody looked at,
    # and one of several versions cannot be asked of FHIR.
    versions = parse(given, "If-Match")
    if versions == (ANY,):
        raise PreconditionRequired("A change must name the version it changes.", where="If-Match")
    if len(versions) > 1:
        raise InvalidInput("If-Match must name one version.", where="If-Match")
    return Expected(versions[0])


@dataclass(frozen=True, slots=True)
class Known:
    """The versions a caller already has."""

    versions: tuple[str, ...] = ()

    def not_modified(self, tag: str) -> Response | None:
        """Give the 304 to answer with if the caller has the version of this ETag, else None."""
        current = parse(tag, "ETag")[0]
        if ANY in self.versions or current in self.versions:
            return Response(status_code=304, headers={"etag": tag})
        return None


def _known(
    given: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="The ETag of what is already there.",
            examples=['W/"3"'],
            json_schema_extra={"pattern": _ONE},
        ),
    ] = None,
) -> Known:
    return Known(parse(given, "If-None-Match")) if given is not None else Known()


IfMatch = Annotated[Expected, Depends(_expected)]
IfNoneMatch = Annotated[Known, Depends(_known)]
