"""Runs a script and sends a signal to itself at one of the script's file operations.

`KILL_AT` contains the stage, the name of the signal, an audit event (`open`, `os.rename`), a part of the path, the
number of such events to skip, and a delay in seconds.
"""

import os
import signal
import sys
import threading
from runpy import run_path


def arm(name: str, event: str, part: str, skip: str, delay: str) -> None:
    left = int(skip)

    def watch(happening: str, args: tuple) -> None:
        nonlocal left
        if happening != event or part not in " ".join(map(str, args[:2])):
            return
        left -= 1
        if left == -1:
            if float(delay):
                threading.Timer(float(delay), os.kill, (os.getpid(), signal.Signals[name])).start()
            else:
                os.kill(os.getpid(), signal.Signals[name])

    sys.addaudithook(watch)


# The arguments of the real script: python -I SCRIPT STAGE
sys.argv = sys.argv[2:]
wanted, *where = os.environ["KILL_AT"].split(",")
if sys.argv[-1] == wanted:
    arm(*where)
run_path(sys.argv[0], run_name="__main__")
