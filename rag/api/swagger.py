"""Swagger UI at /schema, from files of an installed package: a browser without internet shows it too."""

from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from litestar import Response, get
from litestar.params import FromPath

from rag.api.access import PUBLIC
from rag.errors import NotFound

_TYPES: Final = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Cloister: HTTP API</title>
  <link rel="icon" type="image/png" href="/schema/ui/favicon-32x32.png">
  <link rel="stylesheet" href="/schema/ui/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/schema/ui/swagger-ui-bundle.js"></script>
  <script src="/schema/start.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: "/schema/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""
_CACHED: Final = {"Cache-Control": "public, max-age=86400"}


@get("/schema", opt=PUBLIC)
async def swagger_page() -> Response[str]:
    """The page; its policy lets nothing in from elsewhere."""
    return Response(_PAGE, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@get("/schema/start.js", opt=PUBLIC)
async def swagger_start() -> Response[str]:
    """What starts the page, in a file of its own since the policy allows no script within it."""
    return Response(_START, media_type="text/javascript; charset=utf-8", headers=_CACHED)


@get("/schema/ui/{name:str}", opt=PUBLIC, sync_to_thread=True)
def swagger_file(name: FromPath[str]) -> Response[bytes]:
    """One of the files of Swagger UI that the page names."""
    if name not in _TYPES:
        raise NotFound("there is nothing at this path")
    return Response((_folder() / name).read_bytes(), media_type=_TYPES[name], headers=_CACHED)


def _folder() -> Path:
    # Found without importing the package, which would import flask.
    return Path(str(distribution("flask-swagger-ui").locate_file("flask_swagger_ui/dist")))


ROUTES: Final = (swagger_page, swagger_start, swagger_file)
