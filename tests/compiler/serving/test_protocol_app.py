"""The web application without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from tamis.compiler.serving.protocol_app import protocol_app


class Model:
    """Is never asked."""

    name = "m"


def test_a_client_that_leaves_is_no_defect() -> None:
    """What the application raises, uvicorn prints with a traceback."""
    told: Iterator[dict[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(told)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/m/infer", "query_string": b"", "headers": []}
    models: Any = {"m": Model()}
    asyncio.run(protocol_app(models, 1000)(scope, receive, send))
    assert sent[0]["status"] == 400
