"""The report as Markdown: a comment that fits a screen, with collapsed details. Empty sections are omitted."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from src.core.errors import UserError
from src.core.interval import wilson_interval
from src.core.receipt import PARAMS_FILE
from src.core.values import same
from src.noise.significance import SIGNIFICANCE
from src.report.change import Change
from src.report.checks import REPRODUCED
from src.report.finding import Finding, Level, Text, code, highest, html_code, number
from src.report.metrics import Row
from src.report.policy import Curves
from src.report.tables import Mistake, Pair, read_curves
from src.revision.pipeline import enclosing
from src.revision.revision import Revision

Item = TypeVar("Item")
MAX_LENGTH = 60_000  # Characters. GitHub accepts 65,536, and the workflow that posts the report adds a line.
MAX_REASONS = 12
MAX_ROWS = 40
MAX_PAIRS = 8
MAX_INDICES = 60
BLOCKS = "▁▂▃▄▅▆▇█"
MAX_VALUE = 1e9  # Larger values are not drawn.
MAX_EPOCHS = 30  # Per curve.


def write_comment(change: Change, findings: Sequence[Finding], rows: Sequence[Row], page_url: str = "") -> str:
    """Write the comment, at most MAX_LENGTH characters.

    Args:
        change: The change.
        findings: Findings of the checks, highest level first.
        rows: All metrics; empty if they could not be judged, which a check reports.
        page_url: Address of the page with pictures, if there is one.
    """
    differs = any(row.old != row.new for row in rows)
    first = [
        f"## {title(change, highest(findings), rows)}",
        compared(change, page_url),
        _metrics_table(first_rows(rows)),
        _reasons(findings),
        _noise_line(change, rows) if rows else "",
        _changed(change, findings),
        _notes(findings),
    ]
    details = [_confusions(change), _curves(change), _other_metrics(rows)] if differs else []
    return _fitted([part for part in first if part], [part for part in details if part])


def title(change: Change, level: Level, rows: Sequence[Row]) -> Text:
    """The verdict, and the change of the policy's first metric."""
    verdict = Text(f"{level.icon} Metrics: {level.outcome}")
    row = next((row for row in rows if row.required), None)
    if row is None or not isinstance(row.new, float):
        return verdict
    is_accuracy = (row.file, row.name) == change.policy.accuracy
    name = Text("accuracy") if is_accuracy else Text("{}", row.label)
    old, new = (
        Text(f"{value:.2%}") if is_accuracy and isinstance(value, float) else Text("{}", value)
        for value in (row.old, row.new)
    )
    if row.change is None:
        return Text("{} · {} {}", verdict, name, new)
    if row.change == 0:
        return Text("{} · {} {}, unchanged", verdict, name, new)
    by = f"{100 * row.change:+.2f} points".replace("-", "−") if is_accuracy else _signed(row.change)
    return Text("{} · {} {} → **{}** ({})", verdict, name, old, new, Text(by))


def compared(change: Change, page_url: str = "") -> Text:
    """The compared revisions, and whether the results were reproduced."""
    head = Text("{}", change.head.commit[:7]) if change.head.commit else Text("the working tree")
    commit = change.base.commit or ""
    hides_nothing = change.base.name == "HEAD" or commit.startswith(change.base.name)
    base = Text("{}", commit[:7]) if hides_nothing else Text("{} ({})", change.base.name, commit[:7])
    page = Text(f"[page with pictures]({page_url}) · " if page_url else "")
    return Text("{} against {} · {}{}", head, base, page, REPRODUCED[change.reproduced].text)


def first_rows(rows: Sequence[Row]) -> list[Row]:
    """Metrics of the first table, if any metric changed: the required ones, and those that lost more than tolerated."""
    return [row for row in rows if _is_news(row)] if any(row.old != row.new for row in rows) else []


def _is_news(row: Row) -> bool:
    return row.required or row.why is not None


