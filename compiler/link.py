"""How the machine of a target is reached."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LinkKind = Literal["here", "qemu", "rpc", "none"]


class Link(BaseModel):
    """How lowered models are run for a machine.

    ``here``: in a process of this machine. ``qemu``: in QEMU's user emulation of the machine's instruction set, which
    proves results but says nothing about speed. ``rpc``: on a device that serves TVM's RPC. ``none``: not at all; the
    bundle says that it was not executed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: LinkKind = Field("here", description="here, qemu, rpc or none.")
    address: str | None = Field(None, description="host:port of the device, or of the tracker if there is a key.")
    key: str | None = Field(None, description="What the tracker calls the device.")

    @property
    def executes(self) -> bool:
        """Whether lowered models can be run."""
        return self.kind != "none"

    @property
    def measures(self) -> bool:
        """Whether times mean anything: not under emulation."""
        return self.kind in ("here", "rpc")


HERE = Link()
