"""All figures of one run of `python -m benchmarks`, and how much of each is measured."""

from __future__ import annotations

import msgspec

from benchmarks.load_generator.sweep import SweepSettings
from benchmarks.suite.closed_loop import ClosedLoop, ClosedLoopSettings, Ratio
from benchmarks.suite.engine import EngineFigures, EngineSettings
from benchmarks.suite.http import HttpFigures, HttpSettings
from benchmarks.suite.machine import Machine
from benchmarks.suite.scale import ScaleFigures, ScaleSettings
from benchmarks.suite.soak import SoakSettings


class BenchSettings(msgspec.Struct, frozen=True):
    """How much is measured."""

    engine: EngineSettings = EngineSettings()
    scale: ScaleSettings = ScaleSettings()
    http: HttpSettings = HttpSettings()


QUICK = BenchSettings(
    EngineSettings(bulk=3_000, rounds=2, alone=500, before=500),
    ScaleSettings(few=400, many=1_500, payments=500, before=500, cold=100, turn=50),
    HttpSettings(
        rate=200.0,
        seconds=1.0,
        rounds=2,
        warm_up_s=0.3,
        connections=8,
        step_s=0.5,
        step_warm_up_s=0.2,
        starts=1,
        payments=20_000,
        sweep=SweepSettings(start=200.0, highest=800.0, factor=2.0, halvings=0),
        closed=ClosedLoopSettings(seconds=0.5, warm_up_s=0.2, many=4),
    ),
)
"""So little that the figures mean nothing; it shows that all of them can be measured here."""


QUICK_SOAK = SoakSettings(minutes=4 / 60, rate=200.0, cards=600, slice_s=1.0, warm_up_s=0.5, connections=8)
QUICK_ALONGSIDE = 8 / 60
"""Minutes of a quick soak of two servers."""


class Figures(msgspec.Struct, frozen=True):
    """Everything that was measured; None where it was not asked for.

    elsewhere_share: of all cores, what other work on this machine took meanwhile.
    """

    machine: Machine
    quick: bool
    elsewhere_share: float = 0.0
    engine: EngineFigures | None = None
    scale: ScaleFigures | None = None
    http: HttpFigures | None = None
    comparison: list[ClosedLoop] | None = None
    ratios: list[Ratio] | None = None
