"""The service's description, tried out by schemathesis: whatever it allows is answered as it says, the rest refused.

Pictures are drawn among whole ones of a few sizes, so that requests get as far as the network, and among others.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from made_server import Client, differing, encoded, noise, png, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
]
BOUNDED = settings(
    max_examples=15, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
PLATE = noise(0)
PICTURES = st.sampled_from(
    [
        png(PLATE),
        png(noise(1)),
        png(noise(2, 3, 200)),
        png(np.full((60, 80), 3000, np.uint16)),
        encoded(Image.fromarray(noise(3)), "JPEG"),
        encoded(Image.fromarray(noise(3)), "WEBP"),
        png(noise(1))[:99],
    ]
)
for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, st.one_of(PICTURES, PICTURES, st.binary(max_size=64)))


@pytest.fixture(scope="module")
def server() -> Generator[tuple[Client, dict]]:
    with serving(differing(2)) as client:
        yield client, client("GET", "/openapi.json").json


def operations() -> list[tuple[str, str]]:
    return [
        ("POST", "/plates"),
        ("DELETE", "/plates/{id}"),
        ("POST", "/plates/{id}/frames"),
        ("POST", "/doctor"),
        ("GET", "/health"),
        ("GET", "/metrics"),
    ]


@pytest.mark.parametrize("method_path", operations(), ids=" ".join)
def test_every_answer_is_as_described(server: tuple[Client, dict], method_path: tuple[str, str]) -> None:
    client, described = server
    method, path = method_path
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=f"http://127.0.0.1:{client.port}")
    key = client.plate(png(PLATE))
    statuses: set[int] = set()

    @BOUNDED
    @given(case=schema[path][method].as_strategy(), known=st.booleans())
    def tried(case: schemathesis.Case, known: bool) -> None:
        if known and method != "DELETE" and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = key
        response = case.call(timeout=20)
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    tried()
    wanted = {"DELETE": {404}, "GET": {200}, "POST": {201 if path == "/plates" else 200}}[method]
    assert wanted <= statuses


@pytest.mark.parametrize("method_path", [each for each in operations() if each[0] == "POST"], ids=" ".join)
def test_what_is_not_described_is_refused(server: tuple[Client, dict], method_path: tuple[str, str]) -> None:
    client, described = server
    method, path = method_path
    schema = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=f"http://127.0.0.1:{client.port}")
    key = client.plate(png(PLATE))
    negative = schemathesis.GenerationMode.NEGATIVE

    @BOUNDED
    @given(case=schema[path][method].as_strategy(generation_mode=negative))
    def tried(case: schemathesis.Case) -> None:
        if "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = key
        response = case.call(timeout=20)
        case.validate_response(response, checks=[*CHECKS[:1], response_schema_conformance, negative_data_rejection])

    tried()
