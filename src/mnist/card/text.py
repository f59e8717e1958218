"""The model card as Markdown, after Mitchell et al., Model Cards for Model Reporting (FAT* 2019)."""

from collections.abc import Iterable, Sequence

from src.core.receipt import receipt_path
from src.mnist.card.results import CONFUSION, DATA, MODEL, PER_CLASS, TEST_METRICS, TRAIN_METRICS, Results
from src.mnist.model.params import Params
from src.noise.measurement import ACCURACY

ARCHITECTURES = {
    "cnn": "two convolutions and two linear layers, 1,007,590 weights",
    "resnet": "a small residual network, 464,106 weights",
}
DATA_SETS = {
    "mnist": "MNIST: 70,000 grey images of 28 x 28 pixels, digits written by employees of the US Census Bureau and by "
    "high school students (LeCun, Cortes and Burges)",
    "digits": "scikit-learn's digits: 1,797 images of 8 x 8 pixels, enlarged to 28 x 28",
}
# Most frequent confusions to list.
CONFUSIONS = 5
INTRODUCTION = """\
<!-- Written by `make card` from the committed results; do not edit. -->

# Model card: mnist-classifier

One handwritten digit, as a grey image of 28 x 28 pixels, to calibrated probabilities of the ten classes 0 to 9."""
INTENDED = """\
- **For**: teaching, benchmarks of training methods, and trying out tools. `python -m src.mnist.predict` reads pictures
  of single digits; [sharing.md](sharing.md) describes how to get a released model or one in ONNX.
- **Not for**: decisions about people, cheques, post codes or forms. It reads one centred digit, not numbers or
  letters, and was never tested on pictures from such a use."""
LIMITS = """\
- There is no class for "not a digit": any picture gets a digit, often with high confidence.
- All results are of the test images of the data set above, which resemble the training images. Other writers, pens,
  cameras and countries (a crossed 7, a 1 with a long upstroke) were not measured, and results there will be worse.
- The confidence is calibrated on the same kind of images, and for no others.
- Turned, mirrored or deliberately altered digits were not measured. Nothing defends against the latter.
- Nothing is known about the writers, so nothing can be said about groups of them.
- Test images were never trained on. The recipe was chosen on the validation part, which makes its scores optimistic."""
REPRODUCE = """\
Every stage leaves a receipt of what it read, used and wrote, from which this card was written. `make verify` holds
every output against them, and `make reproduce` trains again and compares ([what that takes](reproducibility.md))."""


