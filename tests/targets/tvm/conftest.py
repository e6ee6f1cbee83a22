"""A compiler process that the tests share: TVM takes seconds to load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tamis.compiler import choose_runtime, target_build
from tamis.targets.tvm.child import CompilerProcess


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    """Compiles measure, but not for long: no test here is about how fast something is."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (choose_runtime, target_build):
            patch.setattr(module, "MEASURE_SECONDS", 0.3)
        yield


@pytest.fixture(scope="session")
def compiler_process() -> Iterator[CompilerProcess]:
    """TVM with two threads."""
    with CompilerProcess(threads=2) as process:
        yield process
