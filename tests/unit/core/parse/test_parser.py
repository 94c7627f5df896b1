from __future__ import annotations

import contextlib
import json
import math
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.lenient_json import items, read_object
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.values import as_category, as_id
from fraud_detection.core.project_schema import FieldSource, Schema

SCHEMA = decode(
    {
        "transaction_id": {"field": "id"},
        "event_time": {"field": "time", "aliases": ["at"]},
        "amount": {"field": "amount", "aliases": ["amt"]},
        "entities": {"card": {"field": "card", "required": True}, "device": {"field": "device"}},
        "numbers": {"distance": {"field": "distance"}},
        "categories": {"channel": {"field": "channel"}},
        "place": {"latitude": "lat", "longitude": "lon"},
        "label": {"field": "fraud", "known_at": "fraud_known_at"},
        "ignored": ["note"],
    },
    Schema,
    "test",
)
GOOD = {
    "id": "t1",
    "time": "2026-01-01T00:00:00Z",
    "amount": 12.5,
    "card": "c1",
    "device": "d1",
    "distance": 3.5,
    "channel": "web",
    "lat": 52.5,
    "lon": 13.4,
}


def make_parser() -> Parser:
    return Parser(SCHEMA, {"channel": {"web": 1.0}})


def read(parser: Parser, **changes: object) -> Transaction:
    event = {key: value for key, value in {**GOOD, **changes}.items() if value != "absent"}
    payment = parser.parse(json.dumps(event).encode())
    assert isinstance(payment, Transaction)
    return payment


def drifts(parser: Parser) -> dict[tuple[str, str], int]:
    return {(row.kind, row.field): row.count for row in parser.drift.rows()}


def test_a_declared_event_is_read_by_name_and_nothing_drifts() -> None:
    parser = make_parser()
    assert read(parser) == Transaction(
        "t1", 1_767_225_600_000, 1250, ("c1", "d1"), (3.5,), ("web",), (52.5, 13.4)
    )
    assert drifts(parser) == {}


@pytest.mark.parametrize(
    ("changes", "drift"),
    [
        ({"amount": "12.50"}, ("repaired", "amount")),
        ({"time": 1_767_225_600_000}, ("repaired", "time")),
        ({"time": 1_767_225_600}, ("repaired", "time")),
        ({"distance": "3.5"}, ("repaired", "distance")),
        ({"amount": "absent", "amt": 12.5}, ("alias", "amount")),
        ({"time": "absent", "at": "2026-01-01T00:00:00Z"}, ("alias", "time")),
        ({"loyalty_tier": "gold"}, ("unknown_field", "loyalty_tier")),
    ],
)
def test_harmless_drift_changes_nothing_but_the_tally(
    changes: dict[str, object], drift: tuple[str, str]
) -> None:
    parser = make_parser()
    assert msgspec.structs.replace(read(parser, **changes), unknown=()) == read(make_parser())
    assert drifts(parser) == {drift: 1}


def test_declared_but_ignored_fields_are_no_drift() -> None:
    parser = make_parser()
    read(parser, note="hello", fraud=1, fraud_known_at="2026-02-01")
    assert drifts(parser) == {}


def test_missing_optional_values_are_missing_and_never_zero() -> None:
    parser = make_parser()
    payment = read(parser, device="absent", distance=None, channel="", lat="absent")
    assert payment.entities == ("c1", None)
    assert math.isnan(payment.numbers[0])
    assert payment.categories == (None,)
    assert payment.place is None
    assert drifts(parser) == {("missing", field): 1 for field in ("device", "distance", "channel", "lat")}


def test_unreadable_optional_values_are_missing_and_counted_apart() -> None:
    parser = make_parser()
    assert math.isnan(read(parser, distance="far").numbers[0])
    assert drifts(parser) == {("unreadable", "distance"): 1}


