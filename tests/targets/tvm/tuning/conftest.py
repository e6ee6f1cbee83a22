"""A compiler process that tests ask about kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tamis.targets.tvm.child import CompilerProcess

PROGRAM = "tests.targets.tvm.tuning.kernels_child"


@pytest.fixture(scope="module")
def kernels() -> Iterator[CompilerProcess]:
    with CompilerProcess(2, PROGRAM) as process:
        yield process
