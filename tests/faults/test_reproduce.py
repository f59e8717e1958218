"""`make reproduce` detects different results and explains them."""

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from src.audit.differences import Rules, explain
from src.audit.reproduce import AS_GOOD, DIFFERENT, SAME, UNKNOWN, main, read_rules
from src.audit.results import Results
from src.core.errors import UserError
from src.core.files import md5
from src.noise.measurement import NOISE, format_noise
from src.report.policy import Policy
from src.revision.pipeline import output_md5
from src.revision.receipts import Receipt
from src.revision.revision import open_revision
from tests.faults.project import Project
from tests.unit.noise.measured import measured

METRICS, MODEL = "metrics/eval.json", "models/model.safetensors"
# A standard deviation of 0.001.
ACCURACIES = (0.989, 0.990, 0.991)


def made(data: str, model: str, metrics: str, test_acc: object, torch: str = "2", **machine: object) -> Results:
    """Results with these hashes."""
    machine = {"device": "cpu", "threads": 2, **machine}
    deps = {"fetch": {"checked": "c"}, "train": {"data": data}, "evaluate": {MODEL: model}}
    outs = {"fetch": {"data": data}, "train": {MODEL: model}, "evaluate": {METRICS: metrics}}
    return Results(
        outputs={"checked": "c", "data": data, MODEL: model, METRICS: metrics},
        receipts={
            stage: Receipt(
                stage=stage,
                deps=deps[stage],
                params={},
                outs=outs[stage],
                versions={"torch": torch},
                machine={} if stage == "fetch" else machine,
            )
            for stage in deps
        },
        metrics={METRICS: {"test_acc": test_acc}},
        params={"params.yaml": {"lr": 0.1, "seed": 3}},
    )


COMMITTED = made("d", "m", "0", 0.99)
# Results of a different machine: a different model with equally good metrics.
ELSEWHERE = made("d", "n", "1", 0.9901, device="gpu")
POLICY = Policy.model_validate(
    {"metrics": {METRICS: {"test_acc": {"better": "higher", "tolerated": 0.001, "required": True}}}, "data": "data"}
)


RULES = Rules(POLICY, [measured(ACCURACIES, "d", {"lr": 0.1})])


def results(project: Project) -> Results:
    with open_revision(project.path, None) as revision:
        return Results.of(revision)


RULE = POLICY.metrics[METRICS]["test_acc"]
# With these rules, an accuracy of 1 would be equally good.
LAX_RULES = Rules(POLICY, [measured((0.985, 0.990, 0.995), "d", {"lr": 0.1})])
UNMEASURED = Rules(Policy(metrics={METRICS: {"test_acc": RULE, "other": RULE}}), RULES.noise)


@pytest.mark.fault(85)
@pytest.mark.parametrize(
    ("again", "rules", "as_good", "reason"),
    [
        (ELSEWHERE, RULES, True, "test_acc: 0.99 before, 0.9901 now; within seed noise"),
        (made("d", "n", "1", 0.99, torch="3"), RULES, True, "- evaluate: torch: 2 before, 3 now"),
        # Student's t with 2 degrees of freedom: 4.303 * sqrt(2) * 0.001 = 0.0061.
        (made("d", "n", "1", 0.996, device="gpu"), RULES, True, "within seed noise"),
        (made("d", "n", "1", 0.9962, device="gpu"), RULES, False, "beyond seed noise"),
        (made("d", "n", "1", 0.984, device="gpu"), RULES, True, "within seed noise"),
        (made("d", "n", "1", 0.9838, device="gpu"), RULES, False, "beyond seed noise"),
        (made("d", "n", "1", float("nan"), device="gpu"), RULES, False, "not a number in both"),
        (made("d", "n", "1", "0.99", device="gpu"), RULES, False, "not a number in both"),
        (made("d", "n", "1", True, device="gpu"), LAX_RULES, False, "not a number in both"),
        (made("d", "n", "1", 10**400, device="gpu"), RULES, False, "not a number in both"),
        (made("d", "n", "1", 0.9901), RULES, False, "the same, so these outputs should be, too"),
        (made("e", "n", "1", 0.9901, device="gpu"), RULES, False, "data: differs, though it does not depend on the"),
        # A machine that computes the same model computes the same scores; others were made up.
        (made("d", "m", "1", 0.9901, device="gpu"), RULES, False, "the same bytes, so no machine or version explains"),
        (ELSEWHERE, Rules(POLICY, []), False, "it may not be noise"),
        (ELSEWHERE, Rules(POLICY, [measured(ACCURACIES, "d", {"lr": 0.2})]), False, "it may not be noise"),
        (ELSEWHERE, Rules(POLICY, [measured(ACCURACIES, "e", {"lr": 0.1})]), False, "it may not be noise"),
        (ELSEWHERE, Rules(Policy(metrics={}), RULES.noise), False, "No metric counts"),
        (ELSEWHERE, UNMEASURED, False, "other: None before, None now; not a number in both"),
    ],
)
def test_different_bytes_pass_only_with_a_reason_and_within_noise(
    again: Results, rules: Rules, as_good: bool, reason: str
) -> None:
    found, lines = explain(COMMITTED, again, rules)
    assert found is as_good
    assert reason in "\n".join(lines)


