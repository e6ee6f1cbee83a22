"""The Open Inference Protocol v2 over HTTP, for smoke tests of bundles.

References: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tamis.compiler.errors import DataError, TamisError
from tamis.compiler.limits import MEGA
from tamis.compiler.registry import nearest
from tamis.compiler.serving.served_model import VERSION, ServedModel

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HEADER_LENGTH = "Inference-Header-Content-Length"


def protocol_app(models: Mapping[str, ServedModel], max_bytes: int) -> Starlette:
    """The web application. A model answers one request at a time; several models answer side by side.

    Args:
        models: By name, loaded.
        max_bytes: Largest body of a request.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    served = _Served(models, max_bytes)
    model = "/v2/models/{name}"
    routes = [
        Route("/v2", served.server),
        Route("/v2/health/live", served.live),
        Route("/v2/health/ready", served.ready),
    ]
    for prefix in (model, model + "/versions/{version}"):
        routes += [
            Route(prefix, served.metadata),
            Route(prefix + "/ready", served.model_ready),
            Route(prefix + "/infer", served.infer, methods=["POST"]),
        ]
    handlers: dict[Any, Any] = {
        HTTPException: _refused,
        ClientDisconnect: _gone,
        TamisError: _failed,
        Exception: _defect,
    }
    return Starlette(routes=routes, exception_handlers=handlers)


class _Served:
    """The end points."""

    def __init__(self, models: Mapping[str, ServedModel], max_bytes: int) -> None:
        self._models = models
        self._max_bytes = max_bytes
        self._turns = {name: asyncio.Lock() for name in models}

    async def server(self, request: Request) -> Response:
        from tamis import __version__

        return _json({"name": "tamis", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        return _json({"ready": True})

    async def metadata(self, request: Request) -> Response:
        return _json(self._model(request).metadata)

    async def model_ready(self, request: Request) -> Response:
        return _json({"name": self._model(request).name, "ready": True})

    async def infer(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        model = self._model(request)
        body = await self._body(request)
        async with self._turns[model.name]:
            content, length = await run_in_threadpool(model.infer, body, request.headers.get(HEADER_LENGTH))
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})

    def _model(self, request: Request) -> ServedModel:
        from starlette.exceptions import HTTPException

        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        if name not in self._models:
            raise HTTPException(404, f"there is no model {name!r:.100}{nearest(name, self._models)}")
        if version != VERSION:
            raise HTTPException(404, f"there is no version {version!r:.50} of {name}; expected {VERSION}")
        return self._models[name]

    async def _body(self, request: Request) -> bytes:
        from starlette.exceptions import HTTPException

        if (coding := request.headers.get("content-encoding", "identity")) != "identity":
            raise HTTPException(415, f"bodies of coding {coding!r:.50} are not read; send it as it is")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > self._max_bytes:
                text = f"the body is too large; expected at most {self._max_bytes / MEGA:g} MB; see --max-request-mb"
                raise HTTPException(413, text, {"connection": "close"})
        return bytes(body)


def _json(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(data, status, headers)


async def _refused(request: Request, error: Any) -> Response:
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody gets this."""
    return _json({"error": "the client left before the end of its request"}, HTTPStatus.BAD_REQUEST)


async def _failed(request: Request, error: TamisError) -> Response:
    status = HTTPStatus.BAD_REQUEST if isinstance(error, DataError) else HTTPStatus.INTERNAL_SERVER_ERROR
    return _json({"error": str(error), "code": error.code}, status)


async def _defect(request: Request, error: Exception) -> Response:
    return _json({"error": f"defect of tamis: {type(error).__name__}"}, HTTPStatus.INTERNAL_SERVER_ERROR)
