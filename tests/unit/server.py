"""A server on the loopback interface that records every request and answers as a test wants."""

import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Request"], object]


class Request(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        self.server.requested.append(self.name)
        self.server.answer(self)

    do_HEAD = do_POST = do_PROPFIND = do_GET  # noqa: N815 - names that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        return

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def reply(self, body: bytes, length: int | None, status: int = 200, encoding: str = "", location: str = "") -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in (("Content-Encoding", encoding), ("Location", location)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_repeatedly(self, body: bytes) -> None:
        """Send often enough that the client never times out."""
        while not self.server.closed.wait(0.02):
            self.wfile.write(body)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.requested = answer, list[str]()
        self.closed = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        return  # The client hung up.

    def end(self) -> None:
        self.closed.set()
        self.shutdown()
        self.server_close()