def test_difference_is_unexplained_without_receipts() -> None:
    committed, again = (dataclasses.replace(results, receipts={}) for results in (COMMITTED, ELSEWHERE))
    assert explain(committed, again, RULES) == (
        False,
        ["No receipt says what made these outputs, so nothing explains why they differ."],
    )


def test_versions_and_machine_come_from_receipts(project: Project) -> None:
    found = results(project)
    assert found.made_with["train: device"] == "cpu"
    assert found.made_with["evaluate: scikit-learn"]
    assert "fetch: cpu" not in found.made_with
    assert found.portable == {path for path in found.outputs if path.startswith("data/MNIST/raw/")}
    assert found.passed_on == {MODEL}


def edited_metrics(project: Project) -> None:
    metrics = project.path / METRICS
    metrics.write_text(metrics.read_text().replace('"test_loss": 0.', '"test_loss": 0.0'))


def edited_lock(project: Project) -> None:
    lock = project.path / "dvc.lock"
    lock.write_text(lock.read_text().replace(project.outs()[MODEL], 32 * "f"))


@pytest.mark.fault(80, 81)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda project: (project.path / "dvc.lock").unlink(), "dvc.lock of working tree: is missing, so there are no"),
        (lambda project: (project.path / "dvc.lock").write_text(""), "dvc.lock of working tree: "),
        (lambda project: (project.path / "receipts/train.json").unlink(), "receipts/train.json of working tree: is"),
        (lambda project: project.append("stages/train.py", "# edited\n"), "check: stages changed"),
        (edited_metrics, f"evaluate: {METRICS} differs from what dvc.lock records"),
        (edited_lock, f"dvc.lock contradicts receipts/train.json in {MODEL}"),
    ],
)
def test_incomplete_results_cannot_be_read(project: Project, change: Callable[[Project], object], problem: str) -> None:
    change(project)
    with pytest.raises(UserError, match=rf"^{problem}.*`dvc repro"):
        results(project)


def test_incomplete_results_are_not_reproduced(folder: Project, capfd: pytest.CaptureFixture[str]) -> None:
    (folder.path / "dvc.lock").unlink()
    folder.commit()
    with chdir(folder.path):
        assert main([]) == UNKNOWN
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("reproduce: dvc.lock of the last commit: is missing")


@pytest.mark.fault(85)
def test_branch_cannot_choose_noise_or_policy(project: Project) -> None:
    project.commit()
    project.git("checkout", "--quiet", "-b", "branch")
    (project.path / NOISE).write_text(format_noise([measured(ACCURACIES, "d")]))
    policy = project.path / "metrics_policy.yaml"
    policy.write_text(policy.read_text().replace("required: true", "required: false"))
    project.commit()
    rules = read_rules(project.path, "main")
    assert rules.noise == []
    assert rules.policy.metrics[METRICS]["test_acc"].required
    assert read_rules(project.path, "branch").noise
    with pytest.raises(UserError, match="none: is not a revision in this clone"):
        read_rules(project.path, "none")
    # It would be the working tree, the branch's own rules.
    with pytest.raises(UserError, match="expected the name of a revision, such as main, got an empty string"):
        read_rules(project.path, "")