def cells(row: Row) -> list[Text]:
    """Name, base, head, change, tolerated loss, and result by the policy."""
    old, new, delta = Text("{}", row.old), Text("{}", row.new), ""
    if row.change is not None:
        delta = _signed(row.change)
        if row.change and old == new:
            old, new = (Text(f"{reading:.8g}") for reading in (row.old, row.new))
    tolerated = row.rule.tolerated if row.rule else ""
    may_lose = tolerated if isinstance(tolerated, str) else f"{tolerated:g}"
    return [Text("**{}**" if row.required else "{}", row.label), old, new, *map(Text, (delta, may_lose, _mark(row)))]


def _mark(row: Row) -> str:
    if row.rule is None or not (row.required or row.why):
        return ""
    # Metrics that only inform, and explained losses, do not decide the verdict.
    return "⚠️" if row.why and (row.level is Level.NOTE or not row.required) else row.level.icon


def _first(most: int, items: Sequence[Item], written: Callable[[Item], str], more: str = "and {:,} more") -> list[str]:
    """Format the first items, and the number of the remaining ones."""
    return [*map(written, items[:most]), *([more.format(len(items) - most)] if len(items) > most else [])]


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def _metrics_table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""

    def written(row: Row) -> str:
        return f"| {' | '.join(cells(row))} |"

    lines = ["| metric | base | head | change | may lose | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    return "\n".join([*lines, *_first(MAX_ROWS, rows, written, "\nand {:,} more")])


def _reasons(findings: Sequence[Finding]) -> str:
    reasons = [finding for finding in findings if finding.level > Level.NOTE]
    if len(reasons) == 1:
        return f"**Why:** {reasons[0].text}"
    lines = _first(MAX_REASONS, reasons, lambda one: f"- {one.level.icon} {one.text}", "- and {:,} more")
    return "\n".join(["**Why:**", "", *lines]) if reasons else ""


def _notes(findings: Sequence[Finding]) -> str:
    # Whether the results were reproduced is in the second line.
    notes = [f.text for f in findings if f.level is Level.NOTE and f.check != "reproduced"][:MAX_REASONS]
    return f"**Note:** {' · '.join(notes)}" if notes else ""


def _noise_line(change: Change, rows: Sequence[Row]) -> str:
    found = change.predictions
    moved = [row for row in rows if row.required and row.change]
    if found is None or not (found.lost or found.won or moved):
        return ""
    answer = "Perhaps" if found.p_value >= SIGNIFICANCE else "No"
    (low, high), (old_low, old_high) = (
        wilson_interval(found.examples - errors, found.examples) for errors in (found.new_errors, found.old_errors)
    )
    words = (
        f"{len(found.lost):,} examples lost, {len(found.won):,} won "
        f"(McNemar p = {found.p_value:.1g}); {low:.2%} to {high:.2%}, was {old_low:.2%} to {old_high:.2%}."
    )
    return f"**Noise?** {answer}: {words} {_seeds(change, moved)}"


def _seeds(change: Change, moved: Sequence[Row]) -> Text:
    for row in moved:
        try:
            noise = change.noise(change.base, row.file, row.name)
        except UserError:
            return Text("")  # A check reports the error.
        if noise:
            p_value = noise.p_value(row.change or 0.0)
            words = "as much" if p_value >= SIGNIFICANCE else "less"
            seeds = f"{noise.limit:.2g}, {noise.seeds} seeds, p = {p_value:.2g}"
            return Text(
                f"Another seed changes {words} ({{}}: 95% of pairs of seeds differ by less than {seeds}).", row.label
            )
    return Text("Another seed: not measured for this recipe." if moved else "")


def _changed(change: Change, findings: Sequence[Finding]) -> str:
    """Changed params, code and stages, and whether the lock is valid."""
    try:
        parts = [_params_changed(change), _code_changed(change)]
    except UserError:
        return ""  # A check reports the error.
    wrong = {finding.check for finding in findings if finding.level > Level.NOTE}
    parts.append("stages, see above" if "stages" in wrong else "no stage")
    if change.head.pipeline.has_run and not wrong & {"lock", "outputs", "receipts"}:
        parts.append("dvc.lock and receipts hold" if change.head.receipts else "dvc.lock holds")
    return f"**Changed:** {' · '.join(parts)}"


def _params_changed(change: Change) -> str:
    old, new = change.base.flat_params, change.head.flat_params
    shown = [
        Text("{} {} → {}", name.removeprefix(f"{PARAMS_FILE}:"), *(str(one.get(name, "(none)")) for one in (old, new)))
        for name in {**old, **new}
        if not same(old.get(name), new.get(name))
    ]
    return Text("{}", shown) if shown else "no param"


def _code_changed(change: Change) -> str:
    code = {path for one in (change.base, change.head) for paths in one.pipeline.sources.values() for path in paths}
    paths = sorted({source for path in change.edited if (source := enclosing(path, code))})
    return Text("code in {}", paths) if paths else "no code"


def _confusions(change: Change) -> str:
    found = change.predictions
    if found is None or not (found.lost or found.won):
        return ""

    def written(pair: Pair) -> str:
        return f"{html_code(pair[0])}→{html_code(pair[1])} ({_signed(found.confusions[pair])})"

    pairs = ", ".join(_first(MAX_PAIRS, list(found.confusions), written)) or "as many as before"
    return _details(f"Confusions: {pairs}", [_mistakes("lost", found.lost), _mistakes("won", found.won)])


def _mistakes(what: str, mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return ""
    shown = _first(MAX_INDICES, mistakes, lambda m: f"{m.index} ({code(m.actual)}→{code(m.predicted)})")
    words = f"**{len(mistakes)} {what}** (index in the test set, actual→predicted): {', '.join(shown)}"
    return f"{words}\n\n<!-- picture: {what} -->"


def _curves(change: Change) -> str:
    drawn = change.policy.curves
    if drawn is None or drawn.file not in change.edited:
        return ""
    histories = [_history(revision, drawn) for revision in (change.base, change.head)]
    lines = ["| | base | last | head | last |", "| --- | --- | ---: | --- | ---: |"]
    for column in drawn.columns:
        last = [number(rows[-1][column]) if rows else "" for rows in histories]
        base, head = zip(sparklines(column, histories), last, strict=True)
        lines.append("| {} | <code>{}</code> | {} | <code>{}</code> | {} |".format(code(column), *base, *head))
    return _details("Learning curves", ["\n".join(lines)])


def _history(revision: Revision, drawn: Curves) -> list[dict[str, float]]:
    try:
        return read_curves(revision, drawn.file, drawn.columns)
    except UserError:
        return []  # The check `curves` reports an error in the head.


def sparklines(column: str, histories: Sequence[Sequence[dict[str, float]]]) -> list[str]:
    """Draw one column of several histories as a block per epoch, on a shared scale; missing values are dots."""
    found = [{row["epoch"]: row[column] for row in rows if abs(row[column]) < MAX_VALUE} for rows in histories]
    epochs = sorted({epoch for values in found for epoch in values})
    epochs = epochs[:: len(epochs) // MAX_EPOCHS + 1][:-1] + epochs[-1:]
    # The scale omits the first epochs, which are often far worse and would flatten the rest.
    scale = [values[epoch] for values in found for epoch in epochs[len(epochs) // 3 :] if epoch in values]
    low, high = min(scale, default=0.0), max(scale, default=0.0)

    def block(value: float | None) -> str:
        if value is None:
            return "·"
        return BLOCKS[round((min(max(value, low), high) - low) / ((high - low) or 1) * (len(BLOCKS) - 1))]

    return ["".join(block(values.get(epoch)) for epoch in epochs).rstrip("·") for values in found]


def _other_metrics(rows: Sequence[Row]) -> str:
    rest = sorted((row for row in rows if not _is_news(row)), key=lambda row: row.old == row.new)
    return _details(f"{len(rest)} other metric{'s' * (len(rest) > 1)}", [_metrics_table(rest)]) if rest else ""


def _details(summary: str, parts: Sequence[str]) -> str:
    body = "\n\n".join(part for part in parts if part)
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _fitted(first: list[str], details: list[str]) -> str:
    """Join the parts; details that are too long are dropped, but never the verdict."""
    if sum(map(len, [*first, *details])) + 100 > MAX_LENGTH:
        details = ["The details are too long for a comment."]
    return ("\n\n".join([*first, *details]) + "\n")[:MAX_LENGTH]
