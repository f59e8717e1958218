"""Checks that a checkpoint has everything that later steps depend on, as an exact resume requires."""

import copy
import hashlib
import pickle
import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils._pytree import tree_leaves

from src.core.errors import UserError
from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.params import TrainParams
from src.mnist.model.seeds import seed_generators
from src.mnist.train.steps import compute_logits

# Modules of callbacks whose state is saved or does not matter.
HARMLESS = ("pytorch_lightning.", "src.mnist.train.checkpoint", "src.mnist.train.progress", "src.mnist.train.cores")
# What holds state, and attributes that do not matter, a checkpoint has or are too large to compare.
USUAL: dict[Any, set[str]] = {
    Callback: set(),
    LightningDataModule: {*vars(LightningDataModule()), "_hparams", "train", "val"},
    LightningModule: {*vars(LightningModule()), "_hparams", "runners"},
    # torch's schedules replace `step`.
    Optimizer: {*vars(SGD([torch.zeros(())], fused=True)), "step", "_opt_called"},
    ModuleType: set(),
}
# Code, which does not change after its import, and what Lightning itself saves.
NO_STATE = FunctionType | ModuleType | type | Trainer
# How holders save their state and restore it.
HOOKS = (("state_dict", "load_state_dict"), ("on_save_checkpoint", "on_load_checkpoint"))
# Code whose files may hold state.
CODE = ("src.mnist.", "stages.")


def check_repeatable(model: nn.Module, x: Tensor, params: TrainParams) -> None:
    """Check that a network's logits depend only on its state dict, its input and the seed, as an exact resume requires.

    Args:
        model: A network in training mode; its state is preserved.
        x: Normalised images (N, 1, 28, 28).
        params: Hyperparameters.

    Raises:
        UserError: If the logits' shape is not (N, 10), if the state is more than tensors, which no model file can hold,
            or if repeated passes give different logits or gradients, leave something else in an attribute, which may
            affect later passes, or replace a parameter or a buffer with another tensor.
    """
    tensors, modes = _named_tensors(model), {module: module.training for module in model.modules()}
    before, restored = copy.deepcopy(model.state_dict()), [*model.modules(), *model.parameters()]
    if others := [name for name, value in before.items() if not isinstance(value, Tensor)]:
        raise UserError(
            f"{type(model).__name__}: {', '.join(others)} is not a tensor; keep state in parameters and buffers"
        )
    first: dict[str, object] = {}
    second: dict[str, object] = {}
    for found in (first, second):
        seed_generators(params.seed)
        # In evaluation mode first, so that the second round shows whether the training pass left state behind.
        logits = [compute_logits(model.eval(), x.clone(), params.precision)]
        for module, mode in modes.items():
            module.training = mode
        logits.append(compute_logits(model, x.clone(), params.precision))
        if wrong := [tuple(one.shape) for one in logits if one.shape != (len(x), NUM_CLASSES)]:
            raise UserError(
                f"{type(model).__name__}: expected logits of shape {(len(x), NUM_CLASSES)}, one for each class, "
                f"got {wrong[0]}"
            )
        found["logits"] = torch.cat(logits).nan_to_num().tolist()
        logits[-1].sum().backward()
        gradients = (weight.grad for weight in model.parameters() if weight.grad is not None)
        found["gradients"] = repr([float(gradient.double().norm()) for gradient in gradients])
        for name, module in model.named_modules():
            found |= {f"{name}.{key}".lstrip("."): digest(value, restored) for key, value in _kept_by(module).items()}
        model.load_state_dict(before, strict=False)
        model.zero_grad()
    if changed := [name for name in second if first.get(name) != second[name]]:
        raise UserError(
            f"{type(model).__name__}: the same weights, images and seed give different {', '.join(changed)} the second "
            "time, so a resume would not be exact; draw from the global generators of torch, NumPy or Python, and keep "
            "state in buffers"
        )
    if moved := [name for name, tensor in _named_tensors(model).items() if tensor is not tensors.get(name)]:
        raise UserError(
            f"{type(model).__name__}: {', '.join(moved)} is set to another tensor, which the optimizer, the average "
            "and the shards would miss; change it in place (`copy_`, `add_`)"
        )


def _named_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _kept_by(module: nn.Module) -> dict[str, object]:
    """What a module holds, and what its class and its file hold, unless PyTorch wrote them."""
    kind = type(module)
    if kind.__module__.startswith("torch."):
        return vars(module)
    found = {**vars(sys.modules.get(kind.__module__, kind)), **vars(kind), **vars(module)}
    return {name: value for name, value in found.items() if not name.startswith("__")}