def format_card(results: Results) -> str:
    """The whole card; depends on the results alone."""
    sections = {
        "Intended use": INTENDED,
        "Model": _model(results),
        "Data": _data(results),
        "Training": _training(results),
        "Results": _scores(results),
        "Calibration": _calibration(results),
        "Limits": LIMITS,
        "Where it comes from": _provenance(results),
    }
    return "\n\n".join([INTRODUCTION, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


def _model(results: Results) -> str:
    name = results.params["architecture"]
    return (
        f"`{name}`: {ARCHITECTURES[name]}. The file `{MODEL}` (safetensors, numbers only) holds the weights, the "
        f"normalisation and the temperature; it was trained on: {results.receipts['train']['machine']['device']}."
    )


def _data(results: Results) -> str:
    params = results.params
    images = sum(int(row["images"]) for row in results.per_class)
    return (
        f"{DATA_SETS[params['dataset']]}. {1 - params['val_fraction']:.0%} of the official training images train the "
        f"weights, {params['val_fraction']:.0%}, drawn by class with seed {params['seed']}, choose the temperature and "
        f"the recipe. The {images:,} official test images are used once, for the results below."
    )


def _training(results: Results) -> str:
    known, params = Params.model_fields, results.params
    rows = [(f"`{name}`", params[name], known[name].description) for name in known if name in params]
    best = results.train["best"]
    return (
        f"Adam on the cross-entropy. Best validation accuracy: {best['val_acc']:.2%} (epoch {best['epoch']}); after "
        f"the last epoch, which is the model: {results.train['final']['val_acc']:.2%}.\n\n"
        + table(("param", "value", "meaning"), rows)
    )


def _scores(results: Results) -> str:
    test = results.test
    rows = [
        (
            "accuracy",
            f"{test['test_acc']:.2%}",
            f"95% interval {test['test_acc_low']:.2%} to {test['test_acc_high']:.2%}",
        ),
        ("loss (cross-entropy)", f"{test['test_loss']:.4f}", "natural logarithm"),
        *((name, f"{test[f'test_{name}']:.2%}", "mean of the ten classes") for name in ("precision", "recall")),
        ("F1", f"{test['test_f1']:.2%}", "mean of the ten classes"),
    ]
    classes = [(row["class"], row["precision"], row["recall"], row["f1"], row["images"]) for row in results.per_class]
    parts = [
        "On the test images; the interval is Wilson's, for the choice of test images.",
        table(("score", "value", ""), rows),
        _seeds(results),
        table(("class", "precision", "recall", "F1", "images"), classes),
        _confusions(results),
        "Recipes that were measured, test accuracy as mean and standard deviation over seeds:",
        table(
            ("recipe", "accuracy", "seeds"),
            [(recipe.name, f"{recipe.mean:.2%} ± {recipe.std:.2%}", recipe.seeds) for recipe in results.recipes],
        ),
    ]
    return "\n\n".join(parts)


def _seeds(results: Results) -> str:
    if results.noise is None:
        return "How much another seed changes them was not measured for this data and recipe."
    file, name = ACCURACY
    spread = results.noise.metrics[file][name]
    return (
        f"With {len(results.noise.seeds)} seeds, this recipe reached {spread.mean:.2%} ± {spread.std:.2%} (mean and "
        "standard deviation of the accuracy)."
    )


def _confusions(results: Results) -> str:
    wrong = [row for row in results.confusion if row["actual"] != row["predicted"] and int(row["count"])]
    wrong.sort(key=lambda row: -int(row["count"]))
    worst = [f"{row['actual']} as {row['predicted']} ({row['count']})" for row in wrong[:CONFUSIONS]]
    errors = sum(int(row["count"]) for row in wrong)
    return f"{errors} test images are misclassified, most often: {', '.join(worst) or 'none'}."


def _calibration(results: Results) -> str:
    return (
        f"Logits are divided by a temperature of {results.train['temperature']:.3f}, fitted on the validation part "
        f"(Guo et al., 2017). On the test images, the expected calibration error over 15 bins is "
        f"{results.test['test_ece']:.2%}."
    )


def _provenance(results: Results) -> str:
    receipts = results.receipts
    outs = {path: oid for receipt in receipts.values() for path, oid in receipt["outs"].items()}
    files = [
        (f"`{path}`", f"`{outs[path]}`") for path in (DATA, MODEL, TRAIN_METRICS, TEST_METRICS, PER_CLASS, CONFUSION)
    ]
    code = {path: oid for receipt in receipts.values() for path, oid in receipt["deps"].items() if path not in outs}
    versions = {name: version for receipt in receipts.values() for name, version in receipt["versions"].items()}
    machine = receipts["train"]["machine"]
    parts = [
        REPRODUCE,
        table(("output", "MD5, as in dvc.lock"), files),
        table(("code and other inputs", "MD5"), [(f"`{path}`", f"`{code[path]}`") for path in sorted(code)]),
        f"Made with {', '.join(f'{name} {versions[name]}' for name in sorted(versions))}; trained on "
        f"{machine['device']} with {machine['threads']} threads, processor {machine['cpu']}. Receipts: "
        + ", ".join(f"[{stage}](../{receipt_path(stage)})" for stage in receipts)
        + ".",
    ]
    return "\n\n".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; no cell may contain a vertical bar."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
