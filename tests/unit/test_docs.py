"""What the documents name must exist."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "docs/faults.md"


def named_tests(text: str) -> dict[str, set[str]]:
    """Names of tests by file; `::name` without a file belongs to the last file before it."""
    found: dict[str, set[str]] = {}
    file = ""
    for path, name in re.findall(r"(tests/[\w/]+\.py)?(?:::(\w+))?", text):
        file = path or file
        if path or name:
            found.setdefault(file, set()).update([name] if name else [])
    return found


@pytest.mark.parametrize(("file", "names"), named_tests(FAULTS.read_text()).items())
def test_every_test_that_the_table_of_faults_names_exists(file: str, names: set[str]) -> None:
    nodes = ast.walk(ast.parse((REPOSITORY / file).read_text()))
    assert names <= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!\w+://)([^)#]*)(#[\w-]+)?\)", page.read_text())
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if target.suffix == ".md" else []
        assert not anchor or anchor[1:] in [re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:src|stages|tests|benchmarks|cluster|notebooks|recipes)/(?:[\w/]+\.py|[\w/]*))`", page.read_text()
    )
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
