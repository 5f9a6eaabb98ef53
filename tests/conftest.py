"""With CLEANPLATE_SKIP_NOTHING=1 in the environment a skipped test is a failed one: nothing stays untested unnoticed.

Two things may still be missing, because nobody can install them: a GPU, and the corpus beside the checkout.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from jaxtyping import config

CORPUS = Path(__file__).parents[2] / "shared" / "data"


def may_be_skipped(reason: str) -> bool:
    """Whether the reason of a skip names something that cannot be installed."""
    return "CUDA" in reason or (str(CORPUS) in reason and not CORPUS.is_dir())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):  # noqa: ARG001
    """Fail what was skipped and need not have been."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CLEANPLATE_SKIP_NOTHING") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not may_be_skipped(reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped, and CLEANPLATE_SKIP_NOTHING is 1: {reason}"
    return report


@pytest.fixture(scope="module")
def unchecked() -> Generator[None]:
    """For tests that export: the sizes that torch traces with are symbols, which no check takes for ints."""
    config.update("jaxtyping_disable", True)
    logging.disable(logging.DEBUG)  # torch tells a hundred thousand things while it traces
    yield
    logging.disable(logging.NOTSET)
    config.update("jaxtyping_disable", False)
