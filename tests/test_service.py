"""The service: what it answers is what the predictor says, to each its own, in every form."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Generator
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from PIL import Image

from cleanplate.care.doctor import examine
from cleanplate.care.words import words
from cleanplate.inference.colours import decontaminate
from cleanplate.inference.predictor import Predictor, load
from cleanplate.pictures.frames import read_depth, read_image
from cleanplate.service.app import accepted
from cleanplate.service.limits import RefusedError
from cleanplate.types import Prediction
from made_server import SAMPLE, SCENES, Client, differing, encoded, form, noise, png, serving

SCENE = SAMPLE / SCENES[0]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load("released", threads=1)


@pytest.fixture(scope="module")
def client() -> Generator[Client]:
    """The packaged model, two workers."""
    with serving([load("released", care=False, threads=1) for _ in range(2)]) as client:
        yield client


@pytest.fixture(scope="module")
def pair() -> tuple[bytes, bytes]:
    return (SCENE / "plate.jpg").read_bytes(), (SCENE / "frames" / "0.jpg").read_bytes()


@pytest.fixture(scope="module")
def right(predictor: Predictor) -> Prediction:
    return predictor.predict(SCENE / "plate.jpg", SCENE / "frames" / "0.jpg")


def test_a_mask_is_the_predictors(client: Client, pair: tuple[bytes, bytes], right: Prediction) -> None:
    key = client.plate(pair[0], "image/jpeg")
    for reply in (client.frame(key, pair[1], "?answer=mask"), client.frame(key, pair[1], Accept="image/png")):
        assert reply.status == 200
        assert reply.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(reply.picture, (right.alpha * 255 + 0.5).astype(np.uint8))


def test_a_cutout_has_the_foregrounds_own_colours(client: Client, pair: tuple[bytes, bytes], right: Prediction) -> None:
    cutout = client.frame(client.plate(pair[0]), pair[1], "?answer=cutout").picture
    assert cutout.shape == (*right.alpha.shape, 4)
    np.testing.assert_array_equal(cutout[..., 3], (right.alpha * 255 + 0.5).astype(np.uint8))
    plate, frame = read_image(SCENE / "plate.jpg"), read_image(SCENE / "frames" / "0.jpg")
    np.testing.assert_array_equal(cutout[..., :3], decontaminate(frame, right.alpha, plate))
    assert (cutout[..., :3] == frame)[right.alpha == 1].all()


def test_a_depth_is_millimetres(client: Client, pair: tuple[bytes, bytes], right: Prediction) -> None:
    reply = client.frame(client.plate(pair[0]), pair[1], "?answer=depth")
    assert reply.picture.dtype == np.uint16
    assert reply.headers["units-per-step"] == "0.001"
    assert right.depth is not None
    np.testing.assert_allclose(reply.picture, right.depth * 1000, atol=1)


def test_figures_are_those_of_the_mask(client: Client, pair: tuple[bytes, bytes], right: Prediction) -> None:
    key = client.plate(pair[0])
    query = "?include=mask&include=rle&include=depth&include=cutout"
    found = client.frame(key, pair[1], query, Accept="application/json").json
    mask = right.mask
    assert (found["height"], found["width"]) == mask.shape
    assert found["foreground"] == pytest.approx(mask.mean(), abs=1e-6)
    box = found["box"]
    cut = np.zeros_like(mask)
    cut[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]] = True
    assert cut[mask].all()
    assert mask[box["y"]].any()
    assert mask[:, box["x"] + box["width"] - 1].any()
    assert right.depth is not None
    assert found["depth"]["kind"] == "metric"
    assert found["depth"]["median"] == pytest.approx(np.median(right.depth), rel=1e-4)
    assert found["depth"]["median_foreground"] == pytest.approx(np.median(right.depth[mask]), rel=1e-4)
    runs = found["rle"]["counts"]
    drawn = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(found["rle"]["size"], order="F")
    np.testing.assert_array_equal(drawn, mask)
    pictures = {name: np.array(Image.open(io.BytesIO(base64.b64decode(v)))) for name, v in found["pictures"].items()}
    np.testing.assert_array_equal(pictures["mask"] >= 128, mask)
    assert pictures["cutout"].shape == (*mask.shape, 4)
    assert pictures["depth"].dtype == np.uint16
    assert client.frame(key, pair[1]).json["pictures"] == {}


def test_a_plate_brings_its_depth(client: Client, pair: tuple[bytes, bytes], predictor: Predictor) -> None:
    body, kind = form(plate=pair[0], depth=(SCENE / "plate_depth.png").read_bytes())
    reply = client("POST", "/plates", body, kind)
    assert reply.status == 201
    assert reply.json["depth"] is True
    assert reply.headers["location"] == f"/plates/{reply.json['id']}"
    found = client("POST", f"{reply.headers['location']}/frames?answer=depth", *form(frame=pair[1])).picture
    given = read_depth(SCENE / "plate_depth.png")
    expected = predictor.predict(SCENE / "plate.jpg", SCENE / "frames" / "0.jpg", given).depth
    assert expected is not None
    np.testing.assert_allclose(found, expected * 1000, atol=1)
    wrong = png(np.full((9, 9), 1000, np.uint16))
    assert client("POST", "/plates", *form(plate=pair[0], depth=wrong)).status == 422
    assert "16-bit" in client("POST", "/plates", *form(plate=pair[0], depth=png(noise(0)))).error


def test_care_brings_a_moved_frame_to_its_plate(client: Client, pair: tuple[bytes, bytes]) -> None:
    key = client.plate(pair[0])
    frame = read_image(SCENE / "frames" / "0.jpg")
    moved = png(np.roll(frame, 3, axis=1))
    assert "moved by -3.0" in client.frame(key, moved).json["corrected"]
    assert client.frame(key, moved, "?care=false").json["corrected"] == ""


def test_a_frame_of_another_size_is_stretched_only_on_request(client: Client, pair: tuple[bytes, bytes]) -> None:
    key = client.plate(pair[0])
    small = encoded(Image.open(io.BytesIO(pair[1])).resize((160, 120)), "JPEG", quality=95)
    refused = client.frame(key, small)
    assert refused.status == 422
    assert "320x240" in refused.error
    assert "fit=true" in refused.error
    found = client.frame(key, small, "?fit=true").json
    assert (found["width"], found["height"]) == (160, 120)
    assert found["foreground"] == pytest.approx(client.frame(key, pair[1]).json["foreground"], abs=0.02)


def test_the_doctor_says_what_the_command_says(client: Client, pair: tuple[bytes, bytes]) -> None:
    dark = (read_image(SCENE / "frames" / "0.jpg") * 0.7).astype(np.uint8)
    reply = client("POST", "/doctor", *form(plate=pair[0], frame=png(dark)))
    expected = examine(read_image(SCENE / "plate.jpg"), [dark])
    assert reply.json["words"] == words(expected)
    assert any("xposure" in sentence for sentence in reply.json["words"])
    assert reply.json["figures"]["gain"] == pytest.approx(asdict(expected)["gain"])


def test_a_forgotten_plate_is_gone(client: Client, pair: tuple[bytes, bytes]) -> None:
    key = client.plate(pair[0])
    assert client("DELETE", f"/plates/{key}").status == 204
    for reply in (client("DELETE", f"/plates/{key}"), client.frame(key, pair[1])):
        assert reply.status == 404
        assert "post it again" in reply.error


def test_every_client_gets_its_own_answer() -> None:
    """16 clients at once, a plate each, some shared; answers are told apart by their content alone."""
    plates = [noise(seed) for seed in range(8)]
    frames = [noise(100 + seed) for seed in range(16)]
    expected = [cv2.absdiff(plates[seed % 8], frame).max(axis=2) for seed, frame in enumerate(frames)]
    wrong: list[str] = []
    with serving(differing(3)) as client:
        ids = [client.plate(png(plate)) for plate in plates]

        def ask(seed: int) -> None:
            for turn in range(6):
                kind = "?care=false&answer=" + ("mask" if turn % 2 else "cutout")
                found = client.frame(ids[seed % 8], png(frames[seed]), kind).picture
                if not np.array_equal(found if turn % 2 else found[..., 3], expected[seed]):
                    wrong.append(f"client {seed}, turn {turn}")

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_depth_without_metres_says_what_a_step_is_worth() -> None:
    with serving(differing(depth="relative")) as client:
        reply = client.frame(client.plate(png(noise(0))), png(noise(1)), "?answer=depth")
        unit = float(reply.headers["units-per-step"])
        assert reply.picture.max() == 60_000
        assert reply.picture.max() * unit == pytest.approx(1, rel=0.01)  # its plate's layer lies at e^0


def test_a_model_of_masks_alone_gives_no_depth() -> None:
    with serving(load_masks()) as client:
        key = client.plate(png(noise(0)))
        assert client.frame(key, png(noise(1))).json["depth"] is None
        refused = client.frame(key, png(noise(1)), "?answer=depth")
        assert refused.status == 406
        assert "no depth" in refused.error


def load_masks() -> list[Predictor]:
    """A predictor whose runtime answers by a mask alone."""
    (predictor,) = differing(depth="none")
    whole = predictor.runtime.answer
    predictor.runtime.answer = lambda *given: type(whole(*given))(whole(*given).alpha)
    return [predictor]


def test_health_and_metrics_tell_of_the_server(client: Client, pair: tuple[bytes, bytes]) -> None:
    assert client("GET", "/health").json["ready"] is True
    before = figures(client)
    client.frame(client.plate(pair[0]), pair[1])
    client("GET", "/no/such/path")
    after = figures(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    route = 'route="/plates/{id}/frames"'
    assert grown(f'cleanplate_requests_total{{method="POST",{route},status="200"}}') == 1
    assert grown('cleanplate_requests_total{method="GET",route="other",status="404"}') == 1
    assert grown(f"cleanplate_request_seconds_count{{{route}}}") == 1
    assert grown('cleanplate_work_seconds_count{part="look"}') == 1
    assert grown('cleanplate_work_seconds_sum{part="look"}') > 0
    assert grown("cleanplate_plates") == 1
    assert grown("cleanplate_plates_bytes") > 2 * 320 * 240 * 3
    assert after["cleanplate_queue_depth"] == 0
    assert after["cleanplate_held_bytes"] == 0
    assert after["process_resident_memory_bytes"] > 1e7


def figures(client: Client) -> dict[str, float]:
    """What /metrics says."""
    lines = client("GET", "/metrics").body.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "json"),
        ("", "json"),
        ("application/json", "json"),
        ("image/png", "mask"),
        ("image/png, application/json", "mask"),
        ("text/html, image/*;q=0.8", "mask"),
        ("image/png;q=0, */*;q=0.1", "json"),
    ],
)
def test_accept_means_an_answer(accept: str, kind: str) -> None:
    assert accepted(accept) == kind


def test_an_accept_that_nothing_fits_is_refused() -> None:
    with pytest.raises(RefusedError, match="image/png"):
        accepted("text/html")
