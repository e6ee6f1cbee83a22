"""A machine as data: what passes and runtimes may know of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Int8Units(_Data):
    """What the machine's 8-bit integer dot products can do."""

    pair: Literal["u8s8", "u8u8", "s8s8"] = Field(description="Activation and weight types of the fastest kernels.")
    saturates: bool = Field(description="Pairs of products are clipped to int16 (x86 without VNNI).")


class Caches(_Data):
    """Cache sizes in bytes; L1 and L2 per core, L3 shared. 0 means absent."""

    l1d: int = Field(ge=0, description="Level 1 data cache, bytes per core.")
    l2: int = Field(ge=0, description="Level 2 cache, bytes per core.")
    l3: int = Field(ge=0, description="Level 3 cache, bytes in all.")


class Llvm(_Data):
    """How LLVM names the machine, for compilers that generate code."""

    triple: str = Field(description="Target triple, e.g. aarch64-linux-gnu.")
    cpu: str = Field(description="-mcpu name, e.g. cortex-a72.")
    features: tuple[str, ...] = Field((), description="-mattr entries, e.g. +dotprod.")


class Gpu(_Data):
    """What a kernel may use on the machine's GPU."""

    compute: str = Field(
        pattern=r"^sm_[0-9]+[a-z]?$", description="Compute capability as compilers name it, e.g. sm_80."
    )
    multiprocessors: int = Field(ge=1, description="Streaming multiprocessors.")
    warp_size: int = Field(ge=1, description="Threads that run in lockstep.")
    max_threads_per_block: int = Field(ge=1, description="Threads in one block.")
    registers_per_thread: int = Field(ge=1, description="32-bit registers of one thread.")
    registers_per_block: int = Field(ge=1, description="32-bit registers of one block.")
    shared_memory_per_block: int = Field(ge=0, description="Shared memory that a block may declare statically, bytes.")
    shared_memory_per_block_optin: int = Field(ge=0, description="Shared memory of a block that asks for it, bytes.")


class Machine(_Data):
    """A machine as data; one YAML file a machine in ``targets/hardware/``, ``host`` is detected."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$", description="Kebab-case name; equals the file name.")
    description: str = Field(description="What the machine is, in one line.")
    arch: str = Field(description="Instruction set family: x86-64 or aarch64.")
    isa: tuple[str, ...] = Field(description="Instruction set features that matter to kernels, sorted.")
    cores: int = Field(ge=1, description="Physical cores.")
    threads: int = Field(ge=1, description="Hardware threads that this process may use.")
    caches: Caches
    simd_bits: int = Field(ge=0, description="Widest vector register used by kernels, bits.")
    channel_multiple: int = Field(ge=1, description="Channel counts that are a multiple of this are fast.")
    int8: Int8Units
    fast_dtypes: tuple[str, ...] = Field(description="Element types with native arithmetic, e.g. float32, int8.")
    runtimes: tuple[str, ...] = Field(description="Runtimes that can serve the machine, the preferred one first.")
    llvm: Llvm
    gpu: Gpu | None = Field(None, description="The GPU that models are compiled for; the rest describes its host.")
