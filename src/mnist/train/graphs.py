"""CUDA graphs, whose kernels are recorded once and launched together, and their random numbers."""

import gc
import itertools
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from src.mnist.model.seeds import seed_generators


class ForwardSeeds:
    """Seeds the generators before every forward pass by (seed, step, shard), for dropout and the like.

    The random numbers then depend neither on the epochs before a resume, nor on the process that computes a shard, nor
    on the number of steps per call. A generator cannot be seeded while CUDA records a graph. Each recorded pass
    therefore has its own generator state, which is seeded before every replay.
    """

    def __init__(self, seed: int, steps: int, shards: int, device: torch.device) -> None:
        """Prepare for calls of `steps` steps with `shards` forward passes each."""
        self.seed, self.steps, self.shards = seed, steps, shards
        self.first_step = 0
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        # By (step, shard); empty unless steps are recorded.
        self.states: dict[tuple[int, int], torch.Generator] = {}
        # Seed of the last pass; None if there is none yet that is recorded.
        self.last: int | None = None

    def start_call(self, first_step: int) -> None:
        """Prepare the forward passes of a call; `first_step` is counted over all epochs."""
        self.first_step = first_step
        for place, state in self.states.items():
            state.manual_seed(self._seed_of(*place))

    def start_pass(self, step: int, shard: int) -> None:
        """Seed the forward pass of one shard; `step` is counted within the call."""
        if self.states:
            self.check_replayable()
            self.enter_state(step, shard)
        self.last = self._seed_of(step, shard)
        seed_generators(self.last, () if self.states else self.generators)

    def start_load(self) -> None:
        """Seed the loading of a call, such as noise on images, with a seed that no forward pass has."""
        self.start_pass(0, self.shards)

    def enter_state(self, step: int, shard: int) -> None:
        """Make the forward pass of one shard draw from its own state."""
        self.generators[-1].graphsafe_set_state(self.states[step, shard])

    def check_replayable(self) -> None:
        """Raise RuntimeError if the last recorded pass drew from a generator that a replay would not draw from."""
        if self.last is not None:
            drawn = random.random(), np.random.random()
            seed_generators(self.last, ())
            if drawn != (random.random(), np.random.random()):
                raise RuntimeError("steps draw from the generators of Python or NumPy")

    def record(self) -> None:
        """Give the loading and every pass their own generator states, which a CUDA graph can replay."""
        places = [(0, self.shards), *itertools.product(range(self.steps), range(self.shards))]
        self.states = {place: self.generators[-1].clone_state() for place in places}
        self.last = None

    def _seed_of(self, step: int, shard: int) -> int:
        return int(np.random.SeedSequence([self.seed, self.first_step + step, shard]).generate_state(1, np.uint64)[0])


# Runs the function at least once, then returns a function that replays it, and its output, which replays overwrite.
Capture = Callable[[Callable[[], Tensor], ForwardSeeds], tuple[Callable[[], None], Tensor]]


def capture_cuda_graph(function: Callable[[], Tensor], seeds: ForwardSeeds) -> tuple[Callable[[], None], Tensor]:
    """Record a function's operations on the current device.

    Args:
        function: Performs the same operations on the same memory in every call, and never waits for the device. It is
            called twice: once to warm up, with all its effects, and once to record.
        seeds: Seeds of the random numbers that it draws.

    Returns:
        A function that replays the operations, and their output, which each replay overwrites.

    Raises:
        RuntimeError: If CUDA cannot record the function.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    usual_state = generator.graphsafe_get_state()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    seeds.record()
    for state in seeds.states.values():
        graph.register_generator_state(state)
    try:
        # Libraries choose kernels and allocate memory in their first calls, which a graph cannot record.
        with torch.cuda.stream(stream):
            function()
        torch.cuda.current_stream().wait_stream(stream)
        # If garbage on the device were collected during the recording, the recording would fail.
        gc.collect()
        with torch.cuda.graph(graph):
            output = function()
    finally:
        # Also after an error, since the caller may use the tensors that the function was changing.
        torch.cuda.current_stream().wait_stream(stream)
        generator.graphsafe_set_state(usual_state)
    return graph.replay, output
