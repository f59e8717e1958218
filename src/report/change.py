"""A change: the revisions to compare, the rules that judge them, and values derived from both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE
from src.noise.measurement import Measurement, SeedNoise, find_measurement, read_noise, seed_noise
from src.report.policy import POLICY, Policy, read_policy
from src.report.predictions import Predictions, compare_predictions
from src.revision.git import find_commit, merge_bases
from src.revision.revision import Revision, open_revision

CODE = (".py", ".sh", ".ipynb", ".R", ".jl")


@dataclass(frozen=True)
class Change:
    """Two revisions, and the rules that judge the second.

    Attributes:
        base: The revision to compare with: the commit that the branch started from.
        head: The change.
        rules: The tip of the base, whose policy and measured noise apply. A change cannot loosen its own rules.
        merge_bases: Number of commits that the branch started from.
        root: Folder of the project.
        reproduced: Whether running the head's pipeline again gave its results: a key of `checks.REPRODUCED`.
    """

    base: Revision
    head: Revision
    rules: Revision
    merge_bases: int
    root: Path
    reproduced: str = "not-tried"

    @cached_property
    def policy(self) -> Policy:
        """The policy of the rules, or of the head if the rules have none.

        Raises:
            UserError: If it is malformed, or there is none.
        """
        return read_policy(self.rules if self.has_own_policy else self.head)

    @cached_property
    def has_own_policy(self) -> bool:
        """Whether the base has a policy."""
        return bool(self.rules.tree.files(POLICY))

    @cached_property
    def edited(self) -> list[str]:
        """Paths of all files that differ between the revisions."""
        old, new = self.base.tree.entries, self.head.tree.entries
        return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))

    @cached_property
    def scoring(self) -> dict[str, str | None]:
        """The stage that writes each file with a required metric, as defined by the base, or else by the head."""
        files = dict.fromkeys(file for file, _ in self.policy.required)
        return {file: self.base.pipeline.producer(file) or self.head.pipeline.producer(file) for file in files}

    @cached_property
    def data(self) -> list[str]:
        """Paths of the data: the policy's, or else the inputs of the scoring stages other than code and model.

        The model is the output of the stage that is downstream of the stages that produce all other inputs. If that
        stage produces several inputs, the model cannot be identified, and all of them count as data. A single input
        besides code counts as data, too.
        """
        if self.policy.data is not None:
            return [self.policy.data]
        revision = self.base if self.base.pipeline.stages else self.head
        pipeline = revision.pipeline
        scoring = [pipeline.stages[stage] for stage in self.scoring.values() if stage in pipeline.stages]
        made_by = {path: pipeline.producer(path) for stage in scoring for path in stage.deps}
        # Inputs that no stage produces are code if they are in git.
        read = {path for path, maker in made_by.items() if maker or not revision.tree.files(path)}
        makers = {maker for maker in made_by.values() if maker}
        last = {maker for maker in makers if makers - {maker} <= pipeline.before({maker})}
        models = {path for path in read if made_by[path] in last}
        # If there is no other data, not even in git, the supposed model may be the data.
        others = [revision.tree.files(path) for path in made_by.keys() - read]
        is_model = len(models) == 1 and (read > models or any(not any(f.endswith(CODE) for f in one) for one in others))
        return sorted(read - models if is_model else read)

    @cached_property
    def other_data(self) -> list[str]:
        """Data that differs between the revisions."""
        old, new = self.base.data_hashes(self.data), self.head.data_hashes(self.data)
        return [path for path in self.data if old[path] != new[path]]

    @cached_property
    def comparable(self) -> bool:
        """Whether both revisions have results, scored on the same test set."""
        return self.base.has_results and not self.other_data

    @cached_property
    def comparison(self) -> Predictions | UserError | None:
        """Differences from the base by example, or the error; None if the policy or the data rule them out."""
        try:
            return compare_predictions(self.base, self.head, self.policy.examples) if self.comparable else None
        except UserError as error:
            return error

    @property
    def predictions(self) -> Predictions | None:
        """Differences from the base by example; None if they are unknown, which a check explains."""
        return self.comparison if isinstance(self.comparison, Predictions) else None

    @cached_property
    def measured(self) -> list[Measurement]:
        """The measured noise of the rules.

        Raises:
            UserError: If it is malformed.
        """
        return read_noise(self.rules)

    def noise(self, old: Revision, file: str, name: str) -> SeedNoise | None:
        """How much seeds alone change a metric between an older revision and the head; None if unknown."""
        return seed_noise(self._measurement(old), self._measurement(self.head), file, name)

    def _measurement(self, revision: Revision) -> Measurement | None:
        data, params = self.policy.data, revision.params.get(PARAMS_FILE)
        if data is None or not isinstance(params, dict):
            return None
        return find_measurement(self.measured, revision.data_hashes([data])[data], params)


@contextmanager
def open_change(root: Path, base: str, head: str | None, reproduced: str = "not-tried") -> Iterator[Change]:
    """Open the revisions to compare.

    A branch is compared with the commit where it left its base. If the head is an ancestor of the base, it has no
    change of its own, and the base itself is used. The same applies if each has merged the other, because a branch
    could choose which of several merge bases git lists first.

    Args:
        root: Folder of the project.
        base: Name of a revision.
        head: Name of a revision, or None for the working tree.
        reproduced: See `Change`.

    Raises:
        UserError: If a revision does not exist, or cannot be read within the limits.
    """
    with ExitStack() as stack:
        rules = stack.enter_context(open_revision(root, base))
        new = stack.enter_context(open_revision(root, head))
        begun = merge_bases(root, rules.commit or "", new.commit or find_commit(root, "HEAD"))
        old = rules
        if len(begun) == 1 and begun[0] not in (rules.commit, new.commit):
            begin = stack.enter_context(open_revision(root, begun[0], base))
            # A branch cannot escape judgement by starting from a commit without results.
            if begin.has_results or not rules.has_results:
                old = begin
        yield Change(old, new, rules, len(begun), root, reproduced)
