"""A bundle, a state file and a decision log, stored so that later versions are tested on them.

    python -m tests.functional.formats.stored

writes the folder of the current format; once a format is in a release, its folder stays as it is.  It has

- `bundle.tar.gz`, trained on a small simulation, with rules, a list and a decline cap;
- `state.db.xz` and its marker, after the first part of a stream, and `first.jsonl.xz`, its decision log;
- `events.jsonl.xz`, the rest of the stream: late, repeated and malformed events, and labels;
- `decisions.jsonl.xz`, the decision log of the rest, as the version that made the folder decided it.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fraud_detection.adapters.sqlite.tables import FORMAT
from tests.root import ROOT

HERE = Path(__file__).parent
CURRENT = HERE / f"state-{FORMAT}"
FIRST_EVENTS = 600
STATE = ("state.db", "state.db.marker")

SETTINGS = """
policy: {name: by-cut-offs, review_at: 0.002, decline_at: 0.02}
decline_cap: {share: 0.05, interval: 1d, min_payments: 20}
lists:
  - {name: watched_merchants, kind: watch, of: merchant, entries: [{value: m00732}, {value: m00001}]}
rules:
  - {name: expensive_travel, when: merchant_category == "travel" and amount > 100, action: review}
  - {name: many_merchants, when: card_merchant_distinct_1d >= 7, action: review}
  - {name: very_expensive, when: amount > 250, action: decline}
"""


def fraud(folder: Path, *arguments: str) -> None:
    """Run a command in a folder."""
    command = [sys.executable, "-m", "fraud_detection.cli", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)  # noqa: S603 - our own command
    assert done.returncode == 0, done.stderr.decode()


def packed(source: Path, target: Path) -> None:
    """Compress a file."""
    target.write_bytes(lzma.compress(source.read_bytes(), preset=9))


def unpacked(source: Path, target: Path) -> Path:
    """Write what was compressed, and return where."""
    target.write_bytes(lzma.decompress(source.read_bytes()))
    return target


def project_file() -> str:
    """Return the simulation's project file with a small model, and settings of every kind of decision."""
    text = (ROOT / "src/fraud_detection/simulated.yaml").read_text(encoding="utf-8")
    text = text.partition("\npolicy:")[0].replace("rounds: 400, max_depth: 5", "rounds: 40, max_depth: 3")
    return text.replace("data/history.parquet", "history.parquet") + SETTINGS


def make(folder: Path) -> None:
    """Write the folder of the current format."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "params.yaml").write_text(project_file(), encoding="utf-8")
        simulation = ["--cards", "150", "--days", "60"]
        fraud(work, "generate", "history", "--out", "history.parquet", *simulation)
        fraud(work, "train", "--no-tracking")
        disorder = ["--late-share", "0.03", "--duplicate-share", "0.02", "--malformed-share", "0.02"]
        live = ["--to", "live.jsonl", "--events", "800", "--rate", "50000"]
        fraud(work, "generate", "stream", *live, *simulation, *disorder)
        lines = (work / "live.jsonl").read_bytes().splitlines(keepends=True)
        (work / "first.jsonl").write_bytes(b"".join(lines[:FIRST_EVENTS]))
        (work / "events.jsonl").write_bytes(b"".join(lines[FIRST_EVENTS:]))
        fraud(work, "state", "create", "state.db", "--bundle", "build/bundle")
        decide(work, "first.jsonl", "first.out")
        folder.mkdir()
        for name in STATE:
            packed(work / name, folder / f"{name}.xz")
        decide(work, "events.jsonl", "decisions.out")
        packed(work / "first.out", folder / "first.jsonl.xz")
        packed(work / "events.jsonl", folder / "events.jsonl.xz")
        packed(work / "decisions.out", folder / "decisions.jsonl.xz")
        shutil.copy(work / "build/bundle.tar.gz", folder)


def decide(folder: Path, source: str, out: str, bundle: str = "build/bundle") -> None:
    """Decide a file of events with the state of the folder, and write the decision log."""
    fraud(folder, "run", "--source", source, "--state", "state.db", "--bundle", bundle, "--out", out)


if __name__ == "__main__":
    if CURRENT.exists():
        sys.exit(f"{CURRENT} exists: remove it first, if no release has written this format")
    make(CURRENT)
    sys.stdout.write(f"{CURRENT}\n")
