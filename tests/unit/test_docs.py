"""Everything that the docs mention must exist."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "docs/faults.md"


def test_fault_table_and_fault_markers_match() -> None:
    rows, marks = set[int](), set[int]()
    for first, last in re.findall(
        r"(\d+)(?:-(\d+))?", " ".join(re.findall(r"^\|([\d, -]+)\|", FAULTS.read_text(), re.M))
    ):
        rows |= set(range(int(first), int(last or first) + 1))
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        for numbers in re.findall(r"mark\.fault\(([\d, ]+)\)", path.read_text()):
            marks |= set(map(int, numbers.split(",")))
    assert marks == rows


PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_in_docs_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+://)([^)#]*)(#[\w-]+)?\)", page.read_text())
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" else []
        assert not anchor or anchor[1:] in [re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_mentioned_in_docs_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:src|stages|tests|benchmarks|cluster|notebooks|recipes)/(?:[\w/]+\.py|[\w/]*))`", page.read_text()
    )
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
