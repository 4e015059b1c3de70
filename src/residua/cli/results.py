"""An evaluation on the terminal: the errors with their interval, the classes, what is confused."""

from typing import TYPE_CHECKING, Any

from residua.cli.terminal import cell, percent, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from residua.evaluate import Evaluation

CLASSES = 30  # rows of the class table; of more classes the worst are shown
PAIRS = 8
EIGHTHS = " ▏▎▍▌▋▊▉█"


def error_lines(found: "Evaluation") -> "Text":
    """Top-1 with count and interval; top-5 where there are more than five classes."""
    from rich.text import Text

    low, high = found.interval
    lines = Text.assemble(
        ("top-1 error  ", ""), (f"{percent(found.top1_error):>8}", "bold"),
        f"   {found.wrong:,} of {found.n:,} wrong", (f"   95 % interval {percent(low)} to {percent(high)}", "dim"),
    )  # fmt: skip
    if len(found.classes) > 5:
        missed = round(found.top5_error * found.n)
        lines.append(
            f"\ntop-5 error  {percent(found.top5_error):>8}   {missed:,} of {found.n:,} without the truth among five"
        )
    return lines


def mean_lines(found: "Evaluation") -> "Text":
    """Means over the classes with their intervals, and how far confidence and accuracy are apart."""
    from rich.text import Text

    means, spread, trust = found.means, found.intervals, found.calibration
    lines = Text()
    rows = (
        ("macro F1", f"{means.macro.f1:.3f}", "{:.3f} to {:.3f}".format(*spread.macro_f1)),
        ("balanced accuracy", percent(means.balanced_accuracy), _range(spread.balanced_accuracy)),
        ("calibration error", percent(trust.ece), _range(spread.ece)),
    )
    for name, value, interval in rows:
        lines.append(f"{name:<18}{value:>9}").append(f"   95 % interval {interval}\n", "dim")
    if trust.temperature is None:
        lines.append("no temperature: probabilities are the net's own", "dim")
    else:
        lines.append(f"{percent(trust.ece_uncalibrated)} without the temperature {trust.temperature:.3g}", "dim")
    lines.append(f"   log loss {trust.nll:.4f}, Brier {trust.brier:.4f}", "dim")
    return lines


def _range(interval: tuple[float, float]) -> str:
    return f"{percent(interval[0])} to {percent(interval[1])}"


def member_table(members: "Sequence[dict[str, Any]]", found: "Evaluation") -> "Table":
    """The errors of each model of an ensemble beside those of all together."""
    numbers = ("wrong", "top-1 error", "log loss", "temperature")
    shown = table("model", "net", *numbers, "", right=numbers, title="each model alone")
    most = max([m["top1_error"] for m in members] + [found.top1_error]) or 1
    for m in members:
        warm = "–" if m["temperature"] is None else f"{m['temperature']:.3g}"
        shown.add_row(
            cell(m["model"]), cell(m["arch"]), f"{m['wrong']:,}", percent(m["top1_error"]), f"{m['loss']:.4f}", warm,
            cell(bar_of(m["top1_error"] / most, 10), "red"),
        )  # fmt: skip
    shown.add_row(
        cell("together", "bold"), "", f"{found.wrong:,}", cell(percent(found.top1_error), "bold"), f"{found.loss:.4f}",
        "", cell(bar_of(found.top1_error / most, 10), "green"),
    )  # fmt: skip
    return shown


def worst_table(worst: "Sequence[dict[str, Any]]") -> "Table":
    """The pictures with the highest loss, the worst first."""
    numbers = ("probability", "loss")
    shown = table("picture", "truth", "prediction", *numbers, right=numbers, title="highest loss")
    for w in worst:
        right = w["truth"] == w["prediction"]
        shown.add_row(
            cell(w["path"]), cell(w["truth"]), cell(w["prediction"], "" if right else "red"),
            percent(w["probability"], 1), f"{w['loss']:.3f}",
        )  # fmt: skip
    return shown


def class_table(found: "Evaluation") -> "Table":
    """One row a class; of many classes the ones with the highest error."""
    rows, title = list(found.per_class), None
    if len(rows) > CLASSES:
        rows = sorted(rows, key=lambda c: -(c.wrong / c.n if c.n else 0))[:CLASSES]
        title = f"the {CLASSES} classes of {len(found.per_class)} with the highest error"
    numbers = ("pictures", "wrong", "error", "precision", "recall", "F1")
    shown = table("class", *numbers, "", right=numbers, title=title)
    for c in rows:
        share = c.wrong / c.n if c.n else 0.0
        shown.add_row(
            cell(c.name), f"{c.n:,}", f"{c.wrong:,}", percent(share) if c.n else "–",
            f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", cell(bar_of(share, 10), "red"),
        )  # fmt: skip
    return shown


def confused_table(found: "Evaluation") -> "Table | None":
    """The pairs of classes that are mistaken for each other most often; None where nothing is wrong."""
    import numpy as np

    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [(int(i) // len(wrong), int(i) % len(wrong)) for i in order if wrong.flat[i]]
    if not pairs:
        return None
    shown = table(
        "truth", "taken for", "times", "of the class", "", right=("times", "of the class"), title="most confused"
    )
    most = int(wrong.max())
    for i, j in pairs:
        count = int(wrong[i, j])
        share = count / found.per_class[i].n
        names = cell(found.classes[i]), cell(found.classes[j])
        shown.add_row(*names, f"{count:,}", percent(share), cell(bar_of(count / most, 10), "red"))
    return shown


def bar_of(fraction: float, width: int) -> str:
    """A bar of up to `width` characters, in steps of an eighth; anything above nothing is seen."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    if fraction > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
