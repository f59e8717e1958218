"""Runs the committed pipeline again in a clone with an empty cache and compares: `python -m src.audit.reproduce`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from src.core.errors import UserError
from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path, why_void_in
from src.report.noise import NOISE, Measurement, find, parse_noise, seed_noise
from src.report.pipeline import PARAMS
from src.report.policy import Policy, parse_policy
from src.report.revision import POLICY, TEST_DATA, flatten


@dataclass(frozen=True)
class Results:
    """What a repository holds.

    Attributes:
        outputs: Hash of every output except the receipts, by path, as in dvc.lock.
        fixed: Paths of the outputs that do not depend on the machine.
        made_with: Versions and machine of every stage, from its receipt, by `stage: name`.
        metrics: Values by name, with dots between the levels, of each metrics file by its path.
    """

    outputs: dict[str, str]
    fixed: frozenset[str]
    made_with: dict[str, Any]
    metrics: dict[str, dict[str, Any]]


def main() -> int:
    """Print a table of all outputs; 0 if they are identical, or as good on a machine that is known to differ."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
            clone = Path(folder) / "clone"
            _run("git", "clone", "--quiet", str(Path().resolve()), str(clone), folder=Path())
            committed = read_results(clone)
            # Forced, because metrics and plots came with the clone and DVC would trust them.
            _run(sys.executable, "-m", "dvc", "repro", "--force", folder=clone)
            again = read_results(clone)
            console.print(_table(committed.outputs, again.outputs))
            if committed.outputs == again.outputs:
                console.print(f"All {len(again.outputs)} outputs are byte-identical.")
                return 0
            return _explain(console, committed, again, clone)
    except UserError as error:
        print(f"reproduce: {error}", file=sys.stderr)  # noqa: T201
        return 1


def _run(*command: str, folder: Path) -> None:
    # The clone uses this process's interpreter; DVC runs `python` from PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode:
        raise UserError(f"`{' '.join(command)}` failed in {folder.resolve()}; see above")


def read_results(repository: Path) -> Results:
    """The results in a working tree.

    Raises:
        UserError: If there are none, or if a file does not match dvc.lock.
    """
    lock = repository / "dvc.lock"
    if not lock.exists():
        raise UserError("the last commit has no dvc.lock, so there is no result to reproduce; run `dvc repro`, commit")
    stages = YAML(typ="safe").load(lock)["stages"]
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    for path, oid in outputs.items():
        if (repository / path).is_file() and md5(repository / path) != oid:
            raise UserError(
                f"{path}: was committed with content that dvc.lock does not have; run `dvc repro`, commit both"
            )
    receipts = {stage: _read_receipt(repository, stage, stages[stage]) for stage in stages if stage != "check"}
    fixed = {path for receipt in receipts.values() if not receipt["machine"] for path in receipt["outs"]}
    made_with = {
        f"{stage}: {name}": value
        for stage, receipt in receipts.items()
        for name, value in {**receipt["versions"], **receipt["machine"]}.items()
    }
    kept = {path: oid for path, oid in outputs.items() if path not in map(receipt_path, receipts)}
    metrics = {path: flatten(_read_json(repository / path)) for path in kept if path.endswith(".json")}
    return Results(kept, frozenset(fixed), made_with, metrics)


def _read_receipt(repository: Path, stage: str, locked: dict[str, Any]) -> dict[str, Any]:
    if wrong := why_void_in(repository, stage, locked):
        raise UserError(f"{wrong}, commit its results")
    return parse_receipt((repository / receipt_path(stage)).read_text(encoding="utf-8"))


def differences(committed: Results, again: Results) -> Iterator[str]:
    """Known differences between this machine and the one that made the results, one line each."""
    for name, before in committed.made_with.items():
        now = again.made_with.get(name)
        if before != now:
            yield f"{name}: {before} before, {now} now"


def compare_metrics(
    committed: Results, again: Results, policy: Policy, measured: Measurement | None
) -> Iterator[tuple[str, bool]]:
    """Each metric that gates and whose seed noise is known: what became of it, and whether a seed changes as much.

    Args:
        committed: Results of the commit.
        again: Results made from it here.
        policy: Which metrics gate.
        measured: The seeds measured for this data and recipe, or None.
    """
    for path, rules in policy.metrics.items():
        for name in (name for name, rule in rules.items() if rule.gates and name in committed.metrics.get(path, {})):
            if noise := seed_noise(measured, measured, path, name):
                before, now = (results.metrics[path][name] for results in (committed, again))
                within = abs(now - before) <= noise.limit
                words = "within" if within else "more than"
                yield (
                    f"{name}: {before} before, {now} now; {words} what another seed changes "
                    f"(95% by less than {noise.limit:.2g}, over {noise.seeds} seeds)",
                    within,
                )


def _compare_in(clone: Path, committed: Results, again: Results) -> list[tuple[str, bool]]:
    policy, noise = clone / POLICY, clone / NOISE
    if not (policy.exists() and noise.exists()):
        return []
    params = YAML(typ="safe").load(clone / PARAMS)
    measured = find(parse_noise(noise.read_text(), NOISE), committed.outputs[TEST_DATA], params)
    return list(compare_metrics(committed, again, parse_policy(policy.read_text(), POLICY), measured))


def _explain(console: Console, committed: Results, again: Results, clone: Path) -> int:
    """Print why outputs may differ and whether the metrics are as good; returns the exit code."""
    if wrong := [path for path in sorted(committed.fixed) if committed.outputs[path] != again.outputs.get(path)]:
        console.print(f"{', '.join(wrong)}: differs, though it does not depend on the machine.", markup=False)
        return 1
    reasons = list(differences(committed, again))
    if not reasons:
        console.print("Versions, device, threads and processor are the same, so these outputs should be, too.")
        return 1
    for reason in reasons:
        console.print(f"- {reason}", markup=False)
    compared = _compare_in(clone, committed, again)
    for words, _ in compared:
        console.print(words, markup=False)
    if not compared:
        console.print(f"{NOISE} does not have this data and recipe, so whether this is noise cannot be told.")
    else:
        console.print(f"Nothing else was compared: no other metric gates in {POLICY} and is in {NOISE}.")
    return 0 if compared and all(within for _, within in compared) else 1


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _table(expected: dict[str, str], found: dict[str, str]) -> Table:
    table = Table("output", "dvc.lock", "now", "", box=None)
    for path in {**expected, **found}:
        before, now = expected.get(path, "-"), found.get(path, "-")
        table.add_row(path, before[:12], now[:12], "same" if before == now else "[red]differs[/red]")
    return table


if __name__ == "__main__":
    sys.exit(main())
