"""The program of a tracker: TVM's own, which hands devices to clients by name. Needs TVM and ``tornado``.

Run as ``python -m tamis.targets.tvm.rpc.serve_tracker [--host 127.0.0.1] [--port 9190]``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys

from tamis.targets.tvm.rpc.events import Events


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="Track devices, without authentication: trusted networks only.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=9190, help="0: any that is free")
    parser.add_argument("--report", type=int, help="file descriptor that gets events, instead of lines of text")
    chosen = parser.parse_args()
    events = Events(chosen.report)
    os.environ["TVM_USE_RUNTIME_LIB"] = "1"  # the compiler is not needed
    try:
        from tvm.rpc.tracker import TrackerServerHandler

        listener = socket.create_server((chosen.host, chosen.port))
    except (ImportError, OSError) as error:
        events({"event": "failed", "error": str(error), "bind": not isinstance(error, ImportError)})
        sys.exit(1)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    tracker = TrackerServerHandler(listener, os.urandom(16).hex())
    if events.source is not None:
        loop.add_reader(events.source, tracker.stop)
    events({"event": "ready", "host": chosen.host, "port": listener.getsockname()[1]})
    try:
        tracker.run()
    except KeyboardInterrupt:
        tracker.stop()


if __name__ == "__main__":
    main()
