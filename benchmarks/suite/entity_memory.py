"""Memory of known entities: a server that has all of them in use, less one that knows none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.load_generator.load import Plan, run_load
from benchmarks.load_generator.target import Target
from benchmarks.suite.machine import Memory
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, Progress, with_holes
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.tables import create_state
from fraud_detection.core.errors import ConfigError

CARD, MERCHANT = 0, 1
LIST = 400
LISTS_AT_ONCE = 2


class EntityMemory(msgspec.Struct, frozen=True):
    """What servers hold.

    empty: one that knows nobody.  loaded: when each entity has paid once.  used: after a load drawn as in the
    soak.
    """

    entities: int
    empty: Memory
    loaded: Memory
    used: Memory

    @property
    def bytes_an_entity(self) -> float:
        """Return how many bytes of resident memory an entity takes, mapped files included."""
        more = self.used.resident_mb - self.empty.resident_mb
        return more * 1e6 / max(self.entities, 1)


def measure_entity_memory(
    simulation: BenchmarkSimulation, copies: int, payments: int, progress: Progress
) -> EntityMemory:
    """Load every profile of so many copies into a server, then let it decide payments of all of them."""
    first, *events = simulation.events(max(payments // copies, Plan(0).block) + 1)
    empty = empty_server(simulation, first)
    state = simulation.copied(copies, progress)
    with FraudServer(simulation.bundle, state, [first, *map(with_holes, events)]) as server:
        target = server.start()
        entities = load_profiles(target, simulation, first, copies, progress)
        loaded, total = server.memory(), min(payments, copies * len(events))
        progress("memory of the entities: payments of all of them", 0.0)
        run_load(target, Plan(total / RATE, RATE, warm_up_s=0.0, copies=copies))
        return EntityMemory(entities, empty, loaded, server.memory())


RATE = 1_000.0


def empty_server(simulation: BenchmarkSimulation, payment: bytes) -> Memory:
    """Return what a server holds that knows no entity but those of its first payment."""
    with simulation.scratch() as folder:
        state = Path(folder) / "empty.db"
        create_state(state)
        with FraudServer(simulation.bundle, state, [payment]) as server:
            server.start()
            return server.memory()


def load_profiles(
    target: Target, simulation: BenchmarkSimulation, event: bytes, copies: int, progress: Progress
) -> int:
    """Let every card of every copy pay once, in lists, so that all profiles are loaded; return how many."""
    payments, profiles = _one_a_card(simulation, event)
    lists = [b"[" + b",".join(payments[at : at + LIST]) + b"]" for at in range(0, len(payments), LIST)]
    message, total, done = f"loading {copies * profiles:,} profiles", copies * len(lists), 0

    def look(count: int) -> None:
        nonlocal done
        done += count
        progress(message, done / total)

    plan = Plan(1e6, connections=LISTS_AT_ONCE, warm_up_s=0.0, copies=copies, block=len(lists), slice_s=1.0)
    loading = msgspec.structs.replace(target, bodies=lists)
    load = run_load(loading, plan, lambda part: look(part.latencies.count))
    if load.errors:
        raise ConfigError(f"{load.errors:,} of {load.sent:,} lists of payments failed: {load.statuses}")
    return copies * profiles


def _one_a_card(simulation: BenchmarkSimulation, event: bytes) -> tuple[list[bytes], int]:
    """Return a payment with holes for each card and merchant, and how many of these there are."""
    state_file = StateFile(simulation.state, reading=True)
    cards, merchants = (
        [str(row[0]) for row in state_file.rows("SELECT id FROM profiles WHERE entity = ?", (entity,))]
        for entity in (CARD, MERCHANT)
    )
    state_file.close()
    fields, max_events = msgspec.json.decode(event), max(len(cards), len(merchants))
    own = (
        {
            "transaction_id": f"loading-{number}-",
            "card_id": cards[number % len(cards)],
            "merchant_id": merchants[number % len(merchants)],
        }
        for number in range(max_events)
    )
    payments = [with_holes(msgspec.json.encode(fields | ids)) for ids in own]
    return payments, len(cards) + len(merchants)
