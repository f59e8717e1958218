# %% [markdown]
# # The stages as functions
#
# Each stage is a function with explicit arguments; it does not read params.yaml or the environment. This notebook
# trains twice on scikit-learn's digits in a temporary folder. It takes seconds, works offline and does not touch the
# pipeline's results. Run it cell by cell in VS Code, PyCharm or, with jupytext, Jupyter; `python notebooks/explore.py`
# runs all cells.

# %%
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "dvc.yaml").exists())
sys.path.insert(0, str(ROOT))

from src.mnist.data.dataset import load_examples
from src.mnist.model.params import Params, load_params
from src.mnist.model.weights import load_model
from stages import evaluate, train
from stages.fetch import fetch

FOLDER = Path(tempfile.mkdtemp())
DATA = FOLDER / "MNIST"

# %% [markdown]
# ## The data

# %%
fetch("digits", DATA)
test = load_examples(DATA, "test")
examples, axes = plt.subplots(1, 10, figsize=(10, 1.4))
for axis, image, label in zip(axes, test.images, test.labels, strict=False):
    axis.imshow(image, cmap="gray_r")
    axis.set_title(str(label))
    axis.axis("off")

# %% [markdown]
# ## Training
# `params.yaml` with a few changes; try your own. Every run gives the same bytes.


# %%
# A second thread is not worthwhile for so few images.
small = {"dataset": "digits", "epochs": 2, "batch_size": 64, "threads": 1}
params = Params.model_validate(load_params(ROOT / "params.yaml").model_dump() | small)


def run(name: str, **changes: object) -> pd.DataFrame:
    """Train and return the history, one row per epoch; the model is FOLDER/name/model.safetensors."""
    changed = Params.model_validate(params.model_dump() | changes)
    folder = FOLDER / name
    outputs = train.Outputs(
        folder / "model.safetensors", folder / "train.json", folder / "history.csv", folder / "learning_curve.png"
    )
    train.train(changed, DATA, outputs)
    return pd.read_csv(outputs.history, index_col="epoch")


histories = {"smooth": run("smooth", label_smoothing=0.1), "plain": run("plain", label_smoothing=0.0)}

# %%
curves, axis = plt.subplots(figsize=(6, 3))
for name, history in histories.items():
    axis.plot(history.index, history["val_acc"], marker="o", label=name)
axis.set(xlabel="epoch", ylabel="validation accuracy", xticks=histories["plain"].index)
axis.legend()

# %% [markdown]
# ## Evaluation
# Choose a model by its validation accuracy. Use the test set only for the chosen model.

# %%
chosen = max(histories, key=lambda name: histories[name]["val_acc"].iloc[-1])
written = FOLDER / "evaluation"
names = ("eval.json", "confusion.csv", "per_class.csv", "errors.csv", "errors.png")
model_path = FOLDER / chosen / "model.safetensors"
scores = evaluate.evaluate(params, DATA, model_path, evaluate.Outputs(*(written / name for name in names)))
print(chosen, scores)

# %%
probs = evaluate.predict(load_model(model_path), test.images)
right = probs.argmax(1) == test.labels
confidences, axis = plt.subplots(figsize=(6, 3))
axis.hist([probs.max(1)[right], probs.max(1)[~right]], bins=15, range=(0, 1), stacked=True, label=["right", "wrong"])
axis.set(xlabel="confidence", ylabel="test images", yscale="log")
axis.legend()

# %%
plt.show()