def test_a_new_category_is_kept_and_counted_as_unknown() -> None:
    parser = make_parser()
    assert read(parser, channel="fax").categories == ("fax",)
    assert drifts(parser) == {("unknown_category", "channel"): 1}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"id": "absent"}, "$.id"),
        ({"id": " "}, "$.id"),
        ({"id": {"a": 1}}, "$.id"),
        ({"time": None}, "$.time"),
        ({"time": "yesterday"}, "$.time"),
        ({"time": "1026-01-01"}, "$.time"),
        ({"time": 1e300}, "$.time"),
        ({"amount": "absent"}, "$.amount"),
        ({"amount": "lots"}, "$.amount"),
        ({"amount": -1}, "$.amount"),
        ({"amount": 1e13}, "$.amount"),
        ({"amount": True}, "$.amount"),
        ({"amount": "1e308"}, "$.amount"),
        ({"card": None}, "$.card"),
        ({"card": "x" * 300}, "$.card"),
    ],
)
def test_a_missing_or_impossible_required_value_is_refused_with_its_path(
    changes: dict[str, object], path: str
) -> None:
    with pytest.raises(RejectError) as refused:
        read(make_parser(), **changes)
    assert refused.value.path == path
    assert refused.value.reason


def test_ids_agree_however_a_file_writes_them() -> None:
    assert {read(make_parser(), card=written).entities[0] for written in (7, 7.0, "7", " 7 ")} == {"7"}


def test_a_label_event_is_a_label() -> None:
    event = {"type": "label", "id": "t1", "fraud": 1, "fraud_known_at": "2026-01-08T00:00:00Z"}
    assert make_parser().parse(json.dumps(event).encode()) == Label(
        "t1", fraud=True, known_at=1_767_830_400_000
    )


@pytest.mark.parametrize("broken", [{"fraud": "maybe"}, {"fraud": 1}, {"fraud": 1, "fraud_known_at": "soon"}])
def test_a_label_without_verdict_or_time_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(RejectError):
        make_parser().parse(json.dumps({"type": "label", "id": "t1", **broken}).encode())


def test_history_rows_without_a_label_are_not_legitimate() -> None:
    parser = make_parser()
    assert [parser.labels.verdict({"fraud": value}) for value in ("1", 1, True, "0", 0, "", None, "?")] == [
        True, True, True, False, False, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "written",
    [
        "1767225600000",
        "1767225600",
        "1767225600000000",
        "1767225600000000000",
        "1.7672256e12",
        "20260101",
        "2026-01-01",
        "2026-01-01 00:00:00 UTC",
    ],
)
def test_times_written_as_text_are_read_alike(written: str) -> None:
    assert read(make_parser(), time=written).event_time == 1_767_225_600_000


@given(st.integers(631_152_000_000, 4_000_000_000_000), st.sampled_from([".0", ".00", "."]))
def test_milliseconds_written_with_a_fraction_are_no_day_of_another_century(ms: int, fraction: str) -> None:
    assert read(make_parser(), time=f"{ms}{fraction}").event_time == ms


@given(st.integers(631_152_000_000, 4_000_000_000_000), st.sampled_from([1, 1_000, 1_000_000]))
def test_counts_since_1970_are_read_alike_in_any_unit(ms: int, scale: int) -> None:
    assert (
        read(make_parser(), time=ms * scale).event_time
        == read(make_parser(), time=f"{ms * scale}").event_time
        == ms
    )


@pytest.mark.parametrize("value", ["1e308", 1e308, -1e300])
def test_impossible_numbers_as_times_are_refused(value: object) -> None:
    schema = decode({"event_time": {"field": "t", "format": "number", "unit": "d"}}, Schema, "test")
    with pytest.raises(RejectError):
        Parser(schema).parse(json.dumps({"t": value}).encode(), "row-1")


def test_an_amount_without_bounds_still_has_to_be_a_possible_number() -> None:
    amount = {"field": "a", "minimum": None, "maximum": None}
    schema = decode({"event_time": {"field": "t"}, "amount": amount}, Schema, "test")
    with pytest.raises(RejectError, match="impossible amount"):
        Parser(schema).parse(b'{"t": "2026-01-01", "a": 1.797e306}', "row-1")


