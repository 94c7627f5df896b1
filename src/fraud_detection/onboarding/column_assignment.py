"""Assign a role in the project file to each column, with a finding that gives the reason.

Each step of the inference assigns or ignores columns that are still unassigned; no column is assigned twice,
and none is dropped without a finding.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding.columns import Profile
from fraud_detection.onboarding.times import Instants

Confidence = Literal["sure", "likely", "unsure"]
Unit = Literal["s", "m", "h", "d"]


@dataclass(frozen=True, slots=True)
class Overrides:
    """Flags of the user; they override every inference.

    entities: name -> column, in order, instead of the inferred ones; place: the columns of
    latitude and longitude; label_delay such as '7d'; test_from such as '2020-06-21'.
    """

    id: str | None = None
    time: str | None = None
    time_format: str | None = None
    time_unit: Unit | None = None
    amount: str | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    no_entities: bool = False
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    label: str | None = None
    no_label: bool = False
    label_positive: tuple[str, ...] = ()
    label_negative: tuple[str, ...] = ()
    label_known_at: str | None = None
    label_delay: str | None = None
    ignore: tuple[str, ...] = ()
    place: tuple[str, str] | None = None
    test_from: str | None = None

    def __post_init__(self) -> None:
        """Check that no two flags contradict each other.

        >>> Overrides(entities={"card": "card_id"}, no_entities=True)
        Traceback (most recent call last):
        ...
        fraud_detection.core.errors.ConfigError: --entity and --no-entities contradict each other; \
drop one of the two
        """
        if self.no_entities and self.entities:
            raise ConfigError("--entity and --no-entities contradict each other; drop one of the two")
        labels = {
            "--label": self.label,
            "--label-positive": self.label_positive,
            "--label-negative": self.label_negative,
            "--label-known-at": self.label_known_at,
            "--label-delay": self.label_delay,
        }
        if self.no_label and (flag := next((flag for flag, value in labels.items() if value), None)):
            raise ConfigError(f"{flag} and --no-label contradict each other; drop one of the two")


@dataclass(frozen=True, slots=True)
class Question:
    """A question that the data leaves open; the answer has the meaning of `flag`.

    default: used where nobody answers; without one, `refusal` is the error message.
    where: the path in the project file.  Without options, any text is a valid answer.
    """

    where: str
    flag: str
    text: str
    options: tuple[str, ...] = ()
    default: str | None = None
    refusal: str = ""


Ask = Callable[[Question], str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One inference and its reason; `where` is a path in the project file, or names the ignored column.

    >>> str(Finding("schema.amount", "`amt`: its name says amount", "likely"))
    'schema.amount: `amt`: its name says amount (likely)'
    """

    where: str
    text: str
    confidence: Confidence = "sure"

    def __str__(self) -> str:
        """Return the finding as one line."""
        confidence_note = "" if self.confidence == "sure" else f" ({self.confidence})"
        return f"{self.where}: {self.text}{confidence_note}"


