"""Optimizer steps over several batches without waiting for the device; on CUDA, replays of one captured graph."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.params import TrainParams
from src.mnist.train.batches import Batches
from src.mnist.train.distributed import rank_and_count
from src.mnist.train.graphs import Capture, ForwardSeeds, capture_cuda_graph
from src.mnist.train.settings import Settings
from src.mnist.train.shards import ShardedBackward

# Types of an optimizer's numbers that a graph cannot change.
CONSTANT = (bool, int, float, str, type(None))


def compute_logits(model: nn.Module, x: Tensor, precision: str) -> Tensor:
    """Map normalised images (N, 1, 28, 28) to logits, float32 of shape (N, 10), in the precision of training."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return model(x).float()


def capture_for(device: torch.device, steps: int) -> Capture | None:
    """Return the function that captures a call of `steps` steps for replay, or None if calls should run directly."""
    # A single step, such as an epoch's smaller last batch, is not worth a graph. Steps that wait for other processes
    # run directly, because capturing them might fail in only some of the processes.
    return capture_cuda_graph if device.type == "cuda" and steps > 1 and rank_and_count()[1] == 1 else None


class StepRunner:
    """Trains a network on `Batches` of one shape.

    A call's plan is copied into buffers, so that every call performs the same operations on the same memory, which a
    CUDA graph can replay. On a CPU, the same code runs directly.
    """

    def __init__(
        self,
        model: nn.Module,
        average: nn.Module | None,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        params: TrainParams,
    ) -> None:
        """Allocate the buffers.

        Args:
            model: Maps normalised images (N, 1, 28, 28) to logits (N, 10).
            average: Network that holds the moving average of the weights, or None.
            optimizer: Its learning rate must be a tensor.
            batches: An example; all calls must have its shape.
            params: Hyperparameters.
        """
        self.model, self.optimizer, self.params = model, optimizer, params
        self.weights = float_tensors(model)
        self.averaged = [] if average is None else float_tensors(average)
        pairs = [] if average is None else zip(average.buffers(), model.buffers(), strict=True)
        self.counters = [pair for pair in pairs if not pair[0].is_floating_point()]
        self.update_average = get_ema_multi_avg_fn(params.ema)
        self.batches = batches._replace(plan=tuple(tensor.clone() for tensor in batches.plan))
        (steps, batch_size), device = batches.plan[0].shape, batches.labels.device
        self.rates = torch.zeros(steps, device=device)
        # Target probabilities by class, with label smoothing.
        smoothing = params.label_smoothing
        self.targets = (1 - smoothing) * torch.eye(NUM_CLASSES, device=device) + smoothing / NUM_CLASSES
        self.seeds = ForwardSeeds(params.seed, steps, params.shards, device)
        self.sharded = ShardedBackward(model, batch_size, params.shards) if params.shards > 1 else None
        self.capture = capture_for(device, steps)
        self.replay: Callable[[], None] | None = None
        # When it was last called.
        self.settings: Settings | None = None
        self.logits: Tensor

    def run(self, batches: Batches, rates: Tensor) -> Tensor:
        """Take one optimizer step per batch.

        Args:
            batches: Batches of the shape passed to the constructor.
            rates: Learning rate of each step, float32 of shape (steps,).

        Returns:
            Logits before each step's update, float32 of shape (steps, batch_size, 10); valid until the next run.
        """
        for buffer, tensor in zip(self.batches.plan, batches.plan, strict=True):
            buffer.copy_(tensor)
        self.rates.copy_(rates)
        if self.capture is not None:
            settings = Settings.of(self.model)
            if settings != self.settings:
                # Directly once: the optimizer's first step of a weight creates moments, which recording must restore.
                self.settings, self.replay, self.seeds.states = settings, None, {}
            elif self.replay is None:
                self._record(self.capture)
        # After recording, which draws random numbers too.
        self.seeds.start_call(batches.first_step)
        if self.replay is None:
            return self._steps()
        self.replay()
        return self.logits

    def _steps(self) -> Tensor:
        """Train on every batch in the buffers, in order, and return the logits."""
        self.seeds.start_load()
        x, labels = self.batches.load()
        batches = zip(x, self.targets[labels], self.rates, strict=True)
        return torch.stack([self._step(step, *batch) for step, batch in enumerate(batches)])

    def _step(self, step: int, x: Tensor, target: Tensor, rate: Tensor) -> Tensor:
        """Train on one batch: images (N, 1, 28, 28), target probabilities (N, 10) and the learning rate, a scalar."""

        def forward(shard: int) -> tuple[Tensor, Tensor]:
            images, targets = (tensor.tensor_split(self.params.shards)[shard] for tensor in (x, target))
            self.seeds.start_pass(step, shard)
            logits = compute_logits(self.model, images, self.params.precision)
            return logits, F.cross_entropy(logits, targets)

        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        if self.sharded is None:
            logits, loss = forward(0)
            loss.backward()
        else:
            logits = self.sharded.backward(forward)
        self.optimizer.step()
        if self.averaged:
            self.update_average(self.averaged, self.weights, None)
            for copied, counter in self.counters:
                copied.copy_(counter)
        return logits.detach()

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.state_dict().values(), *self.averaged, *filter(torch.is_tensor, moments)]

    def _record(self, capture: Capture) -> None:
        """Record the steps and restore the state, so that calls are replays until settings change."""
        before = [tensor.clone() for tensor in self._state()]
        numbers = [
            (one, {name: value for name, value in one.items() if type(value) in CONSTANT})
            for one in (*self.optimizer.param_groups, *self.optimizer.state.values())
        ]
        elsewhere = {value.device.type for value in self._state()} - {self.rates.device.type}
        try:
            if elsewhere:
                raise RuntimeError(
                    f"the optimizer keeps tensors on {', '.join(elsewhere)}, which a replay would not change"
                )
            self.replay, self.logits = capture(self._steps, self.seeds)
            self.seeds.check_replayable()
            if any(one[name] != value for one, values in numbers for name, value in values.items()):
                raise RuntimeError("the optimizer counts in plain numbers")
        except RuntimeError as error:
            self.capture, self.replay, self.seeds.states = None, None, {}
            warnings.warn(f"steps run one by one, since they cannot be captured as a CUDA graph: {error}", stacklevel=2)
        finally:
            for tensor, value in zip(self._state(), before, strict=True):
                tensor.copy_(value)
            for one, values in numbers:
                one.update(values)


def float_tensors(module: nn.Module) -> list[Tensor]:
    """Weights and floating-point buffers of a network; tensors that layers share appear once."""
    return [tensor.detach() for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