def test_a_label_that_a_data_frame_made_a_fraction_of_is_the_whole_number() -> None:
    assert [make_parser().labels.verdict({"fraud": value}) for value in (1.0, 0.0, -0.0, 1.5)] == [
        True,
        False,
        False,
        None,
    ]
    label = {"field": "f", "positive": ["1.0"], "negative": ["1"]}
    schema = decode({"event_time": {"field": "t"}, "label": label}, Schema, "test")
    assert Parser(schema).labels.verdict({"f": 1.0}) is True


def test_label_values_are_compared_without_regard_to_case() -> None:
    label = {"field": "f", "positive": ["Fraud"]}
    schema = decode({"event_time": {"field": "t"}, "label": label}, Schema, "test")
    assert Parser(schema).labels.verdict({"f": "FRAUD"}) is True


def test_events_without_a_declared_id_are_never_named_by_their_content() -> None:
    schema = decode({"event_time": {"field": "time"}}, Schema, "test")
    raw = b'{"time": "2026-01-01", "transaction_id": "mine"}'
    assert Parser(schema).parse(raw, "row-1").transaction_id == "row-1"
    with pytest.raises(ValueError, match="offset"):
        Parser(schema).parse(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refusal(parser: Parser, raw: bytes) -> RejectError | None:
    """Return why the event is refused, None when it is read."""
    try:
        parser.parse(raw)
    except RejectError as error:
        return error
    return None


@settings(deadline=None)
@given(st.binary())
def test_arbitrary_bytes_are_decoded_or_refused(raw: bytes) -> None:
    refused = refusal(make_parser(), raw)
    assert refused is None or refused.path.startswith("$")


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from([*GOOD, "at", "amt", "type", "fraud", "x"]), json_values))
def test_arbitrary_values_are_read_or_refused_and_counted(changes: dict[str, object]) -> None:
    parser = make_parser()
    raw = json.dumps({**GOOD, **changes}, ensure_ascii=True).encode()
    refused = refusal(parser, raw)
    if refused is not None:
        assert drifts(parser)[("quarantined", refused.path.removeprefix("$."))] == 1
    if changes.get("type") != "label":
        assert parser.drift.events == 1


def test_drift_reports_since_when_and_in_what_share() -> None:
    parser = make_parser()
    read(parser)
    read(parser, time="2026-01-03T00:00:00Z", amount="9")
    read(parser, time="2026-01-02T00:00:00Z", amount="8")
    (row,) = [row for row in parser.drift.rows() if row.kind == "repaired"]
    assert (row.count, row.share) == (2, 2 / 3)
    assert (row.first_time, row.last_time) == (1_767_312_000_000, 1_767_398_400_000)


def test_hostile_field_names_do_not_fill_the_memory() -> None:
    parser = make_parser()
    for number in range(3_000):
        read(parser, **{f"field-{number}": 1})
    assert len(parser.drift.rows()) <= 2_001
    assert sum(row.count for row in parser.drift.rows()) == 3_000


def test_a_label_that_becomes_known_at_an_impossible_time_is_refused() -> None:
    event = {"type": "label", "id": "t1", "fraud": 1, "fraud_known_at": "9999-01-01T00:00:00Z"}
    with pytest.raises(RejectError, match="impossible time"):
        make_parser().parse(json.dumps(event).encode())


def test_a_time_beyond_the_future_skew_is_refused_once_the_clock_is_known() -> None:
    parser, day = make_parser(), 86_400_000
    future = {"time": 1_767_225_600_000 + 40 * day}
    assert read(parser, **future).event_time == future["time"]
    parser.bounds.arrived(1_767_225_600_000)
    assert read(parser, time=1_767_225_600_000 + day).event_time == 1_767_225_600_000 + day
    for changes in (future, {"time": 1_767_225_600_000 + day + 1}):
        with pytest.raises(RejectError, match="later than the clock"):
            read(parser, **changes)
    label = {"type": "label", "id": "t1", "fraud": 1, "fraud_known_at": "2027-01-01"}
    with pytest.raises(RejectError, match="later than the clock"):
        parser.parse(json.dumps(label).encode())


