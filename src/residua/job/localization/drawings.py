"""The pictures of a localizer's test: photos with the answer and the truth, of every kind of error."""

from residua.boxes.found import Found
from residua.job import record
from residua.job.boxes.drawings import BEST, WORST, photo_of
from residua.job.localization.plan import Plan
from residua.localize.counts import KINDS, Places, kinds_of
from residua.training.run import Run


def write(run: Run, plan: Plan, found: Places) -> None:
    """Draw the surest wrong answers, in turn of each kind, and the surest right ones; localized.json says which."""
    split, classes = plan.dataset.splits["test"], plan.dataset.classes
    kinds = kinds_of(split.targets, found)
    surest = sorted(range(len(kinds)), key=lambda i: (-float(found.scores[i, 0]), i))
    by_kind = {kind: [i for i in surest if kinds[i] == kind] for kind in KINDS}
    wrong = [by_kind[kind][n] for n in range(WORST) for kind in KINDS[1:] if n < len(by_kind[kind])]
    told = []
    for n, i in enumerate([*wrong[:WORST], *by_kind["right"][:BEST]]):
        first = Found(found.boxes[i, :1], found.labels[i, :1], found.scores[i, :1])
        photo = photo_of(split, i, first, classes)
        if photo is None:
            continue
        file = f"localized/{n:02}.png"
        run.write_bytes(file, record.png(photo))
        label = classes[int(split.targets[i].labels[0])]
        told.append({"file": file, "picture": split.names[i], "kind": kinds[i], "label": label})
    run.write_json("localized.json", told)
