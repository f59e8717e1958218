"""The model card of a revision: its results, rendered with card.md.j2."""

from pathlib import Path

import jinja2

from src.audit.results import Results
from src.noise.measurement import read_noise
from src.report.tables import read_classes, read_counts
from src.revision.revision import Revision

DATA = "data/MNIST"
PER_CLASS, CONFUSION = "plots/per_class.csv", "plots/confusion.csv"


def render_card(revision: Revision) -> str:
    """Render the card as Markdown with the header that model hubs read; the output depends only on the revision.

    Raises:
        UserError: If the revision has no results, or if they are stale or inconsistent.
    """
    results = Results.of(revision)
    params = {name: value for receipt in results.receipts.values() for name, value in sorted(receipt.params.items())}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # The output is Markdown, and the results are our own.
    )
    environment.filters["percent"] = lambda share: f"{share:.2%}"
    environment.filters["share"] = lambda share: f"{100 * share:.4g}%"
    return environment.get_template("card.md.j2").render(
        params=params,
        receipts=results.receipts,
        outputs=results.outputs,
        versions={name: version for one in results.receipts.values() for name, version in one.versions.items()},
        train=results.metrics["metrics/train.json"],
        test=results.metrics["metrics/eval.json"],
        seeds=_seeds(revision, results),
        per_class=read_classes(revision, PER_CLASS),
        confusions={
            pair: count for pair, count in read_counts(revision, CONFUSION).items() if len({*pair}) > 1 and count
        },
    )


def _seeds(revision: Revision, results: Results) -> dict[str, float] | None:
    """Test accuracy of this data and recipe over several seeds, or None if it was not measured."""
    found = results.measurement(read_noise(revision), DATA)
    if found is None:
        return None
    return {"count": len(found.seeds), **found.metrics["metrics/eval.json"]["test_acc"].model_dump()}
