"""A server that records every request."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.history import History


class Server:
    """Listens on the loopback interface and records every request."""

    def __init__(self) -> None:
        contacts: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                contacts.append(f"{self.command} {self.path} {self.headers.get('Authorization')}")
                body = b'{"test_acc": 0.9999, "test_f1": 0.9999}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_HEAD = do_POST = do_PROPFIND = do_GET  # noqa: N815 - names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self.contacts = contacts
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def is_remote_of(self, history: History) -> None:
        """Let git fetch what the clone lacks, and DVC what its cache lacks, from here."""
        with (history.path / ".git/config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = {self.url}/their.git\n\tpromisor = true\n')
            config.write("\tfetch = +refs/heads/*:refs/remotes/origin/*\n[extensions]\n\tpartialClone = origin\n")
        history.write(".dvc/config.local", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.url}\n")
