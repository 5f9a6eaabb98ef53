"""The service's bounds: each is met by a real request, and answered in words that say what to do."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from cleanplate.inference.predictor import Predictor
from cleanplate.service.limits import MEGA, Limits
from cleanplate.types import InputError
from made_server import Client, Differing, differing, form, noise, png, serving

PLATE, FRAME = png(noise(0)), png(noise(1))


def slow() -> tuple[Differing, Predictor]:
    """A predictor that answers when its runtime's gate is opened."""
    runtime = Differing()
    return runtime, Predictor(runtime, {"depth": "metric"}, care=False)


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def waiting(client: Client) -> float:
    text = client("GET", "/metrics").body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("cleanplate_queue_depth "))


def test_a_full_queue_is_said_and_nobody_is_lost() -> None:
    runtime, predictor = slow()
    runtime.gate.set()
    replies: list[int] = []
    with serving([predictor], Limits(queue=2)) as client:
        key = client.plate(PLATE)
        runtime.gate.clear()
        runtime.seen = 0

        def ask() -> None:
            replies.append(client.frame(key, FRAME, "?care=false").status)

        threads = []
        for count in range(3):  # one is worked at, two wait
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
            until(lambda: runtime.seen == 1)
            until(lambda count=count: waiting(client) == count)
        refused = client.frame(key, FRAME)
        assert refused.status == 503
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "--limits.queue" in refused.error
        assert client("GET", "/health").status == 200
        runtime.gate.set()
        for thread in threads:
            thread.join()
    assert replies == [200, 200, 200]


def test_what_takes_too_long_is_given_up_and_never_begun() -> None:
    runtime, predictor = slow()
    runtime.gate.set()
    with serving([predictor], Limits(seconds=1)) as client:
        key = client.plate(PLATE)
        runtime.gate.clear()
        runtime.seen = 0
        threads = [threading.Thread(target=client.frame, args=(key, FRAME, "?care=false")) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: runtime.seen == 1 and waiting(client) == 1)
        late = client.frame(key, FRAME, "?care=false")
        assert late.status == 504
        assert "--limits.seconds" in late.error
        for thread in threads:
            thread.join()
        runtime.gate.set()
        assert client.frame(key, FRAME, "?care=false").status == 200
        assert runtime.seen == 2  # the first and the last: those that had given up were left out


def test_a_client_that_leaves_makes_no_work() -> None:
    runtime, predictor = slow()
    runtime.gate.set()
    with serving([predictor]) as client:
        key = client.plate(PLATE)
        runtime.gate.clear()
        runtime.seen = 0
        thread = threading.Thread(target=client.frame, args=(key, FRAME, "?care=false"))
        thread.start()
        until(lambda: runtime.seen == 1)
        head = f"POST /plates/{key}/frames HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        with socket.create_connection(("127.0.0.1", client.port)) as left:
            left.sendall(f"{head}Content-Length: {len(FRAME)}\r\n\r\n".encode() + FRAME)
            until(lambda: waiting(client) == 1)
        until(lambda: 'status="499"' in client("GET", "/metrics").body.decode())
        runtime.gate.set()
        thread.join()
        until(lambda: waiting(client) == 0)
        assert client.frame(key, FRAME, "?care=false").status == 200
        assert runtime.seen == 2


@pytest.fixture(scope="module")
def client():
    limits = Limits(body_mb=1, megapixels=1, read_seconds=1, connections=8, held_mb=2, plates=3)
    with serving(differing(), limits, names=frozenset({"127.0.0.1", "localhost"})) as client:
        yield client


def test_a_body_that_says_it_is_large_is_not_read(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port)) as connection:
        head = (
            b"POST /plates HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 99000000\r\n\r\n"
        )
        connection.sendall(head)
        start = time.monotonic()
        assert b" 413 " in connection.recv(65536).split(b"\r\n")[0]
        assert time.monotonic() - start < 0.9


