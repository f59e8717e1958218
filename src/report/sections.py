"""The sections of the report, in the order of a reviewer's questions."""

from dataclasses import replace

from src.core.errors import UserError
from src.noise.measurement import ACCURACY, NOISE, Measurement, SeedNoise
from src.noise.significance import SIGNIFICANCE
from src.report.behaviour import Behaviour
from src.report.document import (
    Better,
    Block,
    Bullets,
    ConfusionMap,
    Curve,
    Curves,
    Data,
    Digits,
    F1Bars,
    Fold,
    Message,
    Paragraph,
    Section,
    Sentence,
    Strong,
    Table,
    Worse,
    cut,
    listed,
)
from src.report.evidence import Seeds
from src.report.metrics import Reading, Row, Standing
from src.report.revision import Revision
from src.report.tables import MAX_VALUE, read_history
from src.report.verdict import Outcome, Verdict
from src.revision.stale import Mismatch

MAX_NEWS = 8  # rows of the first table, which shares the first screen with the verdict
MAX_ROWS = 40
MAX_REASONS = 12
MAX_PAIRS = 8
FEW_EPOCHS = 6
HEADINGS = {Outcome.PASS: "✅ Pass", Outcome.FAIL: "❌ Fail", Outcome.UNKNOWN: "❓ Could not tell"}
GATING = {
    Standing.HOLDS: "✅ holds",
    Standing.EXPLAINED: "⚠️ explained",
    Standing.BROKEN: "❌ broken",
    Standing.UNKNOWN: "❓ could not tell",
}
INFORMING = {Standing.HOLDS: "holds", Standing.BROKEN: "⚠️ broken, but only informs", Standing.NO_RULE: "informs"}
MEASURES = {"Loss": "loss", "Accuracy": "acc", "F1 (macro)": "f1"}


def verdict_section(verdict: Verdict, base: Sentence, head: Sentence) -> Section:
    """1. The verdict in one line, with its reasons."""
    compared: Sentence = [*head, " (head) against ", *base, " (base)"]
    blocks: list[Block] = [cut(verdict.reasons, MAX_REASONS), Paragraph(compared)]
    return Section(HEADINGS[verdict.outcome], blocks, verdict.outcome.name.lower())


def metrics_section(rows: list[Row], remark: Sentence) -> Section:
    """2. Every metric: old, new, change, and whether the policy holds; those that gate or changed come first."""
    news = [row for row in rows if row.gates or row.change != 0][:MAX_NEWS]
    rest = [row for row in rows if row not in news]
    changed = sum(row.change != 0 for row in rest)
    others = f"{changed} more that changed and " if changed else ""
    summary = f"{others}{len(rest) - changed} that did not change"
    blocks: list[Block] = [_metrics_table(news)]
    blocks += [Fold(summary, _metrics_table(rest))] if rest else []
    blocks += [Paragraph(remark)] if remark else []
    return Section("Metrics", blocks)


def noise_section(behaviour: Behaviour, rows: list[Row], seeds: Seeds) -> Section:
    """3. Whether the difference is more than chance or another seed explains."""
    fixed, broken = len(behaviour.fixed), len(behaviour.broken)
    if behaviour.p_value >= SIGNIFICANCE:
        words = "The change is within what chance gives on this test set"
    else:
        direction = "better" if fixed > broken else "worse"
        words = f"The change is for the {direction}, and more than chance gives on this test set"
    count = f": {fixed} digits fixed, {broken} broken, exact McNemar p = {behaviour.p_value:.2g}."
    accuracy = [
        [[revision], [f"{errors}"], [f"{1 - errors / behaviour.images:.2%}"], [f"{low:.2%} to {high:.2%}"]]
        for revision, errors, (low, high) in (
            ("base", behaviour.old_errors, behaviour.old_interval),
            ("head", behaviour.new_errors, behaviour.new_interval),
        )
    ]
    header = ["", f"errors of {behaviour.images:,}", "accuracy", "95% interval"]
    return Section(
        "Is it more than noise?",
        [Paragraph([Strong(words), count]), Table(header, accuracy, frozenset({1, 2, 3})), *_seed_blocks(rows, seeds)],
    )


