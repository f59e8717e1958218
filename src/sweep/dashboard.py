"""`make dashboard`: the studies in a browser, on this machine only."""

import os
import signal
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

from optuna_dashboard import wsgi

from src.core.errors import UserError
from src.core.process import prepare_process, take_no_arguments
from src.revision.git import find_root
from src.sweep.command import guarded
from src.sweep.study import DATABASE, STORAGE, storage_url, told_in_a_line

HOST, PORT = "127.0.0.1", 8080


class Server(ThreadingMixIn, WSGIServer):
    """A server with a thread for each request: a browser opens connections that it does not use yet."""

    daemon_threads = True


def main() -> int:
    """Serve until Ctrl-C; returns 1 if the database cannot be read."""

    def run() -> int:
        root = find_root()
        if not os.environ.get(STORAGE) and not (root / DATABASE).exists():
            raise UserError(f"{DATABASE}: is missing; `make sweep` writes it")
        url = storage_url(root)
        with told_in_a_line():
            app = wsgi(url.render_as_string(hide_password=False))
        try:
            server = make_server(HOST, PORT, app, Server)
        except OSError:
            # In use. Any other trouble meets the second attempt, too.
            server = make_server(HOST, 0, app, Server)
        print(f"http://{HOST}:{server.server_port}/ shows the study; Ctrl-C ends it", flush=True)  # noqa: T201
        # There is nothing to clean up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        server.serve_forever()
        return 0

    return guarded("dashboard", run)


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.sweep.dashboard")
    sys.exit(main())
