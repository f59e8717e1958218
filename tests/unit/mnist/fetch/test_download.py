import gzip
import hashlib
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.files import sha256
from src.mnist.fetch.download import Original, download

FILES = {"images.gz": b"images" * 5000, "labels.gz": b"labels" * 500}
ORIGINALS = {name: Original(hashlib.sha256(content).hexdigest(), len(content)) for name, content in FILES.items()}

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    server: "Mirror"

    def do_GET(self) -> None:
        self.server.requested.append(self.name)
        self.server.answer(self)

    def log_message(self, format: str, *args: object) -> None:
        return

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def reply(self, status: int, body: bytes, length: int | None) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)


class Mirror(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.requested = answer, list[str]()
        self.closed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/mnist/"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that hung up


Serve = Callable[[Answer], Mirror]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirrors: list[Mirror] = []

    def start(answer: Answer) -> Mirror:
        mirror = Mirror(answer)
        threading.Thread(target=mirror.serve_forever, args=(0.01,), daemon=True).start()
        mirrors.append(mirror)
        return mirror

    yield start
    for mirror in mirrors:
        mirror.closed.set()
        mirror.shutdown()
        mirror.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "target"


def intact(request: Request) -> None:
    content = FILES[request.name]
    request.reply(200, content, len(content))


def status(code: int) -> Answer:
    return lambda request: request.reply(code, b"no", 2)


def html_page(request: Request) -> None:
    page = b"<html>Log in to the network</html>"
    request.reply(200, page, len(page))


def cut_off_with_length(request: Request) -> None:
    content = FILES[request.name]
    request.reply(200, content[: len(content) // 2], len(content))


def cut_off_without_length(request: Request) -> None:
    content = FILES[request.name]
    request.reply(200, content[: len(content) // 2], None)


def reset(request: Request) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def reset_in_the_body(request: Request) -> None:
    content = FILES[request.name]
    request.reply(200, content[: len(content) // 2], len(content))
    reset(request)


def hang(request: Request) -> None:
    request.server.closed.wait()


def hang_in_the_body(request: Request) -> None:
    content = FILES[request.name]
    request.reply(200, content[:100], len(content))
    request.server.closed.wait()


def redirect_loop(request: Request) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.send_header("Content-Length", "0")
    request.end_headers()


def endless(request: Request) -> None:
    request.reply(200, b"", None)
    while not request.server.closed.is_set():
        request.wfile.write(b"image" * 10_000)


def endless_while_packed(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.end_headers()
    while not request.server.closed.is_set():
        request.wfile.write(gzip.compress(FILES["images.gz"], 0))


def packed(content: bytes, request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def bomb(request: Request) -> None:
    packed(gzip.compress(bytes(10_000_000)), request)


def packed_and_cut_off(request: Request) -> None:
    packed(gzip.compress(FILES[request.name])[:-10], request)


def trickle(request: Request) -> None:
    """Send a byte whenever the client might otherwise give up, of the headers, too."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not request.server.closed.wait(0.02):
        request.wfile.write(b"X")


def trickle_in_the_body(request: Request) -> None:
    request.reply(200, b"", len(FILES[request.name]))
    while not request.server.closed.wait(0.02):
        request.wfile.write(b"i")


FAULTS: dict[str, tuple[Answer, str]] = {
    "503": (status(503), "HTTP status 503"),
    "404": (status(404), "HTTP status 404"),
    "403": (status(403), "HTTP status 403"),
    "html": (html_page, "wrong SHA-256: not the original file"),
    "cut off with length": (cut_off_with_length, "connection failed or broke off"),
    "cut off without length": (cut_off_without_length, "wrong SHA-256: not the original file"),
    "reset": (reset, "connection failed or broke off"),
    "reset in the body": (reset_in_the_body, "connection failed or broke off"),
    "hang": (hang, "timed out"),
    "hang in the body": (hang_in_the_body, "timed out"),
    "endless": (endless, "sends more than the 30000 bytes of the original file"),
    "endless while packed": (endless_while_packed, "sends more than the 30000 bytes of the original file"),
    "packed and cut off": (packed_and_cut_off, "wrong SHA-256: not the original file"),
    "decompression bomb": (bomb, "wrong SHA-256: not the original file"),
    "redirect loop": (redirect_loop, "redirects without end"),
}


def fetch(folder: Path, *mirrors: str, retries: int = 0) -> None:
    # A loopback server answers at once; only the hanging ones run into the time-out.
    download(folder, mirrors, ORIGINALS, timeout_seconds=0.5, retries=retries)


def assert_whole(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def mirror_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_every_file_comes_from_the_first_mirror_that_is_intact(serve: Serve, folder: Path) -> None:
    first, second = serve(intact), serve(intact)
    fetch(folder, first.url, second.url)
    assert_whole(folder)
    assert first.requested == list(FILES)
    assert second.requested == []


@pytest.mark.fault(19, 20, 21, 22, 23, 24)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_mirror_is_used(serve: Serve, folder: Path, fault: str) -> None:
    answer, _ = FAULTS[fault]
    bad, good = serve(answer), serve(intact)
    fetch(folder, bad.url, good.url)
    assert_whole(folder)
    assert bad.requested
    assert good.requested == list(FILES)


@pytest.mark.fault(19, 20, 21, 22, 23, 24)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_cause_and_leaves_no_file(serve: Serve, folder: Path, fault: str) -> None:
    answer, cause = FAULTS[fault]
    mirror = serve(answer)
    with pytest.raises(UserError) as caught:
        fetch(folder, mirror.url)
    assert f"{mirror.url} ({cause})" in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("answer", [trickle, trickle_in_the_body])
def test_a_byte_now_and_then_does_not_stretch_the_deadline(serve: Serve, folder: Path, answer: Answer) -> None:
    mirror = serve(answer)
    # The time-out never passes, since something arrives all the time.
    with pytest.raises(UserError, match=rf"{mirror.url} \(did not arrive within 0.3 s\)"):
        download(folder, [mirror.url], ORIGINALS, timeout_seconds=60, deadline_seconds=0.3, retries=0)
    assert list(folder.iterdir()) == []


def as_it_is(content: bytes) -> bytes:
    return content


@pytest.mark.parametrize("pack", [as_it_is, gzip.compress])
def test_a_file_that_is_packed_on_the_way_or_only_said_to_be_is_taken(
    serve: Serve, folder: Path, pack: Callable[[bytes], bytes]
) -> None:
    mirror = serve(lambda request: packed(pack(FILES[request.name]), request))
    fetch(folder, mirror.url)
    assert_whole(folder)


@pytest.mark.fault(25)
def test_all_down_names_each_mirror_with_its_cause_and_both_offline_ways(serve: Serve, folder: Path) -> None:
    refused = socket.create_server(("127.0.0.1", 0))
    closed_port = f"http://127.0.0.1:{refused.getsockname()[1]}/"
    refused.close()
    broken, missing = serve(status(503)), folder.parent / "no such folder"
    with pytest.raises(UserError) as caught:
        fetch(folder, closed_port, broken.url, str(missing))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{closed_port} (connection failed or broke off)" in message
    assert f"{broken.url} (HTTP status 503)" in message
    assert f"{missing} (no such file: {missing}/images.gz)" in message
    assert "MNIST_MIRROR" in message
    assert "dataset=digits" in message
    assert list(folder.iterdir()) == []


def test_a_mirror_that_fails_midway_is_given_up_but_what_it_delivered_stays(serve: Serve, folder: Path) -> None:
    half = serve(lambda request: (intact if request.name == "images.gz" else status(404))(request))
    good = serve(intact)
    fetch(folder, half.url, good.url)
    assert_whole(folder)
    assert half.requested == ["images.gz", "labels.gz"]
    assert good.requested == ["labels.gz"]


def test_a_file_is_tried_again_before_its_mirror_is_given_up(serve: Serve, folder: Path) -> None:
    answers = iter([status(503), intact, intact])
    flaky, spare = serve(lambda request: next(answers)(request)), serve(intact)
    fetch(folder, flaky.url, spare.url, retries=1)
    assert_whole(folder)
    assert flaky.requested == ["images.gz", "images.gz", "labels.gz"]
    assert spare.requested == []


def test_a_file_that_is_there_is_kept_and_a_damaged_one_replaced(serve: Serve, folder: Path) -> None:
    folder.mkdir()
    (folder / "images.gz").write_bytes(FILES["images.gz"])
    (folder / "labels.gz").write_bytes(b"damaged")
    mirror = serve(intact)
    fetch(folder, mirror.url)
    assert_whole(folder)
    assert mirror.requested == ["labels.gz"]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", ["mirror", "a mirror with spaces"])
def test_a_folder_is_a_mirror(tmp_path: Path, folder: Path, name: str, slash: str) -> None:
    fetch(folder, f"{mirror_folder(tmp_path / name)}{slash}")
    assert_whole(folder)


@pytest.mark.parametrize("name", ["mirror", "a mirror with spaces"])
def test_a_file_url_is_a_mirror(tmp_path: Path, folder: Path, name: str) -> None:
    fetch(folder, mirror_folder(tmp_path / name).as_uri())
    assert_whole(folder)


def test_a_relative_folder_is_a_mirror(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror_folder(tmp_path / "shared" / "mirror")
    monkeypatch.chdir(tmp_path)
    fetch(folder, "shared/mirror")
    assert_whole(folder)


def test_a_damaged_folder_is_left_for_the_next_mirror(tmp_path: Path, folder: Path) -> None:
    damaged = mirror_folder(tmp_path / "damaged")
    (damaged / "labels.gz").write_bytes(FILES["labels.gz"][:-1])
    fetch(folder, str(damaged), str(mirror_folder(tmp_path / "intact")))
    assert_whole(folder)
    assert sha256(folder / "labels.gz") == ORIGINALS["labels.gz"].sha256


def test_a_scheme_that_nobody_speaks_is_left_for_the_next_mirror(tmp_path: Path, folder: Path) -> None:
    fetch(folder, "gopher://127.0.0.1/mnist", str(mirror_folder(tmp_path / "mirror")))
    assert_whole(folder)


def test_a_full_disk_is_no_fault_of_a_mirror(serve: Serve, folder: Path) -> None:
    first, second = serve(intact), serve(intact)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{folder}'"):
            download(folder, [first.url, second.url], ORIGINALS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert second.requested == []
    assert not folder.exists() or list(folder.iterdir()) == []