class ColumnAssignment:
    """The columns of one file: which are assigned, ignored or unassigned, and the findings so far."""

    def __init__(
        self,
        origin: str,
        profiles: Iterable[Profile],
        instants: Mapping[str, Instants],
        rows: int,
        overrides: Overrides,
        ask: Ask | None = None,
    ) -> None:
        """Reserve the columns that flags name, so that no inference assigns them."""
        self.origin = origin
        self.profiles = {profile.name: profile for profile in profiles}
        self.instants = instants
        self.rows = rows
        self.overrides = overrides
        self.ask = ask
        self.findings: list[Finding] = []
        self.ignored: dict[str, str] = {}
        self.unassigned = dict(self.profiles)
        self._apply_overrides()

    def named(self, name: str, flag: str) -> Profile:
        """Return the column that a flag names; raise ConfigError with the nearest name if there is none."""
        profile = self.profiles.get(name)
        if profile is not None:
            return profile
        near = difflib.get_close_matches(name, self.profiles, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {listed(self.profiles)}"
        raise ConfigError(f"{flag}: {self.origin} has no column {name!r}; {hint}")

    def assign(self, profile: Profile, where: str, text: str, confidence: Confidence = "sure") -> None:
        """Assign the column to a path of the project file."""
        self.unassigned.pop(profile.name, None)
        self.add_finding(where, f"`{profile.name}`: {text}", confidence)

    def ignore(self, profile: Profile, text: str) -> None:
        """Put the column under `schema.ignored`, with the reason."""
        self.unassigned.pop(profile.name, None)
        self.ignored[profile.name] = text
        self.add_finding(f"ignored `{profile.name}`", text)

    def add_finding(self, where: str, text: str, confidence: Confidence = "sure") -> None:
        """Record a finding."""
        self.findings.append(Finding(where, text, confidence))

    def choose(self, question: Question) -> str:
        """Return the user's answer, or the default; raise ConfigError where there is neither."""
        answer = self.ask(question).strip() if self.ask is not None else ""
        if not answer and question.default is not None:
            message = f"{question.text} Taken: {question.default!r}; override it with {question.flag}"
            self.add_finding(question.where, message, "unsure")
            return question.default
        if not answer:
            raise ConfigError(f"{self.origin}: {question.refusal or question.text}")
        if question.options and answer not in question.options:
            raise ConfigError(f"{question.flag}: got {answer!r}, expected one of: {listed(question.options)}")
        return answer

    def pick(self, rivals: Sequence[Profile], where: str, flag: str, what: str) -> Profile | None:
        """Return the only candidate, or the one that is chosen among several; None if there is none."""
        if len(rivals) < 2:  # noqa: PLR2004 - nothing to choose
            return rivals[0] if rivals else None
        names = tuple(profile.name for profile in rivals)
        listed = ", ".join(f"`{name}`" for name in names)
        question = Question(where, flag, f"Which is {what}: {listed}?", names, names[0])
        return self.profiles[self.choose(question)]

    def _apply_overrides(self) -> None:
        """Check the columns that flags name, and reserve them."""
        overrides = self.overrides
        for flag, name in _columns_in(overrides):
            self.named(name, flag)
        for name in overrides.ignore:
            self.ignore(self.profiles[name], "named by a flag")
        for flag, name in _columns_in(overrides):
            self.unassigned.pop(name, None)
            if flag != "--ignore" and name in self.ignored:
                raise ConfigError(
                    f"{flag} {name}: the same column is ignored by --ignore; drop one of the two"
                )


def best(fits: Iterable[tuple[float, Profile]]) -> list[Profile]:
    """Return the candidates of the highest fitness above zero."""
    positive = [(fitness, profile) for fitness, profile in fits if fitness > 0]
    highest = max((fitness for fitness, _ in positive), default=0)
    return [profile for fitness, profile in positive if fitness == highest]


def _columns_in(overrides: Overrides) -> list[tuple[str, str]]:
    single = {
        "--id": overrides.id,
        "--time": overrides.time,
        "--amount": overrides.amount,
        "--label": overrides.label,
        "--label-known-at": overrides.label_known_at,
    }
    several = {
        "--entity": overrides.entities.values(),
        "--number": overrides.numbers,
        "--category": overrides.categories,
        "--ignore": overrides.ignore,
        "--place": overrides.place or (),
    }
    pairs = [(flag, name) for flag, name in single.items() if name is not None]
    return pairs + [(flag, name) for flag, names in several.items() for name in names]


def listed(names: Iterable[str], max_names: int = 20) -> str:
    """Return names as a person lists them.

    >>> listed(["a", "b", "c"], max_names=2)
    'a, b and 1 more'
    """
    names = list(names)
    return ", ".join(names[:max_names]) + (
        f" and {len(names) - max_names} more" if len(names) > max_names else ""
    )