def test_a_body_that_turns_out_large_is_refused(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    chunks = (bytes(200_000) for _ in range(6))
    connection.request("POST", "/plates", chunks, {"Content-Type": "image/png"}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert "--limits.body-mb" in json.loads(response.read())["error"]
    # What was left of it did no harm to the connection.
    connection.request("GET", "/health")
    assert connection.getresponse().read()
    connection.close()


def test_a_slow_body_is_given_up(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(b"POST /plates HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
        connection.sendall(b"Content-Length: 100\r\n\r\nabc")
        answer = read_all(connection)
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"--limits.read-seconds" in answer


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: loc", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET"]
)
def test_a_slow_head_is_left(client: Client, sent: bytes) -> None:
    """A byte now and then keeps nothing open: the time is the whole head's."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        start = time.monotonic()
        connection.sendall(sent)
        threading.Timer(0.6, lambda: connection.sendall(b"a")).start()
        with suppress(ConnectionResetError):
            read_all(connection)
        assert 0.8 < time.monotonic() - start < 5


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(65536):
        found += data
    return found


def test_too_many_connections_are_told_so(client: Client) -> None:
    kept = [socket.create_connection(("127.0.0.1", client.port), timeout=10) for _ in range(8)]
    try:
        time.sleep(0.1)
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as one_more:
            assert b"503" in one_more.recv(65536)
    finally:
        for connection in kept:
            connection.close()
    until(lambda: answers(client))


def answers(client: Client) -> bool:
    try:
        return client("GET", "/health").status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_memory_of_requests_is_bounded(client: Client) -> None:
    """Two senders hold 1.9 of 2 MB between them; the third is told to wait, and served when they have gone."""
    big = FRAME + bytes(200_000)
    with ExitStack() as senders:
        for _ in range(2):
            connection = senders.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=10))
            connection.sendall(b"POST /plates HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n")
            connection.sendall(b"Content-Length: 960000\r\n\r\n" + bytes(950_000))
        until(lambda: b"cleanplate_held_bytes 1.9e+06" in client("GET", "/metrics").body)
        refused = client("POST", "/plates", big, "image/png")
    assert refused.status == 503
    assert "retry-after" in refused.headers
    until(lambda: b"cleanplate_held_bytes 0" in client("GET", "/metrics").body)
    assert client("POST", "/plates", big, "image/png").status == 201


def test_a_reader_that_takes_nothing_is_left() -> None:
    """Large answers that nobody takes off are dropped after a while, and so is what waits behind them."""
    with serving(differing(), Limits(read_seconds=1)) as client:
        key = client.plate(png(noise(0, 600, 600)))
        frame = png(noise(1, 600, 600))
        head = f"POST /plates/{key}/frames?answer=cutout&care=false HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.connect(("127.0.0.1", client.port))
            greedy.sendall(f"{head}Content-Length: {len(frame)}\r\n\r\n".encode() + frame)
            until(lambda: b"cleanplate_held_bytes 0" not in client("GET", "/metrics").body)
            until(lambda: b"cleanplate_held_bytes 0" in client("GET", "/metrics").body)
        assert client("GET", "/health").status == 200


def test_the_least_used_plate_makes_room(client: Client) -> None:
    ids = [client.plate(PLATE) for _ in range(3)]
    assert client.frame(ids[0], FRAME).status == 200
    ids.append(client.plate(PLATE))
    assert [client.frame(key, FRAME).status for key in ids] == [200, 404, 200, 200]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.", "", "[::1]:8000"])
def test_another_hosts_name_is_refused(client: Client, host: str) -> None:
    reply = client("GET", "/health", Host=host)
    assert reply.status == 421
    assert "--names" in reply.error


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9999", "127.0.0.1:80"])
def test_its_own_names_are_served(client: Client, host: str) -> None:
    assert client("GET", "/health", Host=host).status == 200


def test_another_sites_page_may_change_nothing(client: Client) -> None:
    own = f"127.0.0.1:{client.port}"
    for origin in ("http://evil.example", "null", f"http://{own}.evil.example"):
        reply = client("POST", "/plates", PLATE, "image/png", Origin=origin)
        assert reply.status == 403
        assert "access-control-allow-origin" not in reply.headers
    assert client("POST", "/plates", PLATE, "image/png", Origin=f"http://{own}").status == 201


def test_every_answer_has_the_headers_that_keep_the_page_apart(client: Client) -> None:
    for reply in (client("GET", "/health"), client("GET", "/nothing"), client("GET", "/health", Host="evil.example")):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cross-origin-opener-policy"] == "same-origin"
        assert reply.headers["cross-origin-embedder-policy"] == "require-corp"
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'self'" in reply.headers["content-security-policy"]
        assert "server" not in reply.headers


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (PLATE, "image/svg+xml", 415, "image/jpeg"),
        (PLATE, "application/x-www-form-urlencoded", 415, "multipart"),
        (PLATE, "multipart/form-data", 400, "malformed"),
        (PLATE, "multipart/form-data; boundary=edge", 400, "malformed"),
        (form(plate=PLATE)[0][:-10], "multipart/form-data; boundary=edge", 400, "malformed"),
        (form(frame=PLATE)[0], "multipart/form-data; boundary=edge", 400, "a part 'frame'"),
        (form(depth=PLATE)[0], "multipart/form-data; boundary=edge", 422, "not 'plate'"),
        (form(plate=PLATE)[0][:-10] + form(plate=PLATE)[0], "multipart/form-data; boundary=edge", 400, "twice"),
    ],
)
def test_bodies_that_are_no_picture_say_what_is(client: Client, body: bytes, kind: str, status: int, said: str) -> None:
    reply = client("POST", "/plates", body, kind)
    assert reply.status == status, reply.body
    assert said in reply.error


def test_compressed_bodies_are_not_unpacked(client: Client) -> None:
    assert client("POST", "/plates", PLATE, "image/png", Content_Encoding="gzip").status == 415


def test_limits_are_checked_when_they_are_given() -> None:
    with pytest.raises(InputError, match=r"--limits.queue is 0"):
        Limits(queue=0).check()
    assert Limits(body_mb=3).body_bytes == 3 * MEGA
