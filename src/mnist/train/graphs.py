"""CUDA graphs: a function's kernels recorded once and launched together."""

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from src.mnist.train.forward_seeds import ForwardSeeds

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
    except RuntimeError:
        seeds.states = []
        raise
    finally:
        # Also after an error: the caller may use what the function was working on.
        torch.cuda.current_stream().wait_stream(stream)
        generator.graphsafe_set_state(usual_state)
    return graph.replay, output
