"""Which kernels of a runtime compute with weights that stay in few bits: data of the runtime, read by passes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BlockKernel(_Data):
    """An operator that reads weights with a scale for each block of consecutive elements."""

    bits: tuple[int, ...] = Field(description="Widths of a weight that its kernel takes, bits.")
    block_sizes: tuple[int, ...] = Field(description="Elements that may share a scale.")

    def takes(self, bits: int, block_size: int) -> bool:
        """Whether it computes with such weights."""
        return bits in self.bits and block_size in self.block_sizes


class WeightKernels(_Data):
    """What a runtime has for weights of few bits, by the operators of domain ``com.microsoft``."""

    matmul_nbits: BlockKernel | None = Field(None, description="MatMulNBits: products with a constant matrix.")
    gather_block_quantized: BlockKernel | None = Field(
        None, description="GatherBlockQuantized: rows of a constant table."
    )
