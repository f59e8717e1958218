"""Optimizer steps over several batches without waiting for the device; on CUDA, replays of one captured graph."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.core.dataset import NUM_CLASSES
from src.model.network import normalize
from src.train.batches import Batches

WARM_UP_STEPS = 3


def compute_logits(model: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Grey values (N, 28, 28) to logits, float32 of shape (N, 10), in the arithmetic of training."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(normalize(images)).float()


class StepRunner:
    """Trains a network on `Batches` of one batch size.

    Buffers on the device hold the inputs of all steps of a call and the number of the next step. A step reads and
    writes the buffers at that number, so every step is the same sequence of operations on the same memory, which a CUDA
    graph can replay. On a CPU, the same code runs directly.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        *,
        average: nn.Module | None = None,
        ema: float = 0.0,
        label_smoothing: float = 0.0,
        precision: str = "fp32",
    ) -> None:
        """Allocate the buffers.

        Args:
            model: Normalised images (N, 1, 28, 28) to logits (N, 10).
            optimizer: Optimizer of the model's weights; its learning rate must be a tensor.
            batches: The first call's batches; no later call may have more.
            average: Network that holds the moving average of the weights; None: no average.
            ema: Decay per step of that average.
            label_smoothing: Share of each target spread evenly over all classes.
            precision: `fp32` or `bf16`.
        """
        self.model, self.optimizer, self.average = model, optimizer, average
        self.update_average = get_ema_multi_avg_fn(ema)
        self.label_smoothing, self.precision = label_smoothing, precision
        self.examples, self.selection = batches.examples, batches.selection.map(Tensor.clone)
        steps, batch_size = self.selection.indices.shape
        device = self.selection.indices.device
        # Lightning moves a checkpoint's moments to the device, but not its learning rate.
        self.lr = optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].to(device)
        self.rates = torch.zeros(steps, device=device)
        self.logits = torch.zeros(steps, batch_size, NUM_CLASSES, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        # A single step, such as an epoch's last and smaller batch, is not worth a graph.
        self.to_capture = device.type == "cuda" and steps > 1

    def run(self, batches: Batches, rates: Tensor) -> Tensor:
        """Take one optimizer step per batch.

        Args:
            batches: At most as many as in the first call.
            rates: Learning rate of each step, float32 of shape (steps,).

        Returns:
            Logits before each step's update, float32 of shape (steps, batch_size, 10); valid until the next run.
        """
        steps = len(rates)
        for buffer, tensor in zip(self.selection.tensors(), batches.selection.tensors(), strict=True):
            buffer[:steps].copy_(tensor)
        self.rates[:steps].copy_(rates)
        if self.to_capture:
            self._capture()
        self.position.zero_()
        for _ in range(steps):
            if self.graph is None:
                self._step()
            else:
                self.graph.replay()
        return self.logits[:steps]

    def _step(self) -> None:
        """Train on the batch at the current position and move on to the next."""
        batch = self.selection.map(lambda tensor: tensor.index_select(0, self.position)[0])
        self.lr.copy_(self.rates.index_select(0, self.position)[0])
        self.optimizer.zero_grad()
        logits = compute_logits(self.model, self.examples.images(batch), self.precision)
        target = self.examples.labels[batch.indices]
        F.cross_entropy(logits, target, label_smoothing=self.label_smoothing).backward()
        self.optimizer.step()
        if self.average is not None:
            self.update_average(float_tensors(self.average), float_tensors(self.model), None)
        self.logits.index_copy_(0, self.position, logits.detach().unsqueeze(0))
        self.position.add_(1)

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes; the optimizer's moments come last, since its first step creates them."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        averaged = [] if self.average is None else float_tensors(self.average)
        return [*self.model.state_dict().values(), *averaged, *moments]

    def _capture(self) -> None:
        """Record one step as a graph and restore the state, so that every step that counts is a replay."""
        self.to_capture = False
        before = [tensor.clone() for tensor in self._state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            # In their first calls, libraries choose kernels and allocate memory, which a graph cannot record.
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS):
                    self.position.zero_()
                    self._step()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()
            self.graph = graph
        except RuntimeError as error:
            warnings.warn(f"steps run one by one, since they cannot be captured as a CUDA graph: {error}", stacklevel=2)
        finally:
            for number, tensor in enumerate(self._state()):
                # Moments that did not exist before the first step start at zero.
                tensor.copy_(before[number]) if number < len(before) else tensor.zero_()


def float_tensors(module: nn.Module) -> list[Tensor]:
    """Weights and running statistics of a network, without its counters."""
    return [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
