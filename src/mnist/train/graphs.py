"""CUDA graphs, whose kernels are recorded once and launched together, and the random numbers that they draw."""

import gc
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from src.mnist.model.seeds import seed_generators


class ForwardSeeds:
    """Seeds what a network draws, such as dropout's masks, before every forward pass: by (seed, step, shard).

    So neither the epochs before a resume nor the process that computes a shard nor how many steps a call has makes a
    difference. While CUDA records a graph, a generator cannot be seeded: there, each pass has a generator state of its
    own, which is seeded before every replay.
    """

    def __init__(self, seed: int, steps: int, shards: int, device: torch.device) -> None:
        """Seed for calls of this many steps, of this many forward passes each."""
        self.seed, self.steps, self.shards = seed, steps, shards
        self.first_step = 0
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        # By (step, shard); empty unless steps are recorded.
        self.states: list[torch.Generator] = []

    def start_call(self, first_step: int) -> None:
        """Prepare the forward passes of a call; its first step is counted over all epochs."""
        self.first_step = first_step
        for number, state in enumerate(self.states):
            state.manual_seed(self._seed_of(*divmod(number, self.shards)))

    def start_pass(self, step: int, shard: int) -> None:
        """Seed the forward pass of one shard; steps are counted within the call."""
        seed_generators(self._seed_of(step, shard), () if self.states else self.generators)
        if self.states:
            self.enter_state(step, shard)

    def enter_state(self, step: int, shard: int) -> None:
        """Let the forward pass of one shard draw from its own state."""
        self.generators[-1].graphsafe_set_state(self.states[step * self.shards + shard])

    def check_replayable(self) -> None:
        """Raise RuntimeError if the call's last pass has drawn what a graph would repeat without drawing again."""
        drawn = random.random(), np.random.random()
        seed_generators(self._seed_of(self.steps - 1, self.shards - 1), ())
        if drawn != (random.random(), np.random.random()):
            raise RuntimeError("the network draws from the generators of Python or NumPy")

    def record(self) -> None:
        """Give every pass a generator state of its own, which a CUDA graph can replay."""
        self.states = [self.generators[-1].clone_state() for _ in range(self.steps * self.shards)]

    def _seed_of(self, step: int, shard: int) -> int:
        return int(np.random.SeedSequence([self.seed, self.first_step + step, shard]).generate_state(1, np.uint64)[0])


# Runs the function in full at least once, then returns what replays it, and the output that every replay fills anew.
Capture = Callable[[Callable[[], Tensor], ForwardSeeds], tuple[Callable[[], None], Tensor]]


def capture_cuda_graph(function: Callable[[], Tensor], seeds: ForwardSeeds) -> tuple[Callable[[], None], Tensor]:
    """Record what a function does on the current device.

    Args:
        function: Always does the same operations on the same memory and never waits for the device. It is called twice:
            to warm up, with all its effects, and to record.
        seeds: Of the random numbers that it draws.

    Returns:
        Replay, and the function's output; each replay overwrites it.

    Raises:
        RuntimeError: If CUDA cannot record it.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    usual_state = generator.graphsafe_get_state()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    seeds.record()
    for state in seeds.states:
        graph.register_generator_state(state)
    try:
        # In their first calls, libraries choose kernels and allocate memory, which a graph cannot record.
        with torch.cuda.stream(stream):
            function()
        torch.cuda.current_stream().wait_stream(stream)
        # Collected while recording, garbage on the device would end the recording with an error.
        gc.collect()
        with torch.cuda.graph(graph):
            output = function()
    finally:
        # Also after an error: the caller may use what the function was working on.
        torch.cuda.current_stream().wait_stream(stream)
        generator.graphsafe_set_state(usual_state)
    return graph.replay, output
