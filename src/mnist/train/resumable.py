"""Checks that a checkpoint has everything that later steps depend on, as an exact resume requires."""

import copy
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from torch import Tensor, nn

from src.core.errors import UserError
from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.params import TrainParams
from src.mnist.model.seeds import seed_generators
from src.mnist.train.steps import compute_logits

LIGHTNING = "pytorch_lightning."
# Modules of callbacks whose state does not matter; attributes of Lightning's objects, `Classifier`, `TrainingData`,
# whose images would take long to print, and optimizers.
HARMLESS = ("src.mnist.train.checkpoint", "src.mnist.train.progress", "src.mnist.train.turns")
USUAL = {*vars(LightningModule()), *vars(LightningDataModule()), "_hparams", "runners", "train", "val"}
USUAL |= vars(torch.optim.SGD([torch.zeros(())], fused=True)).keys()


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
    before = copy.deepcopy(model.state_dict())
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
            found |= {f"{name}.{key}".lstrip("."): repr(_plain(value)) for key, value in _kept_by(module).items()}
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


def _plain(value: object) -> object:
    """Convert an attribute for a comparison; omits weights, which are restored between passes, and other networks."""
    match value:
        case Tensor() if not isinstance(value, nn.Parameter):
            return value.tolist()
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | set() | deque():
            return [_plain(one) for one in value]
        case nn.Module() | nn.Parameter():
            return None
    return repr(value)


def check_saved(held: Mapping[Any, Mapping[str, str]]) -> None:
    """Raise UserError if a holder has changed what it held when the training started, but saves nothing itself."""
    for holder, before in held.items():
        changed = [name for name, value in held_by(holder).items() if before.get(name) != value]
        if changed and not _saves_state(holder):
            raise UserError(
                f"{type(holder).__name__}: {', '.join(changed)} changes, but is not in a checkpoint, so a resume "
                "would not be exact; save it (an optimizer in `state`, the module in `on_save_checkpoint`, others in "
                "`state_dict`)"
            )


def held_by(holder: Any) -> dict[str, str]:
    """Attributes of one's own, unless they belong to one of the callbacks here that affect no weights."""
    if type(holder).__module__.startswith((LIGHTNING, *HARMLESS)):
        return {}
    return {name: repr(value) for name, value in vars(holder).items() if name not in USUAL}


def _saves_state(holder: Any) -> bool:
    """Whether a holder saves such attributes; the `state_dict` of a module and an optimizer has other things."""
    hook = getattr(type(holder), "on_save_checkpoint", None)
    is_own = hook is not None and not hook.__module__.startswith(LIGHTNING)
    return is_own or (isinstance(holder, Callback | LightningDataModule) and bool(holder.state_dict()))


def check_types(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Raise UserError if torch would restore an optimizer's state with another type than it has."""
    for optimizer in optimizers:
        converted = {
            name
            for weight, state in optimizer.state.items()
            if isinstance(weight, torch.Tensor)
            for name, value in state.items()
            if getattr(value, "dtype", weight.dtype) != weight.dtype
        }
        if others := sorted(converted - {"step"}):
            raise UserError(
                f"{type(optimizer).__name__}: torch would restore {', '.join(others)} with the type of the "
                "weights, so a resume would not be exact; keep it in that type, or as a plain number"
            )
