"""The report as Markdown: a comment that fits a screen, with details to open. Empty sections do not exist."""

from collections.abc import Callable, Sequence

from src.core.errors import UserError
from src.core.interval import wilson_interval
from src.noise.significance import SIGNIFICANCE
from src.report.change import Change
from src.report.charts import Curve, finite_points, mermaid
from src.report.finding import Finding, Level, Text, code, joined, number, plain_html
from src.report.metrics import MISSING, Reading, Row
from src.report.predictions import Predictions
from src.report.tables import Mistake, read_curves
from src.revision.parsing import flatten
from src.revision.revision import Revision

MAX_LENGTH = 60_000  # characters; GitHub accepts 65,536, and the workflow that posts the report adds a line
MAX_REASONS = 12
MAX_ROWS = 40
MAX_PAIRS = 8
MAX_INDICES = 60
ICONS = {Level.NOTE: "✅", Level.UNSURE: "❓", Level.FAIL: "❌"}
TRIED = {
    "yes": "reproduced: the same bytes",
    "as-good": "made again: not the same bytes, but as good",
    "no": "not reproduced",
    "not-tried": "not reproduced: nobody ran it again",
}
# Shown elsewhere in the comment.
SHOWN_CHECKS = ("reproduced", "stages", "metrics")


def write_comment(change: Change, findings: Sequence[Finding], rows: Sequence[Row], page_url: str = "") -> str:
    """The whole comment, at most MAX_LENGTH characters.

    Args:
        change: What was compared.
        findings: What the checks found, the highest level first.
        rows: All metrics; none if they could not be judged, which a check reports.
        page_url: Address of the page with pictures, if there is one.
    """
    first = [
        f"## {title(change, findings, rows).markdown}",
        compared(change, page_url).markdown,
        _try(lambda: _metrics_table([row for row in rows if is_news(row)])),
        _reasons(findings),
        _try(lambda: _noise_line(change, rows)),
        _try(lambda: changed(change, findings).markdown),
        _notes(findings),
    ]
    details = [
        _try(lambda: _confusions(change)),
        _try(lambda: _curves(change)),
        _try(lambda: _other_metrics(rows)),
    ]
    if not any(row.differs for row in rows):
        first[2], details = "", []
    return _fitted([part for part in first if part], [part for part in details if part])


def write_refusal(error: BaseException) -> str:
    """A comment that only explains why there is no verdict."""
    return f"## {ICONS[Level.UNSURE]} Metrics: could not tell\n\n{code(error)}\n"


def title(change: Change, findings: Sequence[Finding], rows: Sequence[Row]) -> Text:
    """The verdict, and what happened to the first metric of the policy."""
    level = max((finding.level for finding in findings), default=Level.NOTE)
    verdict = f"{ICONS[level]} Metrics: {level.outcome}"
    row = next((row for row in rows if row.required), None)
    if row is None or row.new.number is None:
        return Text(verdict)
    old, new = row.old.number, row.new.number
    if (row.file, row.name) == change.policy.accuracy:
        words = f"accuracy {new:.2%}" if old is None else f"accuracy {old:.2%} → **{new:.2%}**"
        by = f"{100 * (new - (old or 0.0)):+.2f} points".replace("-", "−")
        name = Text("accuracy {}, unchanged", Text(f"{new:.2%}")) if old == new else Text("{}", Text(words))
    else:
        by = _signed(new - (old or 0.0))
        words = number(new) if old is None else f"{number(old)} → **{number(new)}**"
        name = Text("{} {}, unchanged", row.label, new) if old == new else Text("{} {}", row.label, Text(words))
    return Text(f"{verdict} · {{}}" + ("" if old is None or old == new else f" ({by})"), name)


def compared(change: Change, page_url: str = "") -> Text:
    """What was compared with what, and whether anybody ran it again."""
    head = Text("{}", change.head.commit[:7]) if change.head.commit else Text("the working tree")
    commit = (change.base.commit or "")[:7]
    hides_nothing = change.base.name == "HEAD" or (change.base.commit or "").startswith(change.base.name)
    base = Text("{}", commit) if hides_nothing else Text("{} ({})", change.base.name, commit)
    page = [Text(f"[page with pictures]({page_url})")] if page_url else []
    return joined([Text("{} against {}", head, base), *page, Text(TRIED[change.reproduced])], " · ")


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(value)


def is_news(row: Row) -> bool:
    """Whether a metric belongs into the first table: it is required, or lost more than its rule tolerates."""
    return row.required or row.level > Level.NOTE or row.why is not None


def mark(row: Row) -> str:
    """How a metric stands against the policy."""
    if row.rule is None:
        return ""
    if not row.required:
        return "⚠️" if row.why else ""
    return "⚠️" if row.why and row.level is Level.NOTE else ICONS[row.level]


