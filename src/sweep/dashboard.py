"""Show the studies of this clone's sweeps, or those in STORAGE, in Optuna's dashboard on 127.0.0.1."""

import sys

import optuna_dashboard
from rich.console import Console

from src.core.errors import UserError
from src.core.signals import restore_signals
from src.revision.git import find_root
from src.sweep.command import DATABASE, guarded, storage_url
from src.sweep.study import SQLITE, check_url

HOST, PORT = "127.0.0.1", 8080


def main() -> int:
    """Serve until Ctrl-C."""

    def run() -> int:
        root = find_root()
        url = check_url(storage_url(root))
        if url.get_backend_name() == SQLITE and not (root / str(url.database)).exists():
            raise UserError(f"{url.database}: there is no such file; `make sweep` writes {DATABASE}")
        Console().print(f"dashboard: http://{HOST}:{PORT}; Ctrl-C ends it", highlight=False)
        optuna_dashboard.run_server(url.render_as_string(hide_password=False), HOST, PORT)
        return 0

    return guarded("dashboard", run)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