@pytest.mark.fault(85)
@pytest.mark.parametrize(("option", "code"), [("frozen: true", UNKNOWN), ("always_changed: true", DIFFERENT)])
def test_output_in_git_is_reproduced(
    folder: Project, option: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """DVC does not run a frozen stage, and a command may keep what is there; the branch's own dvc does not run."""
    (folder.path / "dvc.py").touch()
    shutil.rmtree(folder.path / "made")
    (folder.path / ".gitignore").unlink()
    (folder.path / "made").write_text("forged\n")
    (folder.path / "dvc.yaml").write_text(
        "stages:\n"
        "  make:\n"
        "    cmd: test -e made || cp given made\n"
        "    deps: [given]\n"
        "    outs: [{made: {cache: false, persist: true}}]\n"
        f"    {option}\n"
    )
    folder.dvc_ok("commit", "--force")
    folder.commit()
    with chdir(folder.path):
        assert main([]) == code, capfd.readouterr()


@pytest.mark.fault(85)
def test_planted_ignored_files_are_not_used(folder: Project, capfd: pytest.CaptureFixture[str]) -> None:
    """Training would resume from a planted checkpoint, even if the branch no longer ignores it."""
    ignored = (folder.path / ".gitignore").read_text()
    (folder.path / ".gitignore").write_text(f"{ignored}/logs\n")
    folder.commit()
    folder.git("switch", "--quiet", "--create", "branch")
    (folder.path / ".gitignore").write_text(ignored)
    (folder.path / "logs").mkdir()
    (folder.path / "logs/kept").write_text("forged\n")
    folder.edit("dvc.yaml", "cat given given", "cat given logs/kept")
    folder.repro()
    folder.commit()
    with chdir(folder.path):
        assert main([]) == UNKNOWN
    assert "cat: logs/kept: No such file" in capfd.readouterr().err


COUNT = "find .dvc/cache/files -type f | wc -l > made"


@pytest.mark.fault(85, 86)
def test_only_data_tracked_by_dvc_comes_from_the_cache(
    folder_made: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A project in a subfolder of the repository, whose output shows how many objects the cache had."""
    mono, folder = Project(tmp_path / "mono"), folder_made.copy(tmp_path / "mono/ml/folder")
    for path in (".git", ".dvc/cache", "made"):
        shutil.rmtree(folder.path / path)
    # A file of another project with the same name.
    (mono.path / "given").write_text("another\n")
    mono.init()
    folder.dvc_ok("add", "--quiet", "given")
    folder.edit("dvc.yaml", "mkdir -p made/deep && cp given made/one && cat given given > made/deep/two", COUNT)
    folder.repro()
    mono.commit()
    assert (folder.path / "made").read_text() == "1\n"
    with chdir(folder.path):
        assert main([]) == SAME, capfd.readouterr()
        assert "Identical: all 1 outputs" in capfd.readouterr().out
        cached = folder.cached(md5(folder.path / "given"))
        cached.unlink()
        assert main([]) == UNKNOWN
        # DVC trusts a write-protected object.
        cached.write_text("forged\n")
        cached.chmod(0o444)
        assert main([]) == UNKNOWN
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("reproduce: ")]
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("reproduce: given.dvc: its data is not whole in DVC's cache; run `dvc pull given.dvc`")


@pytest.mark.slow
def test_clone_with_an_empty_cache_gives_the_same_bytes(project: Project) -> None:
    project.commit()
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == SAME, done.stdout + done.stderr
    # Receipts are not results, since they also describe the machine.
    outputs = [path for path in project.outs() if not path.startswith("receipts/")]
    assert f"Identical: all {len(outputs)} outputs have the same bytes." in done.stdout
    assert "differs" not in done.stdout


def rehash(project: Project, path: str, new: str) -> None:
    """Change the hash of an output in all receipts and in dvc.lock."""
    for file in (*project.path.glob("receipts/*"), project.path / "dvc.lock"):
        file.write_text(file.read_text().replace(project.outs()[path], new))
        if file.parent.name == "receipts":
            receipt = f"receipts/{file.name}"
            lock = project.path / "dvc.lock"
            lock.write_text(lock.read_text().replace(project.outs()[receipt], md5(file)))


def tamper(project: Project) -> None:
    """Commit better test metrics than those of the pipeline, with matching hashes."""
    edited_metrics(project)
    rehash(project, METRICS, md5(project.path / METRICS))
    project.commit()


def claim_another_machine(project: Project) -> None:
    for stage in ("train", "evaluate"):
        receipt = project.path / f"receipts/{stage}.json"
        receipt.write_text(receipt.read_text().replace('"device": "cpu"', '"device": "an abacus"'))
        rehash(project, f"receipts/{stage}.json", md5(receipt))


def differing(output: str) -> list[str]:
    rows = [line.split() for line in output.splitlines()]
    return [row[0] for row in rows if row[-1:] == ["differs"]]


@pytest.mark.fault(85)
@pytest.mark.slow
@pytest.mark.parametrize("model", [None, 32 * "f"], ids=["the same model", "another model"])
def test_forged_metrics_of_a_claimed_machine_are_detected(project: Project, model: str | None) -> None:
    data, params = output_md5(project.outs(), "data/MNIST"), YAML(typ="safe").load(project.path / "params.yaml")
    assert data
    (project.path / NOISE).write_text(format_noise([measured(ACCURACIES, data, params)]))
    claim_another_machine(project)
    if model:
        rehash(project, MODEL, model)
    tamper(project)
    done = project.run("python", "-m", "src.audit.reproduce")
    assert "train: device: an abacus before, cpu now" in done.stdout
    if model:
        # Even if everything is forged, the gain stays within the noise measured by the base.
        assert done.returncode == AS_GOOD
        assert differing(done.stdout) == [MODEL, METRICS]
        assert "Not identical, but as good, by the rules of" in done.stdout
    else:
        assert done.returncode == DIFFERENT
        assert differing(done.stdout) == [METRICS]
        assert f"{MODEL}: the same bytes, so no machine or version explains what else differs" in done.stdout