def cells(row: Row) -> list[Text]:
    """Name, base, head, change and what it may lose."""
    old, new, delta = _reading(row.old), _reading(row.new), Text("")
    if row.change is not None:
        delta = Text(_signed(row.change))
        if row.change and old == new:
            old, new = (Text(f"{reading.number:.8g}") for reading in (row.old, row.new))
    may_lose = (
        ""
        if row.rule is None
        else row.rule.tolerated
        if isinstance(row.rule.tolerated, str)
        else f"{row.rule.tolerated:g}"
    )
    return [Text("**{}**" if row.required else "{}", row.label), old, new, delta, Text("{}", Text(may_lose))]


def changed(change: Change, findings: Sequence[Finding]) -> Text:
    """Params, code, stages, and whether the lock holds."""
    parts = [_params_changed(change), _code_changed(change)]
    edits = [finding.text for finding in findings if finding.check == "stages" and finding.level is Level.NOTE]
    stages = edits or [Text("no stage" if not _found(findings, "stages") else "stages, see above")]
    holds = not _found(findings, "lock", "outputs", "receipts") and bool(change.head.pipeline.code)
    lock = "dvc.lock and receipts hold" if change.head.receipts else "dvc.lock holds"
    parts += [*stages, *([Text(lock)] if holds else [])]
    return Text("**Changed:** {}", joined(parts, " · "))


def curves_of(change: Change) -> dict[str, list[Curve]]:
    """The learning curves of both revisions by name: each NAME of the policy that has a val_NAME, too."""
    if change.curves is None:
        return {}
    columns = change.curves.columns
    found: dict[str, list[Curve]] = {}
    for label, revision in ("base", change.base), ("head", change.head):
        try:
            rows = read_curves(revision, change.curves.file, columns)
        except UserError:
            continue  # of the head, the check of curves reports it
        for name in (name for name in columns if f"val_{name}" in columns):
            found.setdefault(name, []).extend(
                Curve(label, part, finite_points(rows, column))
                for part, column in (("train", name), ("validation", f"val_{name}"))
            )
    return found


def _try(part: Callable[[], str]) -> str:
    """A part of the comment; what cannot be read is left out, since a check reports it."""
    try:
        return part()
    except UserError:
        return ""


def _found(findings: Sequence[Finding], *checks: str) -> bool:
    return any(finding.check in checks and finding.level > Level.NOTE for finding in findings)


def _reading(reading: Reading) -> Text:
    return Text(number(reading.number)) if reading.number is not None else reading.problem or MISSING


