"""The bare PyTorch loop over tensors in memory, without trainer, callbacks and files.

Prints the seconds of all epochs, as JSON. It does the pipeline's work (the same network, optimizer, batches and scores)
and nothing else.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.measure import THREADS
from src.mnist.data.dataset import load_examples
from src.mnist.model.determinism import configure_determinism
from src.mnist.model.network import CNN, normalize
from src.mnist.model.split import split_indices


def fit_seconds(data_dir: Path, epochs: int, batch_size: int, lr: float, bf16: bool) -> float:
    """Train with a bare loop; returns the seconds of all epochs."""
    configure_determinism(THREADS)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_examples(data_dir, "train")
    images, labels = torch.tensor(data.images, device=device), torch.tensor(data.labels, device=device).long()
    train, val = (torch.from_numpy(part).to(device) for part in split_indices(data.labels, val_fraction=0.1, seed=0))
    torch.manual_seed(0)
    model = CNN().to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
    started = time.perf_counter()
    for _ in range(epochs):
        model.train()
        right = torch.zeros((), device=device)
        for index in train[torch.randperm(len(train), device=device)].split(batch_size):
            with autocast:
                logits = model(normalize(images[index]))
            loss = F.cross_entropy(logits.float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += (logits.detach().argmax(1) == labels[index]).sum()
        model.eval()
        with torch.inference_mode(), autocast:
            right_val = sum(
                (model(normalize(images[index])).argmax(1) == labels[index]).sum() for index in val.split(1000)
            )
        print(f"train {right.item() / len(train):.4f} validation {float(right_val) / len(val):.4f}")
    return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    seconds = fit_seconds(arguments.data_dir, arguments.epochs, batch_size=128, lr=0.001, bf16=arguments.bf16)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