def _seed_blocks(rows: list[Row], seeds: Seeds) -> list[Block]:
    """Sentences on the effect of another seed, or on how to measure it."""
    recipes = {"base": seeds.old, "head": seeds.new}
    if unknown := [label for label, measurement in recipes.items() if measurement is None]:
        words = [
            Strong("The effect of another seed is not known"),
            f" for data and recipe of {' and '.join(unknown)}: {NOISE} of the base has no measurement of them. "
            "`make seeds N=5` trains the recipe of params.yaml with five seeds and adds it.",
        ]
        return [Paragraph(words)]
    sentences = [
        _seed_sentence(row, row.change, noise)
        for row in rows
        if row.gates and row.change is not None and (noise := seeds.noise(row.file, row.name))
    ]
    same = seeds.old == seeds.new
    splits = [
        _split_sentence("this recipe" if same else f"the {label}'s recipe", measurement)
        for label, measurement in recipes.items()
        if measurement and not (same and label == "base")
    ]
    return [cut([*sentences, *splits], MAX_PAIRS)]


def behaviour_section(behaviour: Behaviour, base: Revision, head: Revision) -> Section:
    """4. Which classes are confused, and which digits were broken and fixed."""
    classes = [
        [[f"{label}"], [f"{old:.4f}"], [f"{new:.4f}"], _with_direction(new - old, ".4f", loss=old - new)]
        for label, (old, new) in behaviour.f1.items()
    ]
    return Section(
        "What changed in behaviour",
        [
            _pairs_table(behaviour),
            ConfusionMap(behaviour.confusion),
            F1Bars(behaviour.f1),
            Fold(
                "F1 by class",
                Table(
                    ["class", "F1 base", "F1 head", "change"],
                    classes[:MAX_ROWS],
                    frozenset({1, 2, 3}),
                    len(classes[MAX_ROWS:]),
                ),
            ),
            Digits("broken", behaviour.broken, head.tiles),
            Digits("fixed", behaviour.fixed, base.tiles),
        ],
    )


def unknown_section(title: str, error: UserError) -> Section:
    """Replaces a section that could not be made."""
    return Section(title, [Paragraph(["Could not be compared: ", Message(error)])])


def curves_section(base: Revision, head: Revision) -> Section:
    """5. The learning curves of both revisions, if there are any."""
    blocks: list[Block] = []
    curves: dict[str, list[Curve]] = {title: [] for title in MEASURES}
    for label, revision in ("base", base), ("head", head):
        try:
            for title, measure in MEASURES.items():
                curves[title] += _curves(label, revision, measure)
        except UserError as error:
            blocks.append(Paragraph([f"No curve of {label}: ", Message(error)]))
    blocks += [Curves(title, lines) for title, lines in curves.items() if lines]
    blocks += [
        Curves(f"{title}, last epochs", last, last=True) for title, lines in curves.items() if (last := _last(lines))
    ]
    return Section("Learning curves", blocks)


def changes_section(base: Revision, head: Revision) -> Section:
    """6. Params that changed, and stages whose code changed."""
    names = dict.fromkeys(
        (file, name) for params in (base.params, head.params) for file in params for name in params[file]
    )
    changed = [
        [[Data(name if file == "params.yaml" else f"{file}:{name}")], *map(_value, values)]
        for file, name in names
        if _differ(*(values := [revision.params.get(file, {}).get(name, "(none)") for revision in (base, head)]))
    ]
    blocks: list[Block] = [
        Table(["param", "base", "head"], changed[:MAX_ROWS], frozenset({1, 2}), len(changed[MAX_ROWS:]))
        if changed
        else Paragraph(["No param changed."])
    ]
    code = _code_changes(base, head)
    blocks.append(cut(code, MAX_REASONS) if code else Paragraph(["No stage's code changed."]))
    return Section("Params and code", blocks)


def stale_section(base: Revision, head: Revision) -> Section:
    """7. Whether the results belong to the declared code, params and data."""
    findings = [*head.stale, *head.edited]
    blocks: list[Block] = [
        cut([_finding(finding) for finding in findings], MAX_ROWS)
        if findings
        else Paragraph(
            ["No: dvc.lock matches code, params and data at head, and every metric and plot matches dvc.lock."]
        )
    ]
    if base.stale or base.edited:
        stages = Bullets([_finding(finding) for finding in [*base.stale, *base.edited]][:MAX_PAIRS])
        blocks += [
            Paragraph([Strong("The base itself is out of date"), ", so its values may not be its code's:"]),
            stages,
        ]
    return Section("Is it stale?", blocks)


def _pairs_table(behaviour: Behaviour) -> Block:
    pairs = [
        [[f"{actual} mistaken for {predicted}"], [f"{change:+d}"]]
        for (actual, predicted), change in behaviour.confusion.items()
    ]
    if not pairs:
        return Paragraph(["No confusion became more or less frequent."])
    return Table(["confusion", "change"], pairs[:MAX_PAIRS], frozenset({1}), len(pairs[MAX_PAIRS:]))