def _metrics_table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = ["| metric | base | head | change | may lose | |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for row in rows[:MAX_ROWS]:
        lines.append(f"| {' | '.join([*(cell.markdown for cell in cells(row)), mark(row)])} |")
    more = f"\n\nand {len(rows) - MAX_ROWS:,} more" if len(rows) > MAX_ROWS else ""
    return "\n".join(lines) + more


def _reasons(findings: Sequence[Finding]) -> str:
    reasons = [finding for finding in findings if finding.level > Level.NOTE]
    if len(reasons) == 1:
        return f"**Why:** {reasons[0].text.markdown}"
    lines = [f"- {ICONS[finding.level]} {finding.text.markdown}" for finding in reasons[:MAX_REASONS]]
    more = [f"- and {len(reasons) - MAX_REASONS} more"] if len(reasons) > MAX_REASONS else []
    return "\n".join(["**Why:**", "", *lines, *more]) if reasons else ""


def _notes(findings: Sequence[Finding]) -> str:
    notes = [f.text for f in findings if f.level is Level.NOTE and f.check not in SHOWN_CHECKS][:MAX_REASONS]
    return f"**Note:** {joined(notes, ' · ').markdown}" if notes else ""


def _noise_line(change: Change, rows: Sequence[Row]) -> str:
    predictions = change.predictions
    moved = [row for row in rows if row.required and row.change]
    if not isinstance(predictions, Predictions) or not (predictions.lost or predictions.won or moved):
        return ""
    answer = "Perhaps" if predictions.p_value >= SIGNIFICANCE else "No"
    (low, high), (old_low, old_high) = (
        wilson_interval(predictions.examples - errors, predictions.examples)
        for errors in (predictions.new_errors, predictions.old_errors)
    )
    words = (
        f"{len(predictions.lost):,} examples lost, {len(predictions.won):,} won "
        f"(McNemar p = {predictions.p_value:.1g}); {low:.2%} to {high:.2%}, was {old_low:.2%} to {old_high:.2%}."
    )
    return f"**Noise?** {answer}: {words} {_seeds(change, moved).markdown}"


def _seeds(change: Change, moved: Sequence[Row]) -> Text:
    measured = [(row, noise) for row in moved if (noise := change.seeds.noise(row.file, row.name))]
    if not measured:
        known = change.seeds.old and change.seeds.new
        return Text("" if known else "Another seed: not measured for this recipe (`make seeds N=5`).")
    row, noise = measured[0]
    p_value = noise.p_value(row.change or 0.0)
    words = "as much" if p_value >= SIGNIFICANCE else "less"
    numbers = f"95% of pairs of seeds differ by less than {noise.limit:.2g}, {noise.seeds} seeds, p = {p_value:.2g}"
    return Text(f"Another seed changes {words} ({{}}: {numbers}).", row.label)


def _params_changed(change: Change) -> Text:
    old, new = ({file: flatten(content) for file, content in one.params.items()} for one in (change.base, change.head))
    names = dict.fromkeys((file, name) for params in (old, new) for file in params for name in params[file])
    shown = []
    for file, name in names:
        values = [params.get(file, {}).get(name, "(none)") for params in (old, new)]
        if repr(values[0]) != repr(values[1]):  # 1, True and 1.0 are different texts
            shown.append(Text("{} {} → {}", name if file == "params.yaml" else f"{file}:{name}", *map(str, values)))
    more = [Text(f"{len(shown) - MAX_PAIRS} more params")] if len(shown) > MAX_PAIRS else []
    return joined([*shown[:MAX_PAIRS], *more], ", ") if shown else Text("no param")


def _code_changed(change: Change) -> Text:
    old, new = (_code_hashes(revision) for revision in (change.base, change.head))
    paths = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    return Text("code in {}", paths) if paths else Text("no code")


def _code_hashes(revision: Revision) -> dict[str, str]:
    return {path: oid for paths in revision.pipeline.code.values() for path, oid in paths.items()}


def _confusions(change: Change) -> str:
    predictions = change.predictions
    if not isinstance(predictions, Predictions) or not (predictions.lost or predictions.won):
        return ""
    pairs = list(predictions.confusions.items())
    names = [f"{plain_html(actual)}→{plain_html(predicted)} ({n:+d})" for (actual, predicted), n in pairs[:3]]
    lines = ["| actual | predicted | change |", "| --- | --- | ---: |"]
    lines += [f"| {code(actual)} | {code(predicted)} | {n:+d} |" for (actual, predicted), n in pairs[:MAX_PAIRS]]
    more = [f"and {len(pairs) - MAX_PAIRS} more"] if len(pairs) > MAX_PAIRS else []
    body = [
        *(["\n".join(lines)] if pairs else []),
        *more,
        "<!-- picture: confusions -->",
        *_mistakes("lost", predictions.lost),
        *_mistakes("won", predictions.won),
    ]
    return _details(f"Confusions: {', '.join(names) or 'as many as before'}", body)


def _mistakes(what: str, mistakes: Sequence[Mistake]) -> list[str]:
    if not mistakes:
        return []
    shown = [f"{m.index} ({code(m.actual)}→{code(m.predicted)})" for m in mistakes[:MAX_INDICES]]
    more = f" and {len(mistakes) - MAX_INDICES} more" if len(mistakes) > MAX_INDICES else ""
    return [
        f"**{len(mistakes)} {what}** (index in the test set, actual→predicted): {', '.join(shown)}{more}",
        f"<!-- picture: {what} -->",
    ]


def _curves(change: Change) -> str:
    if change.base.tree.entries.get(change.curves.file if change.curves else "") == change.head.tree.entries.get(
        change.curves.file if change.curves else ""
    ):
        return ""
    charts = []
    for name, curves in curves_of(change).items():
        lines = [curve for curve in curves if curve.part == "validation" and curve.points]
        legend = ", ".join(f"{curve.revision} {'grey' if curve.revision == 'base' else 'orange'}" for curve in lines)
        if lines and name.isidentifier():
            charts.append(f"```mermaid\n{mermaid(f'validation {name} ({legend})', lines)}\n```")
    return _details("Learning curves", ["<!-- picture: curves -->", *charts]) if charts else ""


def _other_metrics(rows: Sequence[Row]) -> str:
    rest = sorted((row for row in rows if not is_news(row)), key=lambda row: not row.differs)
    return _details(f"{len(rest)} other metrics", [_metrics_table(rest)]) if rest else ""


def _details(summary: str, parts: Sequence[str]) -> str:
    body = "\n\n".join(parts)
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _fitted(first: list[str], details: list[str]) -> str:
    """The parts as one text; the longest details give way first, the verdict never."""
    while details and sum(map(len, [*first, *details])) + 100 > MAX_LENGTH:
        longest = max(range(len(details)), key=lambda place: len(details[place]))
        if len(details[longest]) < 200:
            break
        details[longest] = _details("Details that are too long for a comment", ["The page has them."])
    return ("\n\n".join([*first, *details]) + "\n")[:MAX_LENGTH]
