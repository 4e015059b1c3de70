"""A million answers: through the journal that keeps them on their way, into Parquet, CSV or JSON.

The answers are made up (five classes and probabilities a picture), as fast as they are taken: what is measured is what
Residua does with them. Each case is a process of its own that keeps N answers, takes up half of them as a command that
was interrupted would, and writes all of them. Prints one JSON line a case: seconds, bytes of the journal and the file,
and the peak of resident memory above what the imports took (VmHWM). Memory is flat if N does not matter. Linux only.

    OMP_NUM_THREADS=1 python bench/answers.py
    python bench/answers.py --answers 2000 20000 --formats csv
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from index import Meter
from side_by_side import hardware

CLASSES = tuple(f"class-{i:03}" for i in range(100))
BATCH = 64


def measure(n: int, form: str, folder: str) -> dict[str, Any]:
    """One case in this process."""
    import importlib

    from residua.nn.modelfile import versions
    from residua.predict import Journal, Prediction, write
    from residua.predict.inputs import Item

    if form == "parquet":
        importlib.import_module("pyarrow.parquet")  # with the imports, not with the answers

    def names() -> Iterator[str]:
        return (f"photos/{i // 1000:04}/{i:08}.jpg" for i in range(n))

    def answers(items: Iterator[Item]) -> Iterator[Prediction]:
        for item in items:
            first = hash(item.name) % 90
            yield Prediction(item.name, CLASSES[first : first + 5], (0.5, 0.25, 0.125, 0.0625, 0.03125))

    out, about = Path(folder) / f"answers.{form}", {"model": ["made up"], "top": 5}
    meter = Meter()
    half = n // 2 // BATCH * BATCH

    def keep(resume: bool, most: int) -> Journal:
        journal = Journal(out, about, batch_size=BATCH, resume=resume)
        items = journal.skipping(Item(name, name) for name in names())
        for _ in islice(journal.keep(answers(items)), most):
            pass
        return journal

    meter.part("first_half", lambda: keep(False, half))
    journal = meter.part("second_half", lambda: keep(True, n))
    assert journal.done == n
    meter.part("written", lambda: write(journal.results(), out))
    kept, written = journal.path.stat().st_size, out.stat().st_size
    journal.close()
    return {
        "name": f"{n:,} answers to {form}", "answers": n, "format": form, "peak_mb": max(meter.peaks.values()),
        "peaks_mb": meter.peaks, "seconds": meter.seconds, "journal_bytes": kept, "file_bytes": written,
        "hardware": hardware(), "versions": versions(),
    }  # fmt: skip


def main() -> None:
    """A process a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv"], choices=("parquet", "csv", "json"))
    parser.add_argument("--note", default="", help="goes into each line: what else the machine did")
    parser.add_argument("--inside", nargs=2, metavar=("N", "FORMAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(int(args.inside[0]), args.inside[1], folder)
        print(json.dumps(found | {"note": args.note}), flush=True)
        return
    for form in args.formats:
        for n in args.answers:
            command = [sys.executable, __file__, "--note", args.note, "--inside", str(n), form]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
