from src.report.compare import compare
from src.report.document import Document
from src.report.markdown import render_markdown
from src.report.revision import read_revision
from src.report.verdict import Outcome
from src.revision.git import find_root


def judge(base: str = "main", head: str | None = None) -> tuple[Outcome, str]:
    """The verdict and the Markdown of the repository in the current directory."""
    document, outcome = build(base, head)
    return outcome, render_markdown(document)


def build(base: str = "main", head: str | None = None) -> tuple[Document, Outcome]:
    root = find_root()
    return compare(read_revision(root, base), read_revision(root, head))
