"""Receipts: what a stage actually read, used and wrote, as JSON in git next to its results.

    [{
      "stage": "train",
      "deps": {"src/core": "….dir", …},     MD5 of every dependency as the stage read it, by path, as DVC computes it
      "params": {"lr": 0.006, …},           every declared param as the stage read it
      "outs": {"metrics/train.json": "…"},  MD5 of every other output
      "versions": {"torch": "2.15.0", …},   versions of Python and the packages that compute
      "machine": {"device": "cpu", …}       other facts that the exact bytes depend on; may differ between machines
    }]

On a GPU, `machine` also has the versions of `cuda`, `cudnn` and the `driver` (empty if the system does not report it),
and `fp32` (`ieee` or `tf32`: how float32 was computed).

DVC hashes inputs only after the command has ended, and `dvc commit` hashes them at any time. The receipt is written by
the stage itself. If dvc.lock disagrees with it, dvc.lock is void.

dvc.yaml lists receipts under `metrics`, because the run cache restores no other outputs that are in git. A receipt is a
JSON list, because DVC does not look for metrics in lists.
"""

from collections.abc import Mapping
from typing import Any

from src.core.values import same

PARAMS_FILE = "params.yaml"


def receipt_path(stage: str) -> str:
    """Path of a stage's receipt."""
    return f"receipts/{stage}.json"


def receipt_differences(
    receipt: Mapping[str, Any], deps: Mapping[str, Any], params: Mapping[str, Any], outs: Mapping[str, Any]
) -> list[str]:
    """List where dvc.lock and a receipt disagree.

    Args:
        receipt: A receipt as documented above.
        deps: Hashes of the stage's dependencies in dvc.lock, by path.
        params: Values of the params in params.yaml in dvc.lock, by name.
        outs: Hashes of the outputs in dvc.lock, by path.

    Returns:
        Names of dependencies, params (`params.yaml: lr`) and outputs that differ, or that only one of both has.
    """
    own, missing = receipt_path(receipt["stage"]), object()
    others = {path: oid for path, oid in outs.items() if path != own}
    pairs = [(receipt["deps"], deps), (receipt["params"], params), (receipt["outs"], others)]
    return [
        f"{PARAMS_FILE}: {name}" if theirs is params else name
        for ours, theirs in pairs
        for name in {**ours, **theirs}
        if not same(ours.get(name, missing), theirs.get(name, missing))
    ]
