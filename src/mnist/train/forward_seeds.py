"""Random numbers that a network draws, such as dropout's, as a function of (seed, step, shard)."""

import numpy as np
import torch


class ForwardSeeds:
    """Seeds PyTorch's generators before every forward pass.

    So neither the epochs before a resume nor the process that computes a shard nor how many steps a call has makes a
    difference. While CUDA records a graph, a generator cannot be seeded: there, each pass has a generator state of its
    own, which is seeded before every replay.
    """

    def __init__(self, seed: int, steps: int, shards: int, device: torch.device) -> None:
        """Seed for calls of this many steps.

        Args:
            seed: The run's seed.
            steps: Steps of a call.
            shards: Forward passes of a step.
            device: Where the network computes.
        """
        self.seed, self.steps, self.shards = seed, steps, shards
        self.first_step = 0
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        # By (step, shard); empty unless steps are recorded.
        self.states: list[torch.Generator] = []

    def start_call(self, first_step: int) -> None:
        """Prepare the forward passes of a call.

        Args:
            first_step: Number of its first step, counted over all epochs.
        """
        self.first_step = first_step
        for number, state in enumerate(self.states):
            state.manual_seed(self._seed_of(*divmod(number, self.shards)))

    def start_pass(self, step: int, shard: int) -> None:
        """Seed the forward pass of one shard; steps are counted within the call."""
        if self.states:
            self.generators[-1].graphsafe_set_state(self.states[step * self.shards + shard])
            return
        for generator in self.generators:
            generator.manual_seed(self._seed_of(step, shard))

    def record(self) -> None:
        """Give every pass a generator state of its own, which a CUDA graph can replay."""
        self.states = [self.generators[-1].clone_state() for _ in range(self.steps * self.shards)]

    def _seed_of(self, step: int, shard: int) -> int:
        return int(np.random.SeedSequence([self.seed, self.first_step + step, shard]).generate_state(1, np.uint64)[0])
