"""What is available is what the machine has, or its container if that is less."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.adapters.host.memory import available_memory

MEMINFO = "MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable:  4000 kB\nHugePages_Total: 0\n"


def machine(folder: Path) -> Path:
    (folder / "meminfo").write_text(MEMINFO)
    return folder / "meminfo"


def test_the_machine_alone_has_what_its_kernel_says(tmp_path: Path) -> None:
    assert available_memory(machine(tmp_path), tmp_path / "none") == 4_000 * 1024


def test_a_container_has_its_limit_less_what_it_uses_but_for_file_caches(tmp_path: Path) -> None:
    files = {"memory.max": "3000000\n", "memory.current": "2000000", "memory.stat": "anon 5\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_memory(machine(tmp_path), tmp_path) == 1_000_000
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 700000\n")
    assert available_memory(machine(tmp_path), tmp_path) == 1_700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(machine(tmp_path), tmp_path) == 4_000 * 1024


def test_an_older_container_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("900000")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("950000")
    assert available_memory(machine(tmp_path), tmp_path) == 0


def test_a_real_machine_has_some(tmp_path: Path) -> None:
    assert available_memory() > 0
    assert available_memory(tmp_path / "none", tmp_path) > 0
