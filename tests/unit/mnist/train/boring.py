import torch
from pytorch_lightning import Callback, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from src.mnist.model.scores import HEADINGS
from src.mnist.train.trainer import build_trainer

# One value per epoch. The best of three validation epochs is the second; a fourth has the same accuracy.
SCORES = {
    **{prefix + name: [0.25, 0.26, 0.27, 0.28] for prefix in ("", "val_") for name in HEADINGS},
    "loss": [0.9, 0.5, 0.3, 0.2],
    "acc": [0.5, 0.75, 0.8125, 0.875],
    "precision": [0.51, 0.76, 0.82, 0.88],
    "recall": [0.52, 0.77, 0.83, 0.89],
    "f1": [0.4, 0.7, 0.8, 0.85],
    "val_loss": [0.8, 0.45, 0.46, 0.5],
    "val_acc": [0.6, 0.9, 0.7, 0.9],
    "val_precision": [0.61, 0.91, 0.71, 0.89],
    "val_recall": [0.62, 0.92, 0.72, 0.88],
    "val_f1": [0.55, 0.85, 0.65, 0.84],
    "lr": [0.1, 0.1, 0.01, 0.01],
}
BATCHES = 4


class Boring(LightningModule):
    """Logs scripted scores in its steps."""

    def __init__(self, names: set[str] | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.names = names or set(SCORES)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self._log_script({name for name in self.names if not name.startswith("val_")})
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self._log_script({name for name in self.names if name.startswith("val_")})

    def _log_script(self, names: set[str]) -> None:
        values = {name: SCORES[name][self.current_epoch] for name in names}
        self.log_dict(values, on_step=False, on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(*callbacks: Callback, epochs: int = 3, module: Boring | None = None) -> None:
    loader = DataLoader(TensorDataset(torch.ones(2 * BATCHES, 4)), batch_size=2)
    build_trainer(epochs, "cpu", callbacks).fit(module or Boring(), loader, loader)


def approx_rows(epochs: int) -> list[dict[str, float]]:
    return [{"epoch": epoch + 1} | {name: values[epoch] for name, values in SCORES.items()} for epoch in range(epochs)]
