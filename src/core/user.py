"""A user without a name, as in a container that runs under a number of its own."""

import getpass
import os


def name_user() -> None:
    """Name the user of this process and its children by number where there is no name.

    DVC asks for the name when it opens a repository, and ends with a KeyError if there is none.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
