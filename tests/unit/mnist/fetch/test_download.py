import gzip
import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.mnist.fetch import download
from src.mnist.fetch.download import Original
from tests.unit.core.test_files import full_disk
from tests.unit.server import Answer, Request, Server

FILES = {"images.gz": b"images" * 5000, "labels.gz": b"labels" * 500}
ORIGINALS = {name: Original(hashlib.sha256(content).hexdigest(), len(content)) for name, content in FILES.items()}
Serve = Callable[[Answer], Server]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "target"


def content_of(request: Request) -> bytes:
    return FILES[request.name]


def intact(request: Request) -> None:
    request.reply(content_of(request), len(content_of(request)))


def status(code: int) -> Answer:
    return lambda request: request.reply(b"no", 2, code)


def half(request: Request) -> None:
    request.reply(content_of(request)[: len(content_of(request)) // 2], len(content_of(request)))


def half_and_reset(request: Request) -> None:
    half(request)
    request.reset()


def hang(request: Request) -> None:
    request.server.closed.wait()


def half_and_hang(request: Request) -> None:
    half(request)
    hang(request)


def endless(request: Request, body: bytes = b"image" * 10_000, encoding: str = "") -> None:
    request.reply(b"", None, encoding=encoding)
    while not request.server.closed.is_set():
        request.wfile.write(body)


def compressed(content: bytes, request: Request) -> None:
    request.reply(content, len(content), encoding="gzip")


def trickle(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    request.send_repeatedly(b"X")


def trickle_in_the_body(request: Request) -> None:
    request.reply(b"", len(content_of(request)))
    request.send_repeatedly(b"i")


WRONG, BROKEN = "wrong SHA-256: not the original file", "connection failed or broke off"
TOO_LONG = "sends more than the 30000 bytes of the original file"
FAULTS: dict[str, tuple[Answer, str]] = {
    "503": (status(503), "HTTP status 503"),
    "html": (lambda request: request.reply(b"<html>Log in</html>", 19), WRONG),
    "truncated with length": (half, BROKEN),
    "truncated without length": (lambda request: request.reply(content_of(request)[:-1], None), WRONG),
    "reset": (Request.reset, BROKEN),
    "reset in the body": (half_and_reset, BROKEN),
    "hang": (hang, "timed out"),
    "hang in the body": (half_and_hang, "timed out"),
    "endless": (endless, TOO_LONG),
    "endless compressed": (
        lambda request: endless(request, gzip.compress(FILES["images.gz"], 0), encoding="gzip"),
        TOO_LONG,
    ),
    "truncated compressed": (lambda request: compressed(gzip.compress(content_of(request))[:-10], request), WRONG),
    "decompression bomb": (lambda request: compressed(gzip.compress(bytes(10_000_000)), request), WRONG),
    "redirect loop": (lambda request: request.reply(b"", 0, 302, location=request.path), "Exceeded 30 redirects."),
}


def fetch(
    folder: Path, *mirrors: str, retries: int = 0, timeout_seconds: float = 60, deadline_seconds: float = 600
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "RETRIES", retries)
        patch.setattr(download, "TIMEOUT_SECONDS", timeout_seconds)
        patch.setattr(download, "DEADLINE_SECONDS", deadline_seconds)
        download.download(folder, mirrors, ORIGINALS)


def timeout_for(answer: Answer) -> float:
    """Short if the mirror hangs; long if it answers, which may take a while on a busy machine."""
    return 0.4 if answer in (hang, half_and_hang) else 60


def assert_complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def mirror_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.fault(19, 20, 21, 22, 23, 24)
@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_reported_with_its_cause_and_next_mirror_is_used(serve: Serve, folder: Path, fault: str) -> None:
    answer, cause = FAULTS[fault]
    bad, good, timeout = serve(answer), mirror_folder(folder.parent / "good"), timeout_for(answer)
    with pytest.raises(UserError) as caught:
        fetch(folder, bad.url, timeout_seconds=timeout)
    assert f"{bad.url} ({cause})" in str(caught.value)
    assert list(folder.iterdir()) == []
    fetch(folder, bad.url, str(good), timeout_seconds=timeout)
    assert_complete(folder)


@pytest.mark.parametrize("answer", [trickle, trickle_in_the_body])
def test_trickling_server_does_not_extend_the_deadline(serve: Serve, folder: Path, answer: Answer) -> None:
    mirror = serve(answer)
    # The timeout is never reached, since data keeps arriving.
    with pytest.raises(UserError, match=rf"{mirror.url} \(did not arrive within 0.3 s\)"):
        fetch(folder, mirror.url, deadline_seconds=0.3)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_content_encoding_is_decoded_even_if_wrongly_declared(
    serve: Serve, folder: Path, compress: Callable[[bytes], bytes]
) -> None:
    fetch(folder, serve(lambda request: compressed(compress(content_of(request)), request)).url)
    assert_complete(folder)


@pytest.mark.fault(25)
def test_error_lists_the_cause_for_every_mirror_and_offline_alternatives(serve: Serve, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as refused:
        closed_port = f"http://127.0.0.1:{refused.getsockname()[1]}/"
    broken, missing = serve(status(503)), folder.parent / "no such folder"
    with pytest.raises(UserError) as caught:
        fetch(folder, closed_port, broken.url, str(missing))
    causes = f"{closed_port} ({BROKEN}); {broken.url} (HTTP status 503); {missing} ([Errno 2] No such file"
    for part in (causes, "MNIST_MIRROR", "dataset=digits"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("rest", ["127.0.0.1:1", "127.0.0.1:99999", "a..b"])
def test_error_contains_no_password(folder: Path, rest: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(folder, f"http://ada:s3cret@{rest}/mnist/")
    assert f"mirror: http://{rest}/mnist/ (" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_each_file_comes_from_the_first_working_mirror(serve: Serve, folder: Path) -> None:
    midway = serve(lambda request: (intact if request.name == "images.gz" else status(404))(request))
    good, spare = serve(intact), serve(intact)
    fetch(folder, midway.url, good.url, spare.url)
    assert_complete(folder)
    assert (midway.requested, good.requested, spare.requested) == (["images.gz", "labels.gz"], ["labels.gz"], [])


@pytest.mark.parametrize("fault", [half, half_and_hang])
def test_download_is_retried_before_switching_mirrors(serve: Serve, folder: Path, fault: Answer) -> None:
    answers = iter([fault, intact, fault, fault])
    flaky, good = serve(lambda request: next(answers)(request)), mirror_folder(folder.parent / "good")
    fetch(folder, flaky.url, str(good), retries=1, timeout_seconds=timeout_for(fault))
    assert_complete(folder)
    assert flaky.requested == ["images.gz", "images.gz", "labels.gz", "labels.gz"]


def test_intact_file_is_kept_and_damaged_file_is_replaced(serve: Serve, folder: Path) -> None:
    mirror_folder(folder)
    (folder / "labels.gz").write_bytes(b"damaged")
    mirror = serve(intact)
    fetch(folder, mirror.url)
    assert_complete(folder)
    assert mirror.requested == ["labels.gz"]


def test_mirror_may_be_a_folder_or_a_file_url(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = mirror_folder(tmp_path / "a mirror")
    monkeypatch.chdir(tmp_path)
    for number, place in enumerate([str(mirror), f"{mirror}/", mirror.as_uri(), mirror.name]):
        fetch(folder / str(number), place)
        assert_complete(folder / str(number))


def test_unusable_mirror_is_skipped(tmp_path: Path, folder: Path) -> None:
    damaged = mirror_folder(tmp_path / "damaged")
    (damaged / "labels.gz").write_bytes(FILES["labels.gz"][:-1])
    fetch(folder, "gopher://127.0.0.1/mnist", str(damaged), str(mirror_folder(tmp_path / "intact")))
    assert_complete(folder)


def test_full_disk_is_not_blamed_on_a_mirror(serve: Serve, folder: Path) -> None:
    first, second = serve(intact), serve(intact)
    with full_disk(10_000), pytest.raises(OSError, match=f"File too large: '{folder}'"):
        fetch(folder, first.url, second.url, retries=1)
    assert second.requested == []
    assert not folder.exists() or list(folder.iterdir()) == []
