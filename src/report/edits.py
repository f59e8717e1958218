"""Edited files that no hash covers, and that may decide what is found, installed, run or checked."""

from collections.abc import Iterator

from pathspec import GitIgnoreSpec

from src.noise.measurement import NOISE
from src.report.change import Change
from src.report.finding import Finding, Text, joined, note, unsure
from src.report.pins import ARCHIVES, changed_pins, is_of_pins, named
from src.report.policy import POLICY
from src.revision.pipeline import DVC_FILE, LOCK, enclosing
from src.revision.tree import PARENTS, is_elsewhere

# As in .gitignore: what tools read without being told to. At the top, every edit counts that no stage declares; endings
# there are for what a stage makes.
READ_BY_TOOLS = GitIgnoreSpec.from_lines(
    [
        *(".*", "/*.toml", "/*.cfg", "/*.ini", "/*.conf", "/*.lock", "/*.mk"),
        *("?*.dvc", "/*/**/dvc.yaml", "/*/**/dvc.lock"),
        *("*requirements*", "*constraints*", "!*constraints*.py", "*environment*.y*ml", "*.nix", "*.whl"),
        *("*Dockerfile*", "compose*.y*ml", "docker-compose*.y*ml", "*[Mm]akefile"),
        *("setup.py", "setup.cfg", "pyproject.toml", "site-packages", "pyvenv.cfg", "*customize.py"),
        *("!/dvc.lock", "!.gitignore", "!/.dvc/plots/**/*.json", "!/.github/ISSUE_TEMPLATE/**", "!*.md"),
    ]
)
DOCUMENTS = GitIgnoreSpec.from_lines(["*.md", "*.rst", "*.cff", "README*", "LICEN[CS]E*", ".gitignore"])
TOOLS = GitIgnoreSpec.from_lines(["/src/audit/", "/src/report/", "/src/revision/", "/src/noise/"])


def is_read_by_tools(path: str) -> bool:
    """Whether git, DVC, Python, make or a service looks for a file of this name, here or in a folder above."""
    # Patterns do not match across line breaks.
    return not is_elsewhere(path) and ("\n" in path or READ_BY_TOOLS.match_file(PARENTS.sub("", path)))


def files(change: Change) -> Iterator[Finding]:
    """Edits that no hash covers. Of packages, other versions alone are merely noted."""
    base, head = change.base, change.head
    installed = named(base) | named(head)
    known = {DVC_FILE, LOCK, POLICY, NOISE, *base.pipeline.metrics, *base.pipeline.params, *base.pipeline.declared}
    new = {path: head.tree.entries[path] for path in change.edited if path in head.tree.entries}
    # The branch may declare what is new, but no old file that others read.
    known |= {path for path in head.pipeline.declared if path not in base.tree.entries}
    free = {path for path in change.edited if not ("/" in path or path in known or DOCUMENTS.match_file(path))}
    free |= {path for path, entry in new.items() if base.pipeline.is_planted(path, entry, base.tree.ignored)}
    bumps: dict[Text, None] = {}
    uncovered = []
    for path in change.edited:
        if is_of_pins(path) or (path in installed and not path.endswith(ARCHIVES)):
            more, bumped = changed_pins(base, head, path)
            bumps |= dict.fromkeys(bumped)
            if more:
                yield unsure("what is installed changed, read it: {}: {}", path, more)
        elif enclosing(path, installed) or (base.pipeline.stages and (path in free or is_read_by_tools(path))):
            uncovered.append(path)
    if uncovered:
        yield unsure("{} changed, which no hash covers: read the diff", uncovered)
    if bumps:
        yield note("other versions are installed: {}", joined(bumps, ", "))


def tools(change: Change) -> Iterator[Finding]:
    """Edits of the checks' own code. The comment is made by the base's copy; other checks by the branch's."""
    if edited := list(TOOLS.match_files(change.edited)):
        yield note("this change edits its own checks, which then prove little: {}", edited)
