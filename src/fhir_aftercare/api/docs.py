"""Interactive documentation of the API at ``/docs``, without a CDN: Swagger UI from the fastapi-offline package.

Its page is our own, without inline script, so that its content policy needs to be relaxed for styles and images only.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS: Final = "/docs/assets"
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-openapi="{root}{openapi}"></div>
<script src="{root}/docs/assets/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</body>
</html>
"""
# validatorUrl null: else Swagger UI asks a server of its makers to judge the file.
_START: Final = """const place = document.getElementById("swagger-ui");
SwaggerUIBundle({
  domNode: place,
  url: place.dataset.openapi,
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""


def add_docs(app: FastAPI) -> None:
    """Serve the documentation of ``app``, which was made with ``docs_url=None, redoc_url=None``."""
    folder = Path(str(files("fastapi_offline") / "static"))
    openapi_url = app.openapi_url or "/openapi.json"

    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return HTMLResponse(
            _PAGE.format(title=app.title, root=root, openapi=openapi_url), headers={"content-security-policy": POLICY}
        )

    async def start(_: Request) -> Response:
        return Response(_START, media_type="text/javascript")

    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/docs/start.js", start, include_in_schema=False)
    app.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")
