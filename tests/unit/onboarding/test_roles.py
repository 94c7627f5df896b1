"""Which column gets which role, why, and how flags and answers change it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides, Question
from tests.unit.onboarding.files import ROWS, answering, finding, infer, payments, times, without


class TestTime:
    def test_without_a_time_the_refusal_names_the_flag(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"no column looks like a time .* --time COLUMN"):
            infer(tmp_path, without("event_time"))

    def test_a_birthday_is_no_time_of_a_payment(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no column looks like a time"):
            infer(tmp_path, without("event_time") | {"date_of_birth": [text[:10] for text in times()]})

    def test_an_hour_of_the_day_counts_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no column looks like a time"):
            infer(tmp_path, without("event_time") | {"hour": [n % 24 for n in range(ROWS)]})

    def test_a_named_number_needs_a_unit(self, tmp_path: Path) -> None:
        columns = without("event_time") | {"tick": [n // 3 for n in range(ROWS)]}

        with pytest.raises(ConfigError, match="--time-unit"):
            infer(tmp_path, columns, Overrides(time="tick"))

        source = infer(tmp_path, columns, Overrides(time="tick", time_unit="m")).project.schema.event_time
        assert (source.format, source.unit) == ("number", "m")

    def test_a_step_counts_hours_from_an_origin_that_is_said_to_be_arbitrary(self, tmp_path: Path) -> None:
        proposal = infer(tmp_path, without("event_time") | {"step": [n // 4 for n in range(ROWS)]})

        assert proposal.project.schema.event_time.unit == "h"
        assert "arbitrary" in finding(proposal, "schema.event_time")
        assert "night" not in proposal.project.features.calendar

    def test_a_date_in_pieces_is_put_together(self, tmp_path: Path) -> None:
        columns = without("event_time") | {
            "tx_year": [2025 + n // 200 for n in range(ROWS)],
            "tx_month": [["Jan", "feb", "March", 4][n % 4] for n in range(ROWS)],
            "tx_day": [n % 28 + 1 for n in range(ROWS)],
            "month_of_birth": [n % 12 + 1 for n in range(ROWS)],
        }

        date_parts = infer(tmp_path, columns).project.schema.event_time.date_parts

        assert date_parts is not None
        assert (date_parts.year, date_parts.month, date_parts.day) == ("tx_year", "tx_month", "tx_day")

    def test_whole_numbers_such_as_20260131_are_dates(self, tmp_path: Path) -> None:
        columns = without("event_time") | {"date": [text[:10].replace("-", "") for text in times()]}

        assert infer(tmp_path, columns).project.schema.event_time.format == "%Y%m%d"

    def test_the_order_of_the_rows_distinguishes_days_from_months(self, tmp_path: Path) -> None:
        days = [(month, day) for month in range(1, 11) for day in (3, 5, 8, 12) for _ in range(10)]
        rising = [f"{day:02}/{month:02}/2026 10:30" for month, day in days]

        proposal = infer(tmp_path, payments() | {"event_time": rising})

        assert proposal.project.schema.event_time.format == "%d/%m/%Y %H:%M"
        assert not [
            finding
            for finding in proposal.findings
            if finding.confidence == "unsure" and "right" in finding.text
        ]

    def test_days_and_months_that_cannot_be_distinguished_are_asked_for(self, tmp_path: Path) -> None:
        either = ["03/04/2026", "04/03/2026", "05/06/2026", "02/01/2026"] * 100
        questions: list[Question] = []
        ask = answering({"--time-format": "%d/%m/%Y"}, questions)

        proposal = infer(tmp_path, payments() | {"event_time": either}, ask=ask)

        assert [question.flag for question in questions] == ["--time-format"]
        assert proposal.project.schema.event_time.format == "%d/%m/%Y"

    def test_where_nobody_answers_the_finding_is_unsure(self, tmp_path: Path) -> None:
        either = ["03/04/2026", "04/03/2026", "05/06/2026", "02/01/2026"] * 100

        proposal = infer(tmp_path, payments() | {"event_time": either})

        assert "--time-format" in finding(proposal, "schema.event_time")
        assert "(unsure)" in finding(proposal, "schema.event_time")

    def test_a_wrong_pattern_is_refused_with_examples(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"--time-format .* such as '2026"):
            infer(tmp_path, payments(), Overrides(time="event_time", time_format="%d.%m.%Y"))

    def test_two_different_times_are_asked_for(self, tmp_path: Path) -> None:
        other = times()
        random.Random(3).shuffle(other)
        questions: list[Question] = []
        ask = answering({"--time": "order_time"}, questions)

        proposal = infer(tmp_path, payments() | {"order_time": other}, ask=ask)

        assert questions[0].options == ("event_time", "order_time")
        assert proposal.project.schema.event_time.field == "order_time"

    def test_a_later_time_is_not_known_when_it_is_decided(self, tmp_path: Path) -> None:
        later = [text.replace("2026-", f"20{27 + n % 3}-") for n, text in enumerate(times())]

        proposal = infer(tmp_path, payments() | {"settled_at": later})

        assert "after the payment" in proposal.ignored["settled_at"]


class TestLabel:
    def test_three_values_are_refused_with_the_flag(self, tmp_path: Path) -> None:
        columns = payments() | {"is_fraud": [["a", "b", "c"][n % 3] for n in range(ROWS)]}

        with pytest.raises(ConfigError, match=r"`is_fraud` has the values a, b, c: .*--label-positive"):
            infer(tmp_path, columns)

        label = infer(
            tmp_path, columns, Overrides(label_positive=("B",), label_negative=("a",))
        ).project.schema.label
        assert label is not None
        assert (label.positive, label.negative) == (("b",), ("a",))

    def test_three_values_are_asked_for(self, tmp_path: Path) -> None:
        columns = payments() | {"is_fraud": [["1", "2", "unknown"][n % 3] for n in range(ROWS)]}
        ask = answering({"--label-positive": "1"}, [])

        label = infer(tmp_path, columns, ask=ask).project.schema.label

        assert label is not None
        assert (label.positive, label.negative) == (("1",), ("2",))

    def test_an_answer_that_is_no_option_is_refused(self, tmp_path: Path) -> None:
        columns = payments() | {"is_fraud": [["a", "b", "c"][n % 3] for n in range(ROWS)]}

        with pytest.raises(ConfigError, match="--label-positive: got 'z', expected one of: a, b, c"):
            infer(tmp_path, columns, ask=lambda _: "z")

    def test_values_that_mean_unknown_are_left_unlabelled(self, tmp_path: Path) -> None:
        columns = payments() | {
            "is_fraud": [["fraud", "legit", "pending", "legit"][n % 4] for n in range(ROWS)]
        }

        label = infer(tmp_path, columns).project.schema.label

        assert label is not None
        assert "pending" not in (*label.positive, *label.negative)

    def test_a_file_without_label_can_be_declared_so(self, tmp_path: Path) -> None:
        proposal = infer(tmp_path, payments(), Overrides(no_label=True))

        assert proposal.project.schema.label is None
        assert "is_fraud" in proposal.ignored
        assert all(not entity.risk for entity in proposal.project.features.entities.values())

    def test_a_time_of_the_label_that_is_later_says_how_late_labels_are(self, tmp_path: Path) -> None:
        columns = payments()
        columns["fraud_reported_at"] = [
            text.replace("+00:00", "Z") if not fraud else f"2027{text[4:]}"
            for text, fraud in zip(times(), columns["is_fraud"], strict=True)
        ]

        label = infer(tmp_path, columns).project.schema.label

        assert label is not None
        assert label.known_at == "fraud_reported_at"
        assert str(label.delay) == "365d"

    def test_a_time_of_the_label_that_is_no_later_is_not_believed(self, tmp_path: Path) -> None:
        proposal = infer(tmp_path, payments() | {"label_timestamp": times()})

        assert proposal.project.schema.label is not None
        assert proposal.project.schema.label.known_at is None
        assert "no later than the payment" in proposal.ignored["label_timestamp"]


class TestLeaks:
    @pytest.mark.parametrize(
        "name", ["newbalanceOrig", "balance_after", "isFlagged", "refunded", "fraud_score"]
    )
    def test_names_of_what_is_known_later_are_suspected(self, tmp_path: Path, name: str) -> None:
        proposal = infer(tmp_path, payments() | {name: [n % 17 for n in range(ROWS)]})

        assert "probably a leak" in proposal.ignored[name]
        assert f"--number {name}" in proposal.ignored[name]

    @pytest.mark.parametrize("name", ["refunds_count_30d", "oldbalanceOrg", "previous_chargebacks"])
    def test_names_of_history_are_not(self, tmp_path: Path, name: str) -> None:
        assert name not in infer(tmp_path, payments() | {name: [n % 17 for n in range(ROWS)]}).ignored

    def test_a_number_that_separates_the_label_is_suspected(self, tmp_path: Path) -> None:
        columns = payments()
        columns["loss"] = [3 * (fraud == 1) + 0.1 * (n % 7) for n, fraud in enumerate(columns["is_fraud"])]

        assert "almost perfectly" in infer(tmp_path, columns).ignored["loss"]

    def test_a_text_that_separates_the_label_is_suspected(self, tmp_path: Path) -> None:
        columns = payments()
        columns["case"] = [f"case {n % 3}" if fraud else "" for n, fraud in enumerate(columns["is_fraud"])]

        assert "almost perfectly" in infer(tmp_path, columns).ignored["case"]

    def test_a_flag_uses_a_suspect_all_the_same(self, tmp_path: Path) -> None:
        columns = payments() | {"balance_after": [n % 17 for n in range(ROWS)]}

        project = infer(tmp_path, columns, Overrides(numbers=("balance_after",))).project

        assert "balance_after" in project.schema.numbers

    def test_names_and_addresses_of_people_are_left_out(self, tmp_path: Path) -> None:
        columns = payments() | {
            "first": [["Ann", "Bob", "Cy"][n % 3] for n in range(ROWS)],
            "customer_name": [["Ann Ax", "Bo By", "Cy Cz"][n % 3] for n in range(ROWS)],
            "home_address": [f"{n} High Street" for n in range(ROWS)],
        }

        proposal = infer(tmp_path, columns)

        assert {"first", "customer_name", "home_address"} == set(proposal.ignored)
        assert "personal" in proposal.ignored["customer_name"]

    def test_a_trait_that_nearly_names_the_card_is_left_out(self, tmp_path: Path) -> None:
        columns = payments(4_000)
        dice = random.Random(2)
        columns["card_id"] = [f"c{dice.randrange(100)}" for _ in range(4_000)]
        columns["town"] = [f"town {int(str(card)[1:]) // 1.5:.0f}" for card in columns["card_id"]]

        assert "memorise" in infer(tmp_path, columns).ignored["town"]


class TestEntities:
    def test_a_second_name_of_the_same_ids_is_left_out(self, tmp_path: Path) -> None:
        columns = payments()
        columns["customer_email"] = [f"{card}@example.org" for card in columns["card_id"]]

        proposal = infer(tmp_path, columns)

        assert "email" not in proposal.project.schema.entities
        assert "--entity email=customer_email" in proposal.ignored["customer_email"]

    def test_an_email_that_payments_share_is_an_entity_and_said_to_be_personal(self, tmp_path: Path) -> None:
        dice = random.Random(5)
        columns = payments() | {"customer_email": [f"p{dice.randrange(50)}@example.org" for _ in range(ROWS)]}

        proposal = infer(tmp_path, columns)

        assert proposal.project.schema.entities["email"].field == "customer_email"
        assert "personal data" in finding(proposal, "schema.entities.email")

    def test_full_card_numbers_are_warned_of(self, tmp_path: Path) -> None:
        columns = payments()
        columns["card_number"] = [
            4_000_000_000_000_000 + int(str(card)[1:]) for card in columns.pop("card_id")
        ]

        assert "tokens" in finding(infer(tmp_path, columns), "schema.entities.card")

    def test_a_place_that_moves_gives_a_speed(self, tmp_path: Path) -> None:
        dice = random.Random(4)
        columns = payments()
        columns["home_lat"] = [float(str(card)[1:]) for card in columns["card_id"]]
        columns["home_lon"] = [-float(str(card)[1:]) for card in columns["card_id"]]
        columns["merch_lat"] = [dice.uniform(40, 50) for _ in range(ROWS)]
        columns["merch_lon"] = [dice.uniform(0, 10) for _ in range(ROWS)]

        proposal = infer(tmp_path, columns)

        assert proposal.project.schema.place is not None
        assert proposal.project.schema.place.latitude == "merch_lat"
        assert proposal.project.features.entities["card"].speed
        assert "never changes" in proposal.ignored["home_lat"]

    def test_the_ordering_entity_keeps_the_ids_that_it_met(self, tmp_path: Path) -> None:
        card = infer(tmp_path, payments()).project.features.entities["card"]

        assert set(card.distinct) == {"merchant"}
        assert card.first_seen == ("merchant",)
        assert card.risk


class TestWhatIsSaid:
    def test_every_ignored_column_is_said_aloud_with_its_reason(self, tmp_path: Path) -> None:
        proposal = infer(tmp_path, payments() | {"balance_after": [n % 17 for n in range(ROWS)]})

        assert finding(proposal, "ignored `balance_after`").endswith(proposal.ignored["balance_after"])

    def test_reasons_stand_as_comments_above_what_they_speak_of(self, tmp_path: Path) -> None:
        lines = infer(tmp_path, payments()).yaml_text.splitlines()

        above = lines[lines.index("  amount:") - 1]
        assert above.startswith("  # `amount`: numbers from")

    def test_a_finding_is_written_even_where_it_is_the_default(self, tmp_path: Path) -> None:
        proposal = infer(tmp_path, payments())

        assert "(likely)" in finding(proposal, "schema.label.delay")
        assert "    delay: 7d\n" in proposal.yaml_text