def test_the_report_reports_since_when_events_are_refused_and_ids_go_by_another_name() -> None:
    parser = make_parser()
    read(parser, time="2026-01-02T00:00:00Z")
    for changes in ({"amount": "much"}, {"card": None}):
        with pytest.raises(RejectError):
            read(parser, time="2026-01-03T00:00:00Z", **changes)
    with pytest.raises(RejectError):
        parser.parse(b"{")
    quarantined = [row for row in parser.drift.rows() if row.kind == "quarantined"]
    assert {(row.field, row.first_time) for row in quarantined} == {
        ("amount", 1_767_398_400_000),
        ("card", 1_767_398_400_000),
        ("$", 1_767_398_400_000),
    }


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e400", 1e300, -1e39])
def test_a_number_too_large_for_a_model_is_missing_and_counted(value: object) -> None:
    parser = make_parser()
    assert math.isnan(read(parser, distance=value).numbers[0])
    assert drifts(parser)["unreadable", "distance"] == 1


def test_refused_labels_are_a_share_of_the_labels_and_type_is_a_field_like_any_other() -> None:
    parser = make_parser()
    read(parser, type="payment")
    for fraud in (1, 0, "maybe", None):
        event = {"type": "label", "id": "t1", "fraud": fraud, "fraud_known_at": "2026-01-08"}
        with contextlib.suppress(RejectError):
            parser.parse(json.dumps(event).encode())
    (refused,) = [row for row in parser.drift.rows() if row.kind == "quarantined_label"]
    assert (refused.count, refused.share, parser.drift.events, parser.drift.labels) == (2, 0.5, 1, 4)
    assert drifts(parser)["unknown_field", "type"] == 1
    declared = msgspec.structs.replace(SCHEMA, categories={"kind": FieldSource(field="type")})
    payment = json.dumps({**GOOD, "type": "label"}).encode()
    assert isinstance(Parser(declared).parse(payment), Transaction)


def test_a_renamed_time_is_missing_and_its_new_name_is_reported() -> None:
    parser = make_parser()
    event = {("when" if key == "time" else key): value for key, value in GOOD.items()}
    with pytest.raises(RejectError, match="missing"):
        parser.parse(json.dumps(event).encode())
    assert drifts(parser) == {("quarantined", "time"): 1, ("unknown_field", "when"): 1}


BOM = b"\xef\xbb\xbf"
DEEP = b"[" * 5_000 + b"]" * 5_000
UNREAD = {
    "half an emoji": rb'"caf\ud83d"',
    "bytes that are no UTF-8": b'"caf\xe9"',
    "not a number": b"NaN",
    "infinity": b"[-Infinity]",
    "a number out of range": b"1e400",
    "thousands of levels": DEEP,
    "thousands of digits": b"7" * 5_000,
    "a tab in a text": b'"a\tb"',
}


def with_field(name: str, value: bytes) -> bytes:
    event = {key: item for key, item in GOOD.items() if key != name}
    return json.dumps(event).encode()[:-1] + b', "' + name.encode() + b'": ' + value + b"}"


@pytest.mark.parametrize("value", UNREAD.values(), ids=UNREAD)
def test_a_value_that_nobody_reads_stops_no_payment_and_is_counted(value: bytes) -> None:
    parser = make_parser()
    payment = parser.parse(with_field("name", value))
    assert isinstance(payment, Transaction)
    assert payment.unknown == ("name",)
    assert msgspec.structs.replace(payment, unknown=()) == read(make_parser())
    assert drifts(parser) == {("loose", "$"): 1, ("unknown_field", "name"): 1}


@pytest.mark.parametrize("value", UNREAD.values(), ids=UNREAD)
@pytest.mark.parametrize("field", ["device", "distance", "lat"])
def test_a_declared_optional_value_that_strict_json_forbids_is_missing_and_counted(
    field: str, value: bytes
) -> None:
    parser = make_parser()
    payment = parser.parse(with_field(field, value))
    if value == UNREAD["a tab in a text"] and field == "device":
        assert payment == read(make_parser(), device="a\tb")
        return
    assert repr(payment) == repr(read(make_parser(), **{field: None}))
    assert drifts(parser)[("missing" if value == b"NaN" else "unreadable", field)] == 1


