"""CUDA graphs: a function's kernels recorded once and launched together."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")
# Runs the function in full at least once, then returns what replays it, and the output that every replay fills anew.
Capture = Callable[[Callable[[], T]], tuple[Callable[[], None], T]]


def capture_cuda_graph(function: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """Record what a function does on the current device.

    Args:
        function: Always does the same operations on the same memory and never waits for the device. It is called twice:
            to warm up, with all its effects, and to record.

    Returns:
        Replay, and the function's output; each replay overwrites it.

    Raises:
        RuntimeError: If CUDA cannot record it.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        # In their first calls, libraries choose kernels and allocate memory, which a graph cannot record.
        with torch.cuda.stream(stream):
            function()
    finally:
        # Also after an error: the caller may use what the function was working on.
        torch.cuda.current_stream().wait_stream(stream)
    # Collected while recording, garbage on the device would end the recording with an error.
    gc.collect()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return graph.replay, output
