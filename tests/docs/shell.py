"""Run a shell block as a person types it: one line after another, a service in a terminal of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.docs.blocks import SERVICES, Block

READY_S = 60


def run_block(block: Block, folder: Path, environment: dict[str, str], timeout: float = 280) -> str:
    """Run a block in one bash, which ends at its first error; return all that was said."""
    lines, services = [], 0
    for command in block.commands():
        if any(service in command for service in SERVICES) and "--exit-when-idle" not in command:
            lines.append(f"{{ exec env {command} ; }} & services+=($!); ready {_port(command)}")
            services += 1
        else:
            lines.append(command)
    script = "\n".join([PRELUDE, *lines, "stop_services"] if services else ["set -eo pipefail", *lines])
    code, output = _run(script, folder, environment, timeout)
    assert code == 0, f"{block.page}:{block.line} ended with {code}:\n{script}\n{output}"
    return output


def _run(script: str, folder: Path, environment: dict[str, str], timeout: float) -> tuple[int, str]:
    """Run a script in a session of its own, of which nothing is left; return exit code and last output."""
    with subprocess.Popen(  # noqa: S603 - our own documentation
        ["bash", "-c", script],  # noqa: S607
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as bash:
        try:
            output, errors = bash.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(bash.pid, signal.SIGKILL)
            output, errors = bash.communicate()
            errors += f"\nkilled after {timeout:.0f} s"
    return bash.returncode, output[-4_000:] + errors[-4_000:]


PRELUDE = f"""set -eo pipefail
services=()
ready() {{
  for _ in $(seq {READY_S * 10}); do
    kill -0 "${{services[-1]}}" || return 1
    [ "$1" = none ] && sleep 3 && return 0
    curl -s -o /dev/null -f "http://127.0.0.1:$1/readyz" && return 0
    curl -s -o /dev/null -f "http://127.0.0.1:$1/ping" && return 0
    sleep 0.1
  done
  return 1
}}
stop_services() {{
  for one in "${{services[@]}}"; do
    # Again and again: bash lets a process in the background ignore SIGINT until that handles it by itself.
    while kill -INT "$one" 2>/dev/null; do sleep 2; done
    wait "$one" || {{ code=$?; [ $code = 130 ] || [ $code = 0 ] || return $code; }}
  done
}}
trap 'kill "${{services[@]}}" 2>/dev/null || true' EXIT
"""


def on_a_free_port(block: Block) -> Block:
    """Return a block whose service has a port of its own: 8000 may be taken on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = re.sub(r"^(fraud serve(?!.*--port).*)$", rf"\1 --port {port}", block.text, flags=re.MULTILINE)
    return msgspec.structs.replace(block, text=text.replace("127.0.0.1:8000/", f"127.0.0.1:{port}/"))


def _port(command: str) -> str:
    arguments = command.replace("=", " ").split()
    if "shadow" in arguments or "generate" in arguments:
        return "none"
    for name in ("--port", "SAGEMAKER_BIND_TO_PORT"):
        if name in arguments:
            return arguments[arguments.index(name) + 1]
    return "8000"


def run_lines(lines: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """Run lines that are no block of a page."""
    return run_block(Block("a test", 0, "bash", "\n".join(lines)), folder, environment)
