"""What goes wrong between here and a device."""

from __future__ import annotations

LONGEST = 300


class DeviceError(Exception):
    """A device failed, or cannot be used; the phase, and what to do, are in the text.

    Args:
        device: Its address.
        phase: connect, upload, load, run or measure.
        reason: What is wrong.
        fix: What to do about it.
        lost: Whether there is no connection any more.
    """

    def __init__(self, device: str, phase: str, reason: str, fix: str, *, lost: bool = False) -> None:
        self.device, self.phase, self.reason, self.fix, self.lost = device, phase, reason, fix, lost
        super().__init__(f"device {device}, phase {phase}: {reason}; {fix}")


def telling_line(error: BaseException) -> str:
    """The line of a message of TVM that says what is wrong, without its C++ trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    skipped = ("File ", "at ", "^", "|", "Stack trace", "RPCError", "Traceback")
    telling = next((line for line in reversed(lines) if not line.startswith(skipped)), type(error).__name__)
    return telling[:LONGEST]