class _Contents(pickle.Pickler):
    """Writes the contents of a value, except for code and some objects that are restored."""

    def __init__(self, file: Any, restored: Iterable[object]) -> None:
        super().__init__(file)
        self.restored = {_identity(value) for value in restored}

    def persistent_id(self, value: object) -> object:
        """Replace a part of the value by something else; None: it is written."""
        if isinstance(value, NO_STATE) or _identity(value) in self.restored:
            return id(value)
        if isinstance(value, Tensor):
            numbers = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            return str(value.dtype), tuple(value.shape), numbers.tobytes()
        return None


def _identity(value: Any) -> int:
    """What a tensor has in common with its views, and any other object only with itself."""
    return value.untyped_storage().data_ptr() if type(value) in (Tensor, nn.Parameter) else id(value)


def digest(value: object, restored: Iterable[object]) -> str:
    """Hash a value's contents, however large, for a comparison with itself later in the same process.

    Args:
        value: Any object.
        restored: Objects, some of them perhaps parts of the value, whose contents do not matter.
    """
    found = hashlib.md5()
    try:
        _Contents(SimpleNamespace(write=found.update), restored).dump(value)
    except Exception:
        # An open file, a lock and the like have no contents that can be compared.
        return repr(value)
    return found.hexdigest()


class HiddenState:
    """What callbacks, optimizers, the module, its data and their code hold, which may change without being saved."""

    def __init__(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trainer, self.module = trainer, pl_module
        self.before: list[tuple[Any, dict[str, str]]] = []

    def note_code_and_data(self) -> None:
        """Note what the project's files and the data hold, before the first epoch's batches are drawn."""
        files = (module for name, module in sys.modules.items() if name.startswith(CODE))
        self._note(*files, self.trainer.datamodule)  # type: ignore[attr-defined]

    def note_others(self) -> None:
        """Note what callbacks, optimizers and the module hold when the training starts."""
        self._note(*self.trainer.callbacks, *self.trainer.optimizers, self.module)  # type: ignore[attr-defined]

    def check(self) -> None:
        """Raise UserError if something that saves nothing itself has changed what it holds."""
        for holder, before in self.before:
            now = self._held_by(holder)
            if changed := [name for name in now if before.get(name) != now[name]]:
                name = getattr(holder, "__name__", type(holder).__name__)
                raise UserError(
                    f"{name}: {', '.join(changed)} changes, but is not in a checkpoint, so a resume would not be "
                    "exact; draw from the global generators of torch, NumPy or Python, cache with `functools.cache`, "
                    "keep it in an optimizer's `state`, or in a callback with `state_dict` and `load_state_dict`, "
                    "which need not do anything if no later step depends on it"
                )

    def _note(self, *holders: Any) -> None:
        self.before += [(holder, self._held_by(holder)) for holder in holders if not _saves_state(holder)]

    def _held_by(self, holder: Any) -> dict[str, str]:
        """Digest of everything that a holder and its class hold, by name."""
        kind, usual = type(holder), USUAL[_base_of(holder)]
        if kind.__module__.startswith(HARMLESS):
            return {}
        found = vars(holder) if isinstance(holder, ModuleType) else {**vars(kind), **vars(holder)}
        if isinstance(holder, nn.Module):
            # A checkpoint has all but those that are not persistent.
            found = {**found, **dict(holder.named_buffers())}
        others = (*self.trainer.callbacks, *self.trainer.optimizers, self.trainer.datamodule)  # type: ignore[attr-defined]
        restored = [*others, *self.module.modules(), *self.module.state_dict().values()]
        return {
            name: digest(value, restored)
            for name, value in found.items()
            if name not in usual and not name.startswith("__") and not isinstance(value, NO_STATE)
        }


def _base_of(holder: object) -> Any:
    return next(base for base in USUAL if isinstance(holder, base))


def _saves_state(holder: object) -> bool:
    """Whether a holder, or its class, saves and restores what its base does not."""
    kind, base = type(holder), _base_of(holder)
    pairs = [pair for pair in HOOKS if hasattr(base, pair[0])]
    return any(all(getattr(kind, name) is not getattr(base, name) for name in pair) for pair in pairs)


def check_types(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Raise UserError if torch would restore an optimizer's state with another type than it has."""
    for optimizer in optimizers:
        converted = {
            name
            for weight, state in optimizer.state.items()
            if isinstance(weight, torch.Tensor)
            for name, value in state.items()
            if name != "step" and any(getattr(one, "dtype", weight.dtype) != weight.dtype for one in tree_leaves(value))
        }
        if others := sorted(converted):
            raise UserError(
                f"{type(optimizer).__name__}: torch would restore {', '.join(others)} with the type of the "
                "weights, so a resume would not be exact; keep it in that type, or as a plain number"
            )
