"""`python -m src.mnist.card`: write docs/model_card.md from the results in the working tree."""

import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.files import write_text
from src.core.process import prepare_process, take_no_arguments
from src.mnist.card.card import render_card
from src.revision.git import find_root
from src.revision.revision import open_revision

CARD = Path("docs/model_card.md")


def main() -> int:
    """Write the card of the working tree and return the exit code."""
    try:
        with open_revision(find_root(), None, "the working tree") as revision:
            write_text(CARD, render_card(revision))
    except UserError as error:
        print(f"card: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"Model card: {CARD}")  # noqa: T201
    return 0


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.mnist.card")
    sys.exit(main())
