"""A page in a headless browser: its final document, its console and its network requests."""

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",  # of the page's own clock, which runs ahead while nothing happens
    "--dump-dom",
]


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Visit:
    """Result of a visit: the document after all scripts ran, console lines, and requested addresses."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(page: Path) -> Visit:
    browser = find_browser()
    assert browser is not None
    with tempfile.TemporaryDirectory() as profile:
        log = Path(profile, "net.json")
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--log-net-log={log}", page.resolve().as_uri()]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        requests = _page_requests(log.read_text())
    return Visit(done.stdout, re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr), requests)


def _page_requests(log: str) -> list[str]:
    """Addresses that the page requested; the browser's own requests have the initiator "not an origin"."""
    try:
        events = json.loads(log)["events"]
    except json.JSONDecodeError:  # The browser ended before it closed the list.
        events = json.loads(log.rstrip().rstrip(",") + "]}")["events"]
    found = (event["params"] for event in events if {"url", "initiator"} <= event.get("params", {}).keys())
    return [params["url"] for params in found if params["initiator"] != "not an origin"]
