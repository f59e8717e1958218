import pytest
import torch
from torch import Tensor

from src.train.batches import Plan
from src.train.steps import StepRunner


def plan(steps: int, batch_size: int, start: int = 0, device: str = "cpu") -> Plan:
    order = start + torch.arange(steps * batch_size, device=device).view(steps, batch_size)
    return Plan(order, torch.stack([order, -order], dim=-1), None)


class Sum:
    """Adds up (order · rate); predicts the order plus what was added up before."""

    def __init__(self, device: str = "cpu") -> None:
        self.total = torch.zeros((), device=device)
        self.calls = 0

    def __call__(self, batch: Plan, rate: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        preds = batch.order + self.total.long()
        self.total.add_((batch.order + batch.offsets.sum(-1)).sum() * rate)
        return self.total.clone(), preds


def run_three_chunks(device: str) -> tuple[list[list[float]], list[list[list[int]]], int]:
    step = Sum(device)
    runner = StepRunner(step, plan(4, 3, device=device), lambda: [step.total])
    losses, preds = [], []
    for steps, start in ((4, 0), (2, 100), (4, 7)):
        rates = torch.arange(1.0, steps + 1, device=device)
        loss, pred = runner.run(plan(steps, 3, start, device), rates)
        losses.append(loss.tolist())
        preds.append(pred.tolist())
    return losses, preds, step.calls


def test_each_batch_is_stepped_once_in_order_with_its_rate() -> None:
    losses, preds, calls = run_three_chunks("cpu")
    total, expected_losses, expected_preds = 0, [], []
    for steps, start in ((4, 0), (2, 100), (4, 7)):
        chunk_losses, chunk_preds = [], []
        for number in range(steps):
            batch = [start + 3 * number + i for i in range(3)]
            chunk_preds.append([index + total for index in batch])
            total += sum(batch) * (number + 1)
            chunk_losses.append(float(total))
        expected_losses.append(chunk_losses)
        expected_preds.append(chunk_preds)
    assert losses == expected_losses
    assert preds == expected_preds
    assert calls == 10


@pytest.mark.gpu
def test_a_captured_graph_gives_the_same() -> None:
    on_cpu, on_gpu = run_three_chunks("cpu"), run_three_chunks("cuda")
    assert on_gpu[:2] == on_cpu[:2]
    assert on_gpu[2] < on_cpu[2]
