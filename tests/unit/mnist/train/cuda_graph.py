"""An emulation of CUDA graphs on a CPU: the operators of a call are recorded and replayed on the same memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.mnist.train.graphs import ForwardSeeds

# Operators that wait for the device, because they return a value or because their result's shape depends on values.
READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "unique_consecutive", "_unique2"}
# Methods that wait for the device, but run no operator on a CPU.
READING_METHODS = {"cpu", "item", "numpy", "tolist", "__array__", "__bool__", "__float__", "__int__", "__index__"}


class HostReadError(Exception):
    """A step reads a tensor on the host, which a graph cannot record."""


class _NoMethodReads(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READING_METHODS:
            raise HostReadError(func.__name__)
        return func(*args, **(kwargs or {}))


class Recorder(TorchDispatchMode):
    """Records every operator with its own input and output tensors, and other functions that replays should call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in READS or (func is torch.ops.aten.index.Tensor and _has_mask(args[1])):
            raise HostReadError(func)
        output = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, output))
        return output

    def replay(self) -> None:
        """Run the operators again and overwrite their outputs."""
        for func, args, kwargs, output in self.calls:
            if not isinstance(func, OpOverload):
                func(*args)
                continue
            if func.is_view or "empty" in func.overloadpacket.__name__:
                continue
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(tree_leaves(output), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)


def _has_mask(indices: Any) -> bool:
    """Whether an index contains a mask, on whose values the result's size depends."""
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


class PassStates:
    """Generator states as on CUDA, one per pass; on a CPU, the single generator takes on their values in turn."""

    def __init__(self, seeds: ForwardSeeds) -> None:
        self.seeds = seeds
        self.current: torch.Generator | None = None

    def enter(self, step: int, shard: int) -> None:
        self.leave()
        self.current = self.seeds.states[step, shard]
        torch.default_generator.set_state(self.current.get_state())

    def leave(self) -> None:
        if self.current is not None:
            self.current.set_state(torch.default_generator.get_state())
        self.current = None


def emulated_cuda_graph(function: Callable[[], Tensor], seeds: ForwardSeeds) -> tuple[Callable[[], None], Tensor]:
    """Emulate `capture_cuda_graph` on a CPU."""
    seeds.record()
    states, recorder = PassStates(seeds), Recorder()

    def note(step: int, shard: int) -> None:
        recorder.calls.append((states.enter, (step, shard), {}, None))

    seeds.enter_state = states.enter  # type: ignore[method-assign]
    function()
    states.leave()
    seeds.enter_state = note  # type: ignore[method-assign]
    with _NoMethodReads(), recorder:
        output = function()

    def replay() -> None:
        with torch.no_grad():
            recorder.replay()
        states.leave()

    return replay, output
