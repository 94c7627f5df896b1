"""The simulation that is measured: its bundle, its state, its payments, and copies of it side by side.

A copy is the same simulation with other ids: its profiles are those of the first one, and so are its
features and decisions.  With a hundred copies there are a hundred times as many cards,
each with a history like any other.
"""

from __future__ import annotations

import math
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from benchmarks.load_generator.connection import copy_names
from benchmarks.load_generator.load import HOLE
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.state_guard import adopt, copy_state
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.distinct_ids import DistinctIds
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.profile_codec import encode_profile
from fraud_detection.core.project_schema import Model, Project
from fraud_detection.demo.demo import DemoSettings, prepare
from fraud_detection.project.loader import load_project
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import open_service
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions

Progress = Callable[[str, float], None]

FULL = SimulatorSettings(seed=7)
QUICK = SimulatorSettings(seed=7, days=60, cards=200, fraud_rate=0.05)
QUICK_MODEL = Model(rounds=30, max_depth=3, threads=1)
GROUP = 100
MAX_COPIES = 1_000
MAX_ENTITIES = 8
IDS = re.compile(rb'("(?:transaction_id|card_id|merchant_id)":"[^"]*)')


class BenchmarkSimulation(msgspec.Struct, frozen=True):
    """A simulation and a model trained on it, in a folder."""

    folder: Path
    settings: SimulatorSettings
    project: Project

    @property
    def bundle(self) -> Path:
        """Return where the bundle is."""
        return self.folder / "bundle"

    @property
    def state(self) -> Path:
        """Return the state file that knows the history; it is copied before it is used."""
        return self.folder / "state.db"

    def events(self, count: int) -> list[bytes]:
        """Return the first payments of the stream, without labels, repeats and faults."""
        options = StreamOptions(
            payments=count, labels="none", late_share=0, duplicate_share=0, malformed_share=0
        )
        stream = SimulatedStream(self.settings, options)
        return [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk]

    def service(self, state: Path, source: Path | None = None) -> EmbeddedService:
        """Return a service over a new state file, which is a copy of `source` or of the simulation's own."""
        copy_state(source or self.state, state)
        return open_service(self.bundle, state)[1]

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Return a folder for one measurement, on the disk of the simulation."""
        return tempfile.TemporaryDirectory(prefix="run-", dir=self.folder)

    def copies_of_entities(self, entities: int) -> int:
        """Return how many copies have so many entities."""
        state_file = StateFile(self.state, reading=True)
        ((known,),) = state_file.rows("SELECT count(*) FROM profiles")
        state_file.close()
        return self._at_most(math.ceil(entities / known))

    def copies_for(self, cards: int) -> int:
        """Return how many copies have so many cards, at least one; raise ConfigError above a thousand."""
        return self._at_most(math.ceil(cards / self.settings.cards))

    def _at_most(self, copies: int) -> int:
        if copies > MAX_COPIES:
            raise ConfigError(
                f"{copies:,} copies of this simulation are wanted, and {MAX_COPIES:,} is the most: that is "
                f"{MAX_COPIES * self.settings.cards:,} cards; ask for fewer"
            )
        return copies

    def copied(self, copies: int, progress: Progress) -> Path:
        """Return a state file that knows the history of so many copies; it is kept for the next time."""
        if copies == 1:
            return self.state
        path = self.folder / f"state-{copies}-copies.db"
        if not path.exists():
            making = path.with_suffix(".making")
            _forget(making)
            copy_state(self.state, making)
            copy_profiles(self.bundle, making, copies, progress)
            adopt(making, path)
            _forget(making)
        return path


def prepared(folder: Path, progress: Progress, *, quick: bool = False) -> BenchmarkSimulation:
    """Return the simulation of a folder, made first unless it was made by these settings."""
    project = load_project(Path(str(files("benchmarks.suite") / "params.yaml")))
    settings = QUICK if quick else FULL
    if quick:
        project = msgspec.structs.replace(project, model=QUICK_MODEL)
    simulation, marker = BenchmarkSimulation(folder, settings, project), folder / "made-from.txt"
    wanted = f"{settings!r}\n{project!r}\n"
    if not marker.exists() or marker.read_text() != wanted or not _fits(simulation):
        for old in folder.glob("state*"):
            old.unlink()
        prepare(DemoSettings(0, 0, settings, folder), project, progress)
        marker.write_text(wanted)
    return simulation


def _fits(simulation: BenchmarkSimulation) -> bool:
    """Say whether the code of today takes the bundle and the state; other features would be refused."""
    with simulation.scratch() as folder:
        try:
            simulation.service(Path(folder) / "state.db").close()
        except ConfigError:
            return False
    return True


def with_holes(event: bytes) -> bytes:
    """Return a payment whose ids end in a hole, for the name of a copy.

    >>> with_holes(b'{"card_id":"c1","amount":2}').count(HOLE)
    1
    """
    return IDS.sub(rb"\1" + HOLE, event)


def copy_profiles(bundle: Path, state: Path, copies: int, progress: Progress) -> None:
    """Add the profiles of copies to a state file; the first copy is the simulation itself."""
    names = [name.decode() for name in copy_names(copies)[1:]]
    extractor, state_file = load_engine(bundle).extractor, StateFile(state)
    copied = [
        (
            slot,
            entity.index,
            _ids(state_file, entity.index),
            [_ids(state_file, other_entity) for other_entity in entity.others],
        )
        for slot, entity in enumerate(extractor.entities)
    ]
    total, done = sum(len(ids) for _, _, ids, _ in copied), 0
    for slot, index, ids, distinct_ids in copied:
        renamed = [_renamed(others, names) for others in distinct_ids]
        for start in range(0, len(ids), GROUP):
            group = ids[start : start + GROUP]
            memory = ProfileCache(extractor, state_file)
            memory.prefetch([alone(index, entity_id) for entity_id in group])
            profiles = [(entity_id, memory.profile(slot, alone(index, entity_id))) for entity_id in group]
            with state_file.transaction():
                for position, name in enumerate(names):
                    others = [names_of[position] for names_of in renamed]
                    copies_of = {
                        (index, entity_id + name): _copy(profile, others)
                        for entity_id, profile in profiles
                        if profile is not None
                    }
                    state_file.save(copies_of)
            done += len(group)
            progress(f"copying the simulation: {copies} times {total:,} profiles", done / total)
    state_file.close()


def _copy(profile: Profile, renamed: Sequence[dict[int, int]]) -> bytes:
    """Return a saved profile with other distinct ids; nobody has seen an event of its own yet."""
    own = list(profile.distinct_ids)
    for slot, new in enumerate(renamed):
        profile.distinct_ids[slot] = DistinctIds(own[slot].limit)
        for key, at in own[slot].times().items():
            profile.distinct_ids[slot].add(at, new.get(key, key))
    content = encode_profile(profile, 0)
    profile.distinct_ids[:] = own
    return content


def _renamed(ids: Sequence[str], names: Sequence[str]) -> list[dict[int, int]]:
    """Return for each copy the checksum of an id by that of the id in the simulation itself."""
    return [
        {zlib.crc32(entity_id.encode()): zlib.crc32((entity_id + name).encode()) for entity_id in ids}
        for name in names
    ]


def _ids(state_file: StateFile, entity: int) -> list[str]:
    return [
        row[0] for row in state_file.rows("SELECT id FROM profiles WHERE entity = ? ORDER BY id", (entity,))
    ]


def alone(index: int, entity_id: str) -> tuple[str | None, ...]:
    """Return the entities of a payment that has but one."""
    return (*[None] * index, entity_id, *[None] * (MAX_ENTITIES - index))


def _forget(state: Path) -> None:
    for old in state.parent.glob(f"{state.name}*"):
        old.unlink()


def copied_entities(events: Sequence[bytes], copies: int) -> Iterator[bytes]:
    """Yield each event once, of one copy after another, in an order that looks like chance."""
    names, step = copy_names(copies), 7919
    for number, event in enumerate(events):
        yield with_holes(event).replace(HOLE, names[number * step % copies])
