"""Optimizer steps over the batches of a chunk, without a word to the host; on CUDA as replays of one captured graph."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from src.core.dataset import NUM_CLASSES
from src.train.batches import Plan

WARM_UP_STEPS = 3

# One step: a batch's (order, offsets, matrices) and its learning rate to its logits, (batch_size, 10).
Step = Callable[[Plan, Tensor], Tensor]


class StepRunner:
    """Runs one step function over chunks of one batch size.

    The inputs of all steps of a chunk lie in buffers on the device, and so does the number of the step that comes next.
    A step reads and writes the buffers at that number, so that every step is the same sequence of operations on the
    same memory: what a CUDA graph replays. On a CPU the same code runs as it is.
    """

    def __init__(self, step: Step, plan: Plan, state: Callable[[], list[Tensor]]) -> None:
        """Allocate the buffers.

        Args:
            step: Computes one batch, the optimizer's step included.
            plan: The longest chunk's, order of shape (steps, batch_size).
            state: All tensors that a step changes; those that the first step adds come last and were zero before it.
        """
        self.step, self.state = step, state
        steps, batch_size = plan.order.shape
        device = plan.order.device
        self.plan = plan.map(Tensor.clone)
        self.rates = torch.zeros(steps, device=device)
        self.logits = torch.zeros(steps, batch_size, NUM_CLASSES, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        # A single step, such as an epoch's last and smaller batch, is not worth a graph.
        self.to_capture = device.type == "cuda" and steps > 1

    def run(self, plan: Plan, rates: Tensor) -> Tensor:
        """Run every batch of a chunk.

        Args:
            plan: The chunk's batches, order of shape (steps, batch_size).
            rates: Learning rate of each step, float32 of shape (steps,).

        Returns:
            Logits, float32 of shape (steps, batch_size, 10), computed before each step's update; valid until the next
            run.
        """
        steps = len(plan.order)
        for buffer, tensor in zip(self.plan.tensors(), plan.tensors(), strict=True):
            buffer[:steps].copy_(tensor)
        self.rates[:steps].copy_(rates)
        if self.to_capture:
            self._capture()
        self.position.zero_()
        for _ in range(steps):
            if self.graph is None:
                self._one_step()
            else:
                self.graph.replay()
        return self.logits[:steps]

    def _one_step(self) -> None:
        """Compute the batch at the current position and move on to the next."""
        batch = self.plan.map(lambda tensor: tensor.index_select(0, self.position)[0])
        logits = self.step(batch, self.rates.index_select(0, self.position)[0])
        self.logits.index_copy_(0, self.position, logits.unsqueeze(0))
        self.position.add_(1)

    def _capture(self) -> None:
        """Record one step as a graph; the state is as before, so that every step that counts is a replay."""
        self.to_capture = False
        before = [tensor.clone() for tensor in self.state()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            # Libraries choose and allocate in the first calls, which a graph cannot record.
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_STEPS):
                    self.position.zero_()
                    self._one_step()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._one_step()
            self.graph = graph
        except RuntimeError as error:
            warnings.warn(f"steps run one by one, since they cannot be captured as a CUDA graph: {error}", stacklevel=2)
        finally:
            for number, tensor in enumerate(self.state()):
                tensor.copy_(before[number]) if number < len(before) else tensor.zero_()
