"""Live input from a real RTSP server on loopback, GStreamer's, and from servers that misbehave."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.pictures.frames import VideoReader, read_image
from cleanplate.pictures.library import sample_folder
from cleanplate.predictions import live
from cleanplate.predictions.live import LiveReader
from cleanplate.types import InputError
from made_films import TICKS, film

PYTHON = "/usr/bin/python3"
"""Debian's own, which knows its packages."""
PAIR = sample_folder() / "pairs" / "0003"
PLATE, FRAME, MASK = (  # small: a busy machine shall keep up
    cv2.resize(read_image(PAIR / file), (160, 120), interpolation=cv2.INTER_AREA)
    for file in ("plate.jpg", "frames/0.jpg", "masks/0.png")
)
FPS, BARE_S, FILM_S = 10, 7, 12
SERVER = '''
"""Serves CLIP's pictures at /camera and its sound at /sound; tells its port, then how each viewer wants it brought."""
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer as Server

clip, transports, password = sys.argv[1:]
Gst.init(None)
brought = GstRtsp.RTSPLowerTrans(0)
for name in transports.split("+"):
    brought |= getattr(GstRtsp.RTSPLowerTrans, name)
server = Server.RTSPServer(address="127.0.0.1", service="0")
rights = Server.RTSPPermissions()
for right in ("access", "construct"):
    rights.add_permission_for_role("viewer", "media.factory." + right, True)
if password:
    token, auth = Server.RTSPToken(), Server.RTSPAuth()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(Server.RTSPAuth.make_basic("viewer", password), token)
    server.set_auth(auth)
for path, pipeline in (("/camera", "d.video_0 ! queue ! rtph264pay"), ("/sound", "d.audio_0 ! queue ! rtpmp4gpay")):
    factory = Server.RTSPMediaFactory()
    factory.set_launch(f"( filesrc location={clip} ! qtdemux name=d {pipeline} name=pay0 pt=96 )")
    factory.set_protocols(brought)
    factory.set_permissions(rights)
    server.get_mount_points().add_factory(path, factory)

def tell(_, context):
    asked = context.request.get_header(GstRtsp.RTSPHeaderField.TRANSPORT, 0)[1]
    print("TCP" if "TCP" in asked else "UDP", flush=True)

server.connect("client-connected", lambda _, client: client.connect("setup-request", tell) and None)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
'''


class Camera:
    """A running server. told: the file of what it says."""

    def __init__(self, process: subprocess.Popen[bytes], told: Path) -> None:
        self.process, self._told = process, told
        begin = time.monotonic()
        while not told.read_text().endswith("\n"):
            assert process.poll() is None
            assert time.monotonic() - begin < 60
            time.sleep(0.05)
        self.host = f"127.0.0.1:{told.read_text().strip()}"

    def asked(self) -> list[str]:
        """How each viewer wanted it, in order."""
        return self._told.read_text().split()[1:]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """A camera that shows the bare scene for BARE_S seconds, then somebody in it, and ends after FILM_S."""
    wanted = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", wanted], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (Debian: gir1.2-gst-rtsp-server-1.0 and python3-gi)")
    folder = tmp_path_factory.mktemp("camera")
    script = folder / "server.py"
    script.write_text(SERVER)
    frames = [PLATE if number < BARE_S * FPS else FRAME for number in range(FILM_S * FPS)]
    clip = film(folder / "clip.mp4", frames, [round(t * TICKS / FPS) for t in range(len(frames))], sound="aac")

    @contextmanager
    def serve(transports: str = "TCP+UDP", password: str = "") -> Iterator[Camera]:
        command = [PYTHON, str(script), str(clip), transports, password]
        told = folder / "told"
        with told.open("wb") as file:
            process = subprocess.Popen(command, stdout=file)
        try:
            yield Camera(process, told)
        finally:
            process.kill()
            process.wait()

    return serve


