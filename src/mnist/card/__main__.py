"""`python -m src.mnist.card`: write docs/model_card.md from the committed results."""

import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.files import write_text
from src.core.signals import restore_signals
from src.mnist.card.results import read_results
from src.mnist.card.text import format_card

CARD = Path("docs/model_card.md")


def main() -> int:
    """Write the card of the working tree; returns the exit code."""
    try:
        card = format_card(read_results(Path()))
    except UserError as error:
        print(f"card: {error}", file=sys.stderr)  # noqa: T201
        return 1
    write_text(CARD, card)
    print(CARD)  # noqa: T201
    return 0


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
