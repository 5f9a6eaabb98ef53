"""Extras: which optional libraries come with which `pip install "cleanplate[...]"`; an error that says so.

Contract: predicting needs none of them. Whatever asks for a library that is not installed ends in an InputError that
names the command; libraries that no extra brings stay the errors they are.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from cleanplate.types import InputError

MODULES = {
    "torch": "train",
    "accelerate": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "safetensors": "train",
    "pyarrow": "train",
    "fsspec": "train",
    "onnx": "train",
    "onnxscript": "train",
    "openvino": "openvino",
    "fastapi": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "multipart": "serve",
    "transformers": "teacher",
    "ray": "scale",
}
"""The extra of each library, by the name that it is imported by."""


@contextmanager
def told() -> Generator[None]:
    """Within, a missing library of an extra is an InputError."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in MODULES:
            raise
        raise InputError(
            f'this needs {module}, which is not installed; install it: pip install "cleanplate[{MODULES[module]}]"'
        ) from error
