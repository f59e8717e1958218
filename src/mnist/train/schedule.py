"""The learning rate of every optimizer step, as one array."""

from collections.abc import Callable

import numpy as np

# One-cycle: the share of steps in which the rate rises, and its first and last values as shares of the peak. These are
# PyTorch's defaults.
RISE, START, END = 0.3, 1 / 25, 1 / 25e4


def learning_rates(schedule: str, lr: float, total_steps: int) -> np.ndarray:
    """Compute the learning rate of each step.

    Args:
        schedule: One of `SCHEDULES`.
        lr: The highest rate.
        total_steps: Number of steps in all epochs, at least 1.

    Returns:
        float32 of shape (total_steps,).
    """
    return SCHEDULES[schedule](lr, np.arange(total_steps)).astype(np.float32)


def _constant(lr: float, step: np.ndarray) -> np.ndarray:
    return np.full(len(step), lr)


def _cosine(lr: float, step: np.ndarray) -> np.ndarray:
    """From lr down to 0 along half a cosine (Loshchilov and Hutter, 2017, without restarts)."""
    return _anneal(lr, 0.0, step / len(step))


def _one_cycle(lr: float, step: np.ndarray) -> np.ndarray:
    """Up to lr and down again along half cosines (Smith and Topin, 2018)."""
    peak, last = RISE * len(step) - 1, len(step) - 1
    rising = _anneal(lr * START, lr, step / peak if peak > 0 else np.ones(len(step)))
    falling = _anneal(lr, lr * END, (step - peak) / (last - peak))
    return np.where(step <= peak, rising, falling)


def _anneal(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    """Half a cosine from start to end, for progress from 0 to 1."""
    return end + (start - end) * (1 + np.cos(np.pi * progress)) / 2


# Maps lr and the number of each step, from 0, to its rate; stage check compares the names with the schema.
SCHEDULES: dict[str, Callable[[float, np.ndarray], np.ndarray]] = {
    "constant": _constant,
    "one-cycle": _one_cycle,
    "cosine": _cosine,
}