def test_the_plate_is_learned_and_the_rest_recorded(
    serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve() as camera:
        command = ["predict", "--live", f"rtsp://{camera.host}/camera", "--plate", "auto", "--out", str(tmp_path)]
        assert main([*command, "--learn", "1.5", "--video", "mask"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.index("step out of the picture") < said.index("step in")
    assert np.abs(read_image(tmp_path / "live_plate.png").astype(int) - PLATE).mean() < 6
    [entry] = json.loads((tmp_path / "predictions.json").read_text())["inputs"]
    recorded = VideoReader(tmp_path / "live_mask.mp4")
    assert recorded.size == PLATE.shape[:2]
    shown = list(recorded.timed())
    times = np.array([float(timed.pts * recorded.facts.time_base) for timed in shown])
    assert len(times) == entry["frames"] > 3
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert times[-1] < FILM_S - 1.5  # it ends with the stream; the learning is no part of it
    # Somebody came at the second at which the server showed it, and is seen from then on.
    inside = MASK[..., 0] > 127
    there = np.array([timed.pixels[..., 0][inside].mean() > 127 for timed in shown])
    assert shown[-1].pixels[..., 0][~inside].mean() < 25
    assert there[-1]
    assert not there[times < times[-1] - (FILM_S - BARE_S) - 0.3].any()
    assert there[times > times[-1] - (FILM_S - BARE_S) + 0.5].all()


@pytest.mark.parametrize(("offered", "taken"), [("TCP+UDP", "TCP"), ("UDP", "UDP")])
def test_it_ends_after_the_time_asked_for(offered: str, taken: str, serve: Callable) -> None:
    with serve(offered) as camera:
        with LiveReader(f"rtsp://{camera.host}/camera", seconds=2.0) as reader:
            times, clock = [], []
            for timed in reader.timed():
                times.append(float(timed.pts * reader.facts.time_base))
                clock.append(time.monotonic())
                if len(times) == 1:
                    time.sleep(0.4)  # what lies in buffers comes meanwhile, and the newest of it is the next
        assert camera.asked()[-1] == taken
    assert (np.diff(times) > 0).all()
    assert 1.5 < times[-1] < 2.2
    assert (np.array(times) < np.array(clock) - clock[0] + 0.2).all()


def test_what_the_server_does_not_have_is_said(serve: Callable, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with serve() as camera:
        command = ["predict", "--plate", "auto", "--out", str(tmp_path), "--live"]
        assert main([*command, f"rtsp://{camera.host}/garden"]) == 2
        assert "404" in capsys.readouterr().err
        with pytest.raises(InputError, match="no video track"):
            LiveReader(f"rtsp://{camera.host}/sound")


def test_a_password_opens_and_is_not_told(serve: Callable) -> None:
    with serve(password="sesame") as camera:
        with LiveReader(f"rtsp://viewer:sesame@{camera.host}/camera", seconds=0.3) as reader:
            assert list(reader.timed())
            assert reader.name == f"rtsp://{camera.host}/camera"
        with pytest.raises(InputError, match="401") as caught:
            LiveReader(f"rtsp://viewer:simsim@{camera.host}/camera")
    assert "simsim" not in str(caught.value)


def test_a_server_that_freezes_is_not_waited_for_long(serve: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 3.0)
    with serve() as camera, LiveReader(f"rtsp://{camera.host}/camera") as reader:
        shown = reader.timed()
        next(shown)
        camera.process.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        with pytest.raises(InputError, match="nothing has come for 3 seconds"):
            list(shown)
        assert time.monotonic() - begin < 10


def test_who_accepts_and_is_silent_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PATIENCE_S", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        begin = time.monotonic()
        with pytest.raises(InputError, match="cannot be opened \\(nothing has come for 1 seconds\\)"):
            LiveReader(f"rtsp://127.0.0.1:{door.getsockname()[1]}/camera")
        assert time.monotonic() - begin < 5


def test_nobody_there_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        port = door.getsockname()[1]
    for source, said in (
        (f"rtsp://viewer:sesame@127.0.0.1:{port}/camera", f"rtsp://127.0.0.1:{port}/camera: cannot be opened"),
        ("/dev/video97", "/dev/video97: cannot be opened (No such file or directory); is it plugged in"),
    ):
        begin = time.monotonic()
        assert main(["predict", "--plate", "auto", "--out", str(tmp_path), "--live", source]) == 2
        assert time.monotonic() - begin < 30
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_stream_may_be_joined_in_its_midst() -> None:
    """What comes first refers to pictures, and to a set-up, that came before."""
    wire = io.BytesIO()
    with av.open(wire, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = PLATE.shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"preset": "ultrafast", "tune": "zerolatency", "g": "60"}
        for number in range(120):
            picture = np.roll(PLATE, number, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    packets = wire.getvalue()[len(wire.getvalue()) // 20 // 188 * 188 :]

    def send(door: socket.socket) -> None:
        viewer, _ = door.accept()
        with viewer:
            for begin in range(0, len(packets), 188 * 20):
                viewer.sendall(packets[begin : begin + 188 * 20])
                time.sleep(4.5 * 188 * 20 / len(packets))

    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        sender = threading.Thread(target=send, args=(door,), daemon=True)
        sender.start()
        with LiveReader(f"tcp://127.0.0.1:{door.getsockname()[1]}") as reader:
            assert list(reader.timed())
        sender.join(20)
