"""A change: the revisions that are compared, the rules that judge it, and what follows from them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE
from src.noise.measurement import Measurement, SeedNoise, find_measurement, read_noise, seed_noise
from src.report.policy import POLICY, VERSION, Curves, Examples, Policy, parse_policy
from src.report.predictions import Predictions, compare_predictions
from src.revision.git import find_commit, merge_bases, run_git
from src.revision.parsing import MAX_YAML_BYTES
from src.revision.revision import Revision, open_revision


@dataclass(frozen=True)
class Lineage:
    """Where a change began.

    Attributes:
        name: Of the base, as the user gave it.
        merge_bases: How many commits the branch began from.
        behind: Number of commits on the base since the one merge base.
    """

    name: str
    merge_bases: int
    behind: int


@dataclass(frozen=True)
class Seeds:
    """The seed measurements of both recipes; None where a recipe was not measured."""

    old: Measurement | None
    new: Measurement | None

    def noise(self, file: str, name: str) -> SeedNoise | None:
        """How much seeds alone change a metric, or None if not known."""
        return seed_noise(self.old, self.new, file, name)


@dataclass(frozen=True)
class Change:
    """Two revisions, and what judges the second.

    Attributes:
        base: What the change is compared with: the commit that the branch began from.
        head: The change.
        rules: The tip of the base, whose policy and measured noise apply. A change cannot loosen its own rules.
        lineage: Where the branch began.
        root: Folder of the project.
        reproduced: Whether running the head's pipeline again gave its results: a key of `checks.REPRODUCED`.
    """

    base: Revision
    head: Revision
    rules: Revision
    lineage: Lineage
    root: Path
    reproduced: str = "not-tried"

    @cached_property
    def policy(self) -> Policy:
        """The rules' policy, or, if they have no such file, the head's.

        Raises:
            UserError: If it is malformed, or there is none.
        """
        for revision in (self.rules, self.head):
            if revision.tree.files(POLICY):
                text = revision.text(POLICY, MAX_YAML_BYTES) or ""
                return parse_policy(text, f"{POLICY} of {revision.name}")
        raise UserError(
            f"{POLICY}: is missing in {self.rules.name} and in {self.head.name}; docs/adopting.md shows one"
        )

    @cached_property
    def has_own_policy(self) -> bool:
        """Whether the base has a policy."""
        return bool(self.rules.tree.files(POLICY))

    @cached_property
    def examples(self) -> Examples:
        """Which files tell about the test examples. Those that an old policy implies count if a stage makes them."""
        given = self.policy.examples
        if self.policy.version == VERSION:
            return given
        paths = [path for path in (given.wrong, given.counts, given.classes) if path]
        return given if any(self._is_made(path) for path in paths) else Examples()

    @cached_property
    def curves(self) -> Curves | None:
        """The training history, likewise."""
        given = self.policy.curves
        return given if given and (self.policy.version == VERSION or self._is_made(given.file)) else None

    def _is_made(self, path: str) -> bool:
        return any(revision.pipeline.producer(path) for revision in (self.base, self.head))

    def _has_data(self, path: str) -> bool:
        return any(revision.data_hashes([path])[path] for revision in (self.base, self.head))

    @cached_property
    def scoring(self) -> dict[str, str | None]:
        """The stage that makes each file with a required metric, by the base's definition or else by the head's."""
        files = dict.fromkeys(file for file, _ in self.policy.required)
        return {file: self.base.pipeline.producer(file) or self.head.pipeline.producer(file) for file in files}

    @cached_property
    def other_data(self) -> list[str]:
        """Data that both revisions were scored on, and that is not the same."""
        old, new = self.base.data_hashes(self.data), self.head.data_hashes(self.data)
        return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))

    @cached_property
    def data(self) -> list[str]:
        """Paths of the data: what the policy names, or else what the scoring stages read besides code and model.

        The model is what a stage makes that comes after the makers of all the rest.
        """
        given = self.policy.data
        if given is not None and (self.policy.version == VERSION or self._has_data(given)):
            return [given]
        pipeline = self.base.pipeline if self.base.pipeline.stages else self.head.pipeline
        scoring = [pipeline.stages[stage] for stage in self.scoring.values() if stage in pipeline.stages]
        read = {path for stage in scoring for path in stage.deps if not self.head.tree.files(path)}
        makers = {path: pipeline.producer(path) for path in read}
        last = {
            maker
            for maker in makers.values()
            if maker and {other for other in makers.values() if other} - {maker} <= pipeline.before({maker})
        }
        return sorted(path for path in read if makers[path] not in last)

    @cached_property
    def comparable(self) -> bool:
        """Whether there are two results of the same test set."""
        return self.base.has_results and not self.other_data

    @cached_property
    def predictions(self) -> Predictions | UserError | None:
        """What differs example by example, why it cannot be told, or None if there is nothing to compare."""
        if not (self.comparable and self.examples.wrong and self.examples.counts):
            return None
        try:
            return compare_predictions(self.base, self.head, self.examples.wrong, self.examples.counts)
        except UserError as error:
            return error

    @cached_property
    def accuracy(self) -> tuple[str, str] | None:
        """File and name of the metric that is the accuracy, if it is known which examples are wrong."""
        return self.policy.accuracy if self.examples.wrong else None

    @cached_property
    def measured(self) -> list[Measurement]:
        """The measured noise of the rules.

        Raises:
            UserError: If it is malformed.
        """
        return read_noise(self.rules, self.accuracy)

    @cached_property
    def seeds(self) -> Seeds:
        """The measurements that fit the base and the head."""
        return self.seeds_of(self.base, self.head)

    def seeds_of(self, old: Revision, new: Revision) -> Seeds:
        """The measurements that fit two revisions."""
        return Seeds(self._measurement(old), self._measurement(new))

    def _measurement(self, revision: Revision) -> Measurement | None:
        data, params = self.policy.data, revision.params.get(PARAMS_FILE)
        if data is None or not isinstance(params, dict):
            return None
        return find_measurement(self.measured, revision.data_hashes([data])[data], params)


@contextmanager
def open_change(root: Path, base: str, head: str | None, reproduced: str = "not-tried") -> Iterator[Change]:
    """Open what is compared.

    A branch is compared with the commit where it left its base. If the head is an ancestor of the base, it has no
    change of its own, and the base is used as it is. So it is if each has merged the other: a branch could choose which
    of several merge bases git names first.

    Args:
        root: Folder of the project.
        base: Name of a revision.
        head: Name of a revision, or None for the working tree.
        reproduced: As in `Change`.

    Raises:
        UserError: If either is not a revision, or cannot be read within the limits.
    """
    if "" in (base, head):
        raise UserError("expected the name of a revision, got an empty string; try `python -m src.report main`")
    with ExitStack() as stack:
        rules = stack.enter_context(open_revision(root, base))
        new = stack.enter_context(open_revision(root, head))
        head_commit = new.commit or find_commit(root, "HEAD")
        begins = merge_bases(root, rules.commit or "", head_commit)
        lineage, old = Lineage(base, len(begins), 0), rules
        if len(begins) == 1 and begins[0] not in (rules.commit, new.commit):
            begin = stack.enter_context(open_revision(root, begins[0], base))
            # A branch cannot escape judgement by starting from a commit without results.
            if begin.has_results or not rules.has_results:
                old = begin
                count = int(run_git(root, "rev-list", "--count", f"{begins[0]}..{rules.commit}"))
                lineage = Lineage(base, 1, count)
        yield Change(old, new, rules, lineage, root, reproduced)
