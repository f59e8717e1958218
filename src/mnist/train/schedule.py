"""The learning rate of every optimizer step, as one array."""

import numpy as np

# One-cycle: the share of steps in which the rate rises, and its first and last values as shares of the peak. These are
# PyTorch's defaults.
RISE, START, END = 0.3, 1 / 25, 1 / 25e4


def learning_rates(schedule: str, lr: float, total_steps: int) -> np.ndarray:
    """Compute the learning rate of each step.

    Args:
        schedule: `constant`; `cosine`, from lr down to 0 along half a cosine (Loshchilov and Hutter, 2017, without
            restarts); `one-cycle`, up to lr and down again along half cosines (Smith and Topin, 2018).
        lr: The highest rate.
        total_steps: Number of steps in all epochs, at least 1.

    Returns:
        float32 of shape (total_steps,).
    """
    step = np.arange(total_steps)
    if schedule == "cosine":
        rates = _anneal(lr, 0.0, step / total_steps)
    elif schedule == "one-cycle":
        peak, last = RISE * total_steps - 1, total_steps - 1
        rising = _anneal(lr * START, lr, step / peak if peak > 0 else np.ones(total_steps))
        falling = _anneal(lr, lr * END, (step - peak) / (last - peak))
        rates = np.where(step <= peak, rising, falling)
    else:
        rates = np.full(total_steps, lr)
    return rates.astype(np.float32)


def _anneal(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    """Half a cosine from start to end, for progress from 0 to 1."""
    return end + (start - end) * (1 + np.cos(np.pi * progress)) / 2
