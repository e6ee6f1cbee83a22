"""Listen on a socket until a signal ends it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tamis.compiler.errors import TargetUnavailableError, UsageError

GRACE_SECONDS = 30
"""How long requests that were accepted may take after the signal."""
MOST_CONNECTIONS = 100


def require_serve() -> None:
    """Refuse to go on without the web framework.

    Raises:
        TargetUnavailableError: It is not installed.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise TargetUnavailableError(
            "serving needs starlette and uvicorn", found=str(error), fix="pip install 'tamis[serve]'"
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        UsageError: The address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError("is not an address of this machine", where=host, found=str(error)) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise UsageError(
            "cannot listen there",
            where=f"{host}:{port}",
            found=error.strerror or str(error),
            fix="choose another --port",
        ) from error
    return made


def address_of(bound: socket.socket) -> str:
    """As a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(app: Any, bound: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT; accepted requests are finished.

    Args:
        app: ASGI application.
        bound: See ``bind``; is closed.
        ready: Called once requests are answered.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with bound, _signals_end_well():
        Server(config).run([bound])


@contextmanager
def _signals_end_well() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more; here that is the normal end."""
    names = (signal.SIGTERM, signal.SIGINT)
    before = {name: signal.signal(name, lambda *_: None) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
