"""Coverage-guided fuzzing of one reader, by hand: ``python tests/fuzz/harness.py decode -max_total_time=1800``.

The words after the target are libFuzzer's. Begins with the small files of `targets`, made anew; what is found lies in
the working folder as crash-*, timeout-* or oom-*. Needs the dependency group `fuzz` (atheris, Linux and macOS).
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["residua", "PIL", "tomllib", "xml", "json", "csv", "yaml", "pickle", "zipfile"]
):
    import targets


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in targets.TARGETS:
        sys.exit(f"give a target first: {', '.join(targets.TARGETS)}")
    name = sys.argv.pop(1)
    corpus = Path(tempfile.mkdtemp(prefix=f"residua-fuzz-{name}-"))
    for i, seed in enumerate(targets.TARGETS[name].seeds()):
        (corpus / f"seed-{i}").write_bytes(seed)
    words = Path(tempfile.mkdtemp(prefix="residua-fuzz-words-")) / "words"
    spelt = ("".join(rf"\x{b:02x}" for b in word) for word in targets.WORDS if len(word) < 60)  # libFuzzer's most
    words.write_text("".join(f'"{word}"\n' for word in spelt))
    usual = [f"-dict={words}", "-timeout=20", "-rss_limit_mb=3000", "-max_len=16384", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *usual, *sys.argv[1:], str(corpus)], lambda data: targets.law(name, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