@pytest.mark.parametrize("value", UNREAD.values(), ids=UNREAD)
@pytest.mark.parametrize("field", ["time", "amount"])
def test_a_required_value_that_strict_json_forbids_is_refused_with_its_path(field: str, value: bytes) -> None:
    with pytest.raises(RejectError) as refused:
        make_parser().parse(with_field(field, value))
    assert refused.value.path == f"$.{field}"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"id": "t1"',
        b'{"id": NaN, }',
        b"",
        b"NaN",
        b"\x00",
        b'{"x": ' + b"[" * 5_000 + b"}" * 5_001,
        b"[{]}",
    ],
)
def test_what_is_no_json_object_is_still_refused(raw: bytes) -> None:
    with pytest.raises(RejectError, match=r"not valid JSON|expected a JSON object"):
        make_parser().parse(raw)


def test_an_event_of_nothing_but_brackets_or_quotes_is_read_in_time_that_grows_with_its_length() -> None:
    most = 250_000
    for filling in (b"[", b'\\"', b"{}, ", b'"', b'[{"', b"9"):
        for raw in (with_field("x", filling * (most // len(filling))), filling * (most // len(filling))):
            before = time.process_time()
            refused = refusal(make_parser(), raw)
            assert refused is None or refused.path == "$"
            assert time.process_time() - before < 2, filling


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from([*GOOD, "x", "y"]), json_values), st.lists(st.sampled_from(["x", "id"]))
)
def test_the_tolerant_reader_agrees_with_the_strict_one(changes: dict[str, object], twice: list[str]) -> None:
    doubles = "".join(f', "{name}": "again"' for name in twice)
    raw = (json.dumps({**GOOD, **changes})[:-1] + doubles + "}").encode()
    try:
        strict = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        return
    assert repr(read_object(raw)) == repr(strict)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(json_values.map(lambda value: json.dumps(value).encode()), max_size=5),
    st.sampled_from([b"", BOM, b" "]),
)
def test_a_list_is_cut_into_what_it_was_made_of(parts: list[bytes], start: bytes) -> None:
    assert items(start + b"[" + b" , ".join(parts) + b"]") == parts


def test_a_byte_order_mark_before_an_event_is_passed_over_and_counted() -> None:
    parser = make_parser()
    assert parser.parse(BOM + json.dumps(GOOD).encode()) == read(make_parser())
    assert drifts(parser) == {("loose", "$"): 1}


def test_of_equal_names_the_last_counts_whichever_reader_reads_them() -> None:
    plain = json.dumps(GOOD).encode()[:-1] + b', "card": "c8", "card": "c9"}'
    odd = plain[:-1] + b', "x": NaN}'
    for raw in (plain, odd):
        payment = make_parser().parse(raw)
        assert isinstance(payment, Transaction)
        assert payment.entities[0] == "c9"


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("2026-01-01T00:00:00z", 0),
        ("2026-01-01t00:00:00z", 0),
        ("2026-01-01 00:00:00.250z", 250),
        ("2025-12-31T24:00:00Z", 0),
        ("2025-12-31T24:00", 0),
        ("2025-12-31T24:00:00.000+00:00", 0),
        ("2025-12-31T23:59:60Z", 0),
        ("2026-01-01T00:59:60.5+01:00", 0),
        ("20251231T240000Z", 0),
        ("2025-12-31T23:59:60 UTC", 0),
    ],
)
def test_times_that_rfc_3339_and_iso_8601_allow_are_read(written: str, ms: int) -> None:
    assert read(make_parser(), time=written).event_time == 1_767_225_600_000 + ms


@pytest.mark.parametrize(
    "written",
    ["2026-01-01T24:00:01Z", "2026-01-01T24:30:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:61Z"],
)
def test_times_that_no_clock_shows_are_refused(written: str) -> None:
    with pytest.raises(RejectError) as refused:
        read(make_parser(), time=written)
    assert refused.value.path == "$.time"


MARKERS = ["NULL", "nan", "NaN", "None", "N/A", "na", "nil", "-", "?", " unknown ", "Missing", "", "  ", None]


