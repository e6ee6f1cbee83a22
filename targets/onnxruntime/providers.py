"""Where ONNX Runtime computes: the CPU, CUDA or TensorRT, and the options of each as it names them.

Nodes that a provider cannot compute fall to the next one in the list; the CPU is the last and computes everything.

References: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html,
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Provider = Literal["cpu", "cuda", "tensorrt"]
ConvolutionSearch = Literal["exhaustive", "heuristic", "default"]

NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
ORDER: dict[Provider, tuple[Provider, ...]] = {
    "cpu": ("cpu",),
    "cuda": ("cuda", "cpu"),
    "tensorrt": ("tensorrt", "cuda", "cpu"),
}
"""The providers of a session, the preferred one first."""
HINTS: dict[Provider, str] = {
    "cpu": "pip install onnxruntime",
    "cuda": "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]', which brings CUDA and cuDNN",
    "tensorrt": "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]' tensorrt",
}
TENSORRT_ONLY = ("fp16", "workspace", "engine_cache")
"""Options that need provider ``tensorrt``; the others serve CUDA too, to which TensorRT leaves what it cannot compute."""


class ProviderOptions(BaseModel):
    """What a recipe can say about the provider; what is left open is left to ONNX Runtime, but for TF32."""

    provider: Provider | None = Field(
        None, description="Where to compute: cpu, cuda or tensorrt; default: cuda on machines with a GPU, else cpu."
    )
    device_id: int | None = Field(None, ge=0, description="Which of the GPUs; needs a GPU provider; default: 0.")
    memory_limit: int | None = Field(
        None, ge=1, description="What CUDA's arena may take of the GPU's memory, bytes; default: all."
    )
    convolution_search: ConvolutionSearch | None = Field(
        None,
        description="How cuDNN's algorithm for a convolution is chosen: by timing all ('exhaustive', the first run takes "
        "long), by a rule ('heuristic'), or always the same ('default'); default: exhaustive.",
    )
    tf32: bool | None = Field(
        None,
        description="Whether CUDA may round float32 inputs of products to 10 bits of mantissa (faster from compute "
        "capability 8.0 on, but outside the limits of contract close); default: false.",
    )
    fp16: bool | None = Field(
        None,
        description="Whether TensorRT may compute in float16 where that is faster; the accuracy budget judges the "
        "result where there is a GPU; default: false.",
    )
    workspace: int | None = Field(None, ge=1, description="Memory for TensorRT's kernels, bytes; default: all.")
    engine_cache: str | None = Field(
        None,
        min_length=1,
        description="Folder in which TensorRT keeps the engines that it has built, and timings; they are good for one GPU "
        "and one version; default: none, every load builds anew.",
    )

    def misplaced(self) -> str | None:
        """What is wrong with the choice of options; None if nothing is."""
        given = set(self.model_dump(exclude_none=True)) & ProviderOptions.model_fields.keys() - {"provider"}
        if given and self.provider in (None, "cpu"):
            return f"{', '.join(sorted(given))}: name a GPU provider, 'provider: cuda' or 'provider: tensorrt'"
        if self.provider == "cuda" and (wrong := sorted(given & set(TENSORRT_ONLY))):
            return f"{', '.join(wrong)}: only provider tensorrt has that"
        return None

    def session_providers(self) -> list[Any]:
        """For ``onnxruntime.InferenceSession(providers=...)``: names, with options where there are any."""
        made = {"cpu": dict[str, str](), "cuda": self._cuda(), "tensorrt": self._tensorrt()}
        return [(NAMES[p], made[p]) if made[p] else NAMES[p] for p in ORDER[self.provider or "cpu"]]

    def _cuda(self) -> dict[str, str]:
        options = {"device_id": str(self.device_id or 0), "use_tf32": _flag(self.tf32)}
        if self.memory_limit is not None:
            options["gpu_mem_limit"] = str(self.memory_limit)
        if self.convolution_search is not None:
            options["cudnn_conv_algo_search"] = self.convolution_search.upper()
        return options

    def _tensorrt(self) -> dict[str, str]:
        options = {"device_id": str(self.device_id or 0), "trt_fp16_enable": _flag(self.fp16)}
        if self.workspace is not None:
            options["trt_max_workspace_size"] = str(self.workspace)
        if self.engine_cache is not None:
            options |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": self.engine_cache,
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": self.engine_cache,
            }
        return options


def absent(ort: Any, provider: Provider | None) -> str | None:
    """Why a session cannot have ``provider``, with the install hint; None if this build of ONNX Runtime has it."""
    name = NAMES[provider or "cpu"]
    available = ort.get_available_providers()
    if name in available:
        return None
    return f"the installed onnxruntime has {', '.join(available)}, but not {name}; {HINTS[provider or 'cpu']}"


def _flag(on: bool | None) -> str:
    return "1" if on else "0"
