"""The style sheet and the scripts of the pages: served as they are, to be kept for ever under their address."""

from __future__ import annotations

import hashlib
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
_VERSIONS: Final = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in _CONTENT.items()}

ADDRESSES: Final = {name: f"/app/static/{name}?v={version}" for name, version in _VERSIONS.items()}

router: Final = APIRouter(include_in_schema=False)


@router.get("/app/static/{name}")
async def static(request: Request, name: str) -> Response:
    """Give a file: kept for ever by the browser under the address that names its content."""
    headers = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    if name not in _CONTENT:
        return Response(status_code=404, headers=headers)
    lasting = request.query_params.get("v") == _VERSIONS[name]
    headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
    return Response(_CONTENT[name], headers=headers, media_type=_TYPES[Path(name).suffix])
