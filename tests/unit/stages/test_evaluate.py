import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from src.core.run import Run
from src.mnist.data.dataset import Examples, load_examples, write_examples
from src.mnist.evaluate.pictures import draw_errors
from src.mnist.evaluate.scores import confusion_rows, per_class_rows, score_predictions
from src.mnist.model.network import CalibratedModel, build_model, normalize
from src.mnist.model.params import EvaluateParams
from src.mnist.model.weights import load_model, save_model
from stages.evaluate import Outputs, evaluate, main, predict
from stages.train import Outputs as Trained
from tests.conftest import THREADS, random_examples
from tests.unit.mnist.train.dropout import DRAWS
from tests.unit.trainings import outputs_in, read_all

PARAMS = EvaluateParams(threads=THREADS, tta_shift=0)


@pytest.fixture(scope="module")
def evaluated(trained: Trained, digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    outputs = outputs_in(tmp_path_factory.mktemp("evaluated"), Outputs)
    evaluate(PARAMS, digits_dir, trained.model, outputs, "cpu")
    return outputs


@pytest.fixture(scope="module")
def plain_probs(trained: Trained, digits_dir: Path) -> np.ndarray:
    with torch.no_grad():
        images = torch.tensor(load_examples(digits_dir, "test").images)
        logits = load_model(trained.model).eval()((images[:, None] / 255 - 0.1307) / 0.3081)
    return torch.softmax(logits.double(), 1).numpy()


def test_scores_and_tables_match_the_model_on_the_test_set(
    evaluated: Outputs, plain_probs: np.ndarray, digits_dir: Path, tmp_path: Path
) -> None:
    test = load_examples(digits_dir, "test")
    y_true, y_pred = test.labels, plain_probs.argmax(1)
    expected = score_predictions(y_true, plain_probs)
    assert json.loads(evaluated.metrics.read_text()) == pytest.approx(expected, abs=1e-5)
    assert pd.read_csv(evaluated.confusion).to_dict("records") == confusion_rows(y_true, y_pred)
    assert pd.read_csv(evaluated.per_class).to_dict("records") == per_class_rows(y_true, y_pred)
    errors = pd.read_csv(evaluated.errors)
    assert list(errors.columns) == ["index", "actual", "predicted", "confidence"]
    assert sorted(errors["index"]) == np.flatnonzero(y_true != y_pred).tolist()
    np.testing.assert_array_equal(errors["predicted"], y_pred[errors["index"]])
    # The report finds an error's picture by its row in the table.
    titles = [f"{row.actual} as {row.predicted} ({row.confidence:.0%})" for row in errors.itertuples()]
    draw_errors(test.images[errors["index"]], titles, tmp_path / "errors.png")
    assert evaluated.errors_picture.read_bytes() == (tmp_path / "errors.png").read_bytes()


def test_predictions_over_several_batches_keep_their_order() -> None:
    model, images = build_model("cnn", 0), random_examples(2345).images
    probs = predict(model, images)
    assert probs.shape == (2345, 10)
    np.testing.assert_allclose(probs.sum(1), 1)
    with torch.no_grad():
        expected = model(normalize(torch.tensor(images[[0, 999, 1000, 2344]]))).double().softmax(1)
    np.testing.assert_allclose(probs[[0, 999, 1000, 2344]], expected, atol=1e-5)


def test_predictions_are_averaged_over_all_shifts() -> None:
    model, images = build_model("cnn", 0), random_examples(8).images
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    shifted = [padded[:, down : down + 28, right : right + 28] for down in range(5) for right in range(5)]
    expected = np.mean([predict(model, moved) for moved in shifted], axis=0)
    np.testing.assert_allclose(predict(model, images, shift=2), expected, atol=1e-6)
    assert np.abs(expected - predict(model, images)).max() > 1e-4


def test_evaluation_of_a_random_network_is_deterministic_and_keeps_random_state(
    digits_dir: Path, tmp_path: Path
) -> None:
    model, written = tmp_path / "model", []
    save_model(model, CalibratedModel(build_model(DRAWS, 0), 1.0), DRAWS)
    for name in ("a", "b"):
        before = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # type: ignore[index]
        evaluate(PARAMS, digits_dir, model, outputs_in(tmp_path / name, Outputs), "cpu")
        after = random.getstate(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()  # type: ignore[index]
        assert after == before
        for draw in (random.random, np.random.random, lambda: torch.rand(1)):
            draw()
        written.append(read_all(outputs_in(tmp_path / name, Outputs)))
    assert written[0] == written[1]


def test_perfect_model_gives_an_empty_table_and_an_image(trained: Trained, tmp_path: Path) -> None:
    images = random_examples(30).images
    preds = predict(load_model(trained.model), images).argmax(1).astype(np.uint8)
    write_examples(tmp_path / "data", random_examples(10), Examples(images, preds))
    outputs = outputs_in(tmp_path, Outputs)
    assert evaluate(PARAMS, tmp_path / "data", trained.model, outputs, "cpu")["test_acc"] == 1
    assert outputs.errors.read_text() == "index,actual,predicted,confidence\n"
    with Image.open(outputs.errors_picture) as image:
        assert image.format == "PNG"


def test_main_writes_outputs_prints_summary_and_applies_tta_shift(
    workspace: Path, trained: Trained, evaluated: Outputs, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "models").symlink_to(trained.model.parent)
    main(Run(PARAMS.model_dump(), accelerator="cpu"))
    errors = len(pd.read_csv(evaluated.errors))
    assert capsys.readouterr().out.endswith(f", {errors} of 360 images wrong: plots/errors.png\n")
    assert read_all(Outputs()) == read_all(evaluated)
    main(Run({"threads": THREADS, "tta_shift": 1}, accelerator="cpu"))
    assert read_all(Outputs()) != read_all(evaluated)


@pytest.mark.gpu
@pytest.mark.parametrize("shift", [0, 1])
def test_gpu_gives_the_same_scores(trained: Trained, digits_dir: Path, tmp_path: Path, shift: int) -> None:
    params = EvaluateParams(threads=THREADS, tta_shift=shift)
    cpu, gpu = (outputs_in(tmp_path / name, Outputs) for name in ("cpu", "gpu"))
    on_cpu = evaluate(params, digits_dir, trained.model, cpu, "cpu")
    # Noise with a standard deviation of 1e-4 in every logit changed no metric by more than half of this tolerance.
    assert evaluate(params, digits_dir, trained.model, gpu, "gpu") == pytest.approx(on_cpu, abs=2e-6)
    assert gpu.confusion.read_bytes() == cpu.confusion.read_bytes()


@pytest.mark.gpu
def test_gpu_evaluation_is_deterministic_and_recorded(workspace: Path, trained: Trained) -> None:
    (workspace / "models").symlink_to(trained.model.parent)
    run = Run({"threads": THREADS, "tta_shift": 1}, accelerator="gpu")
    facts = main(run)
    first = read_all(Outputs())
    main(run)
    assert read_all(Outputs()) == first
    assert facts.machine["device"] == torch.cuda.get_device_name()
    assert facts.machine["fp32"] == "ieee"
