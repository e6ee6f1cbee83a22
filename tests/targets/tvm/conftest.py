"""A compiler process that the tests share: TVM takes seconds to load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tamis.targets.tvm.child import CompilerProcess


@pytest.fixture(scope="session")
def compiler_process() -> Iterator[CompilerProcess]:
    """TVM with two threads."""
    with CompilerProcess(threads=2) as process:
        yield process
