"""The demonstration as a person runs it: processes, a pipe, a clock, Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

SMALL = ["--cards", "250", "--days", "75", "--rate", "300", "--plain", "--directory", "demo"]


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fraud_detection.cli", "demo", *SMALL, *arguments]


def test_the_demonstration_prints_an_honest_summary(tmp_path: Path) -> None:
    command = demo("--seconds", "4", "--json", "demo.json")
    result = subprocess.run(  # noqa: S603 - our own command
        command, cwd=tmp_path, capture_output=True, timeout=280, check=False
    )
    output = result.stderr.decode()
    assert result.returncode == 0, output
    report = json.loads((tmp_path / "demo.json").read_bytes())
    assert report["transactions"] == report["decided"] + report["quarantined"] > 1_000
    assert report["approve"] + report["review"] + report["decline"] == report["decided"]
    assert 0 < report["p50_ms"] <= report["p99_ms"] <= report["max_ms"] * 1.03
    assert 0 <= report["average_precision"] <= 1
    assert f"{report['transactions']:,} transactions in" in output
    assert f"{report['frauds']:,} frauds" in output


def test_ctrl_c_ends_the_demonstration_with_its_summary(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: S603 - our own command
        demo("--seconds", "200", "--cards", "80"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        output = read_until(process, "decided [1-9]")
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, output + rest
    assert "transactions in =" in rest


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stderr is not None
    output, deadline = "", time.monotonic() + 200
    line = ""
    while not re.match(pattern, line):
        line = process.stderr.readline()
        assert line, output
        assert time.monotonic() < deadline, output
        output += line
    return output
