"""The style sheets and the scripts of the pages: small on the way, to be kept for ever under their address.

They go compressed to whoever takes that. Pages do not: beside what somebody typed they hold the secret of their forms,
which its compressed length would give away (BREACH).
"""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

_HERE: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
_FILES: Final = {
    "aftercare.css": _HERE / "aftercare.css",
    # Of the handout alone, which is a sheet of paper on the screen too.
    "handout.css": _HERE / "handout.css",
    "aftercare.js": _HERE / "aftercare.js",
    # htmx as its makers published it (0BSD, the licence lies beside it): an aid, every form works without it.
    "htmx.js": _HERE / "vendor" / "htmx-2.0.11.min.js",
}
_CONTENT: Final = {name: path.read_bytes() for name, path in _FILES.items()}
_PACKED: Final = {name: gzip.compress(content, mtime=0) for name, content in _CONTENT.items()}
_VERSIONS: Final = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENT.items()}
_TAKES_GZIP: Final = re.compile(r"(?:^|,)\s*gzip\s*(?!;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)

ADDRESSES: Final = {name: f"/app/static/{name}?v={version}" for name, version in _VERSIONS.items()}

router: Final = APIRouter(include_in_schema=False)


@router.get("/app/static/{name}")
async def static(request: Request, name: str) -> Response:
    """Give a file: kept for ever by the browser under the address that names its content."""
    headers = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "vary": "accept-encoding"}
    if name not in _CONTENT:
        return Response(status_code=404, headers=headers)
    lasting = request.query_params.get("v") == _VERSIONS[name]
    headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
    packed = _TAKES_GZIP.search(request.headers.get("accept-encoding", "")) is not None
    if packed:
        headers["content-encoding"] = "gzip"
    return Response(_PACKED[name] if packed else _CONTENT[name], headers=headers, media_type=_TYPES[Path(name).suffix])