def _metrics_table(rows: list[Row]) -> Table:
    shown = [
        [[Data(row.label)], _reading(row.old), _reading(row.new), _change(row), [_standing(row)]]
        for row in rows[:MAX_ROWS]
    ]
    return Table(["metric", "base", "head", "change", "policy"], shown, frozenset({1, 2, 3}), len(rows) - len(shown))


def _reading(reading: Reading) -> Sentence:
    if reading.number is not None:
        return [f"{reading.number:.6g}"]
    return [f"{reading.problem}: ", Data(reading.found)] if reading.found else [reading.problem]


def _standing(row: Row) -> str:
    words = GATING[row.standing] if row.gates else INFORMING.get(row.standing, "⚠️ could not tell, but only informs")
    return f"{words}: {row.why}" if row.why else words


def _change(row: Row) -> Sentence:
    if row.change is None or row.old.number is None or row.new.number is None:
        return [""]
    loss = row.rule.loss(row.old.number, row.new.number) if row.rule else 0.0
    return _with_direction(row.change, ".4g", loss)


def _with_direction(change: float, digits: str, loss: float) -> Sentence:
    """A change, and whether it is for the better; without a rule, `loss` is 0 and the change is neither."""
    if change == 0:
        return ["0"]
    number = f"{change:+{digits}}"
    if loss == 0:
        return [number]
    return [number, " ", Worse("▼ worse") if loss > 0 else Better("▲ better")]


def _seed_sentence(row: Row, change: float, noise: SeedNoise) -> Sentence:
    """A change, compared with the difference between two trainings with different seeds."""
    p_value = noise.p_value(change)
    return [
        Data(row.label),
        f" changed by {abs(change):.4g}, ",
        Strong("within" if p_value >= SIGNIFICANCE else "more than"),
        f" what another seed gives: of two trainings that differ in the seed alone, 95% differ by less than "
        f"{noise.limit:.2g} (Student's t over {noise.seeds} seeds; p = {p_value:.2g})",
    ]


def _split_sentence(recipe: str, measurement: Measurement) -> Sentence:
    """How much of the seeds' spread is luck with the test set."""
    std = measurement.metrics[ACCURACY[0]][ACCURACY[1]].std
    real = measurement.real_std
    others = f"about {real:.3%}" if real else "an amount indistinguishable from zero"
    return [
        f"the accuracy of {recipe} has a standard deviation of {std:.3%} between seeds; luck with these "
        f"{sum(measurement.wrong_in):,} test images alone would make {measurement.luck_std:.3%}. On unlimited new "
        f"images the seeds would differ by {others}, a rough estimate from {len(measurement.seeds)} seeds"
    ]


def _curves(label: str, revision: Revision, measure: str) -> list[Curve]:
    """Train and validation; a value that is not a number, or is absurdly large, leaves a gap."""
    columns = {"train": measure, "validation": f"val_{measure}"}
    rows = read_history(revision, tuple(columns.values()))
    return [
        Curve(label, part, [(row["epoch"], row[column]) for row in rows if abs(row[column]) < MAX_VALUE])
        for part, column in columns.items()
    ]


def _last(curves: list[Curve]) -> list[Curve]:
    """The last half of the epochs, or nothing if there are few."""
    end = max((curve.points[-1][0] for curve in curves if curve.points), default=0.0)
    if end < FEW_EPOCHS:
        return []
    return [replace(curve, points=[point for point in curve.points if point[0] > end / 2]) for curve in curves]


def _value(value: object) -> Sentence:
    return [Data(str(value))]


def _differ(old: object, new: object) -> bool:
    """Whether two values differ, even only in type: 1, True and 1.0 are different texts in params.yaml."""
    return repr(old) != repr(new)


def _code_changes(base: Revision, head: Revision) -> list[Sentence]:
    changes: list[Sentence] = []
    for stage in dict.fromkeys([*base.code, *head.code]):
        old, new = base.code.get(stage), head.code.get(stage)
        if old is None or new is None:
            changes.append([Data(stage), " is new" if old is None else " was removed"])
        elif paths := sorted(path for path in {*old, *new} if old.get(path) != new.get(path)):
            changes.append([Data(stage), ": ", *listed(paths)])
    return changes


def _finding(finding: Mismatch) -> Sentence:
    return [Data(finding.stage), ": ", Data(finding.subject), f" {finding.problem}"]