@pytest.mark.parametrize("word", MARKERS)
def test_markers_of_missing_values_are_no_values_of_any_kind(word: str | None) -> None:
    parser = make_parser()
    payment = read(parser, device=word, distance=word, channel=word, lat=word)
    assert payment.entities == ("c1", None)
    assert math.isnan(payment.numbers[0])
    assert (payment.categories, payment.place) == ((None,), None)
    assert drifts(parser) == {("missing", field): 1 for field in ("device", "distance", "channel", "lat")}
    for field in ("time", "amount", "card", "id"):
        with pytest.raises(RejectError, match="missing") as refused:
            read(make_parser(), **{field: word})
        assert refused.value.path == f"$.{field}"
    label = {"type": "label", "id": "t1", "fraud": 1, "fraud_known_at": word}
    with pytest.raises(RejectError, match="needs the time"):
        make_parser().parse(json.dumps(label).encode())


def test_a_row_whose_id_is_missing_takes_the_identity_of_its_offset() -> None:
    raw = json.dumps({**GOOD, "id": "NULL"}).encode()
    first, second = (make_parser().parse(raw, identity) for identity in ("row-1", "row-2"))
    assert isinstance(first, Transaction)
    assert isinstance(second, Transaction)
    assert (first.transaction_id, second.transaction_id) == ("row-1", "row-2")
    own = make_parser().parse(json.dumps(GOOD).encode(), "row-1")
    assert isinstance(own, Transaction)
    assert own.transaction_id == "t1"


def test_the_declared_markers_decide_and_a_field_may_keep_some() -> None:
    schema = msgspec.structs.replace(
        SCHEMA,
        missing=("none", "-1"),
        categories={"channel": FieldSource(field="channel", keep=("None",))},
    )
    parser = Parser(schema)
    payment = parser.parse(json.dumps({**GOOD, "channel": "none", "device": "NONE", "distance": -1}).encode())
    assert isinstance(payment, Transaction)
    assert (payment.categories, payment.entities) == (("none",), ("c1", None))
    assert math.isnan(payment.numbers[0])
    text = parser.parse(json.dumps({**GOOD, "distance": "-1.0", "device": "null"}).encode())
    assert isinstance(text, Transaction)
    assert (text.entities[1], drifts(parser)["missing", "distance"]) == ("null", 2)


def test_an_alias_is_followed_where_the_field_holds_a_word_for_missing() -> None:
    assert read(make_parser(), amount="n/a", amt=12.5) == read(make_parser())


@given(st.integers(-(10**30), 10**30), st.integers(1, 3))
def test_an_id_written_with_a_fraction_of_zeros_is_the_whole_number(number: int, zeros: int) -> None:
    assert as_id(f"{number}.{'0' * zeros}") == as_id(number) == str(number)
    if abs(number) < 2**53:
        assert as_id(float(number)) == str(number)


@pytest.mark.parametrize(
    "text", ["007", "1e5", "12.50", "4.53E+15", "10.0.0.0", "v1.0", "1_0.0", ".0", "12.", "-.0"]
)
def test_other_texts_are_ids_as_they_are(text: str) -> None:
    assert as_id(text) == as_category(text) == text


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.lists(st.none())


@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(max_size=5), ANY, max_size=5),
    st.sampled_from(["", r', "device": "\ud83d"', r', "channel": "\ud83d"', ', "distance": 1e999']),
)
def test_what_is_kept_of_a_large_payment_reads_as_the_whole_and_is_small(
    changes: dict[str, object], loose: str
) -> None:
    event = GOOD | changes | {"n" * 20_000: "unknown", "notes": ["x" * 30_000]}
    raw = json.dumps(event).encode()[:-1] + loose.encode() + b"}"
    with contextlib.suppress(RejectError):
        whole = make_parser().parse(raw, "row-1")
        shortened = make_parser().stored_form(raw)
        assert len(shortened) < 16_384
        assert isinstance(whole, Transaction)
        assert repr(make_parser().parse(shortened, "row-1")) == repr(
            msgspec.structs.replace(whole, unknown=())
        )


def test_a_payment_of_typical_size_is_stored_as_it_came() -> None:
    raw = json.dumps(GOOD | {"unknown": "x" * 10_000}).encode()
    assert make_parser().stored_form(raw) == raw
