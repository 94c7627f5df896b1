"""The hot modules are compiled where a compiler is: a refusal is only a line of what the build prints."""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec

import pytest

from tests.root import ROOT

HOT = re.findall(r'^    "src/(.*)\.py",$', (ROOT / "setup.py").read_text(), re.MULTILINE)


@pytest.mark.skipif(os.environ.get("FRAUD_PURE") == "1", reason="FRAUD_PURE=1 asks for plain Python")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt install gcc")
@pytest.mark.parametrize("module", HOT)
def test_a_hot_module_is_loaded_in_its_compiled_form(module: str) -> None:
    spec = find_spec(module.replace("/", "."))
    assert spec is not None
    assert str(spec.origin).endswith(".so"), "`make setup` says why it was not compiled"
