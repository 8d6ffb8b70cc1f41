"""Dates and sentences as staff and patients read them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_aftercare.care.wording import (
    LANGUAGES,
    list_text,
    long_text,
    release_text,
    short_date,
    short_text,
    until_text,
    window_text,
)
from fhir_aftercare.errors import InvalidInput, MissingZone

NEW_YORK = ZoneInfo("America/New_York")
PHONE = "+1 555 0100"
RELEASE = datetime(2026, 9, 17, 7, 0, tzinfo=NEW_YORK)


def sentences(text: str) -> list[str]:
    return [each for each in re.split(r"(?<=[.?!])\s+", text.replace(PHONE, "PHONE")) if each]


def words(sentence: str) -> list[str]:
    return re.findall(r"[^\s.,:?!]+", sentence)


def syllables(word: str) -> int:
    if not word.isalpha():
        return 1
    groups = len(re.findall(r"[aeiouy]+", word.lower()))
    silent = word.lower().endswith("e") and not word.lower().endswith("le") and groups > 1
    return max(1, groups - silent)


def school_years(text: str) -> float:
    """Flesch–Kincaid: years of school needed to read an English text."""
    all_words = [word for sentence in sentences(text) for word in words(sentence)]
    per_sentence = len(all_words) / len(sentences(text))
    return 0.39 * per_sentence + 11.8 * sum(map(syllables, all_words)) / len(all_words) - 15.59


# --- for staff


def test_staff_read_the_month_in_letters_and_24_hours() -> None:
    assert short_text(RELEASE, NEW_YORK) == "17-Sep-2026 07:00"
    assert short_date(date(1988, 3, 4)) == "04-Mar-1988"


def test_the_zone_stands_behind_only_if_asked() -> None:
    assert short_text(RELEASE, NEW_YORK, with_zone=True) == "17-Sep-2026 07:00 EDT"
    first = datetime(2026, 11, 1, 1, 30, tzinfo=NEW_YORK)
    assert short_text(first, NEW_YORK, with_zone=True) == "01-Nov-2026 01:30 EDT"
    assert short_text(first.replace(fold=1), NEW_YORK, with_zone=True) == "01-Nov-2026 01:30 EST"


def test_times_are_those_of_the_zone_asked_for() -> None:
    assert short_text(datetime(2026, 9, 17, 2, 30, tzinfo=UTC), NEW_YORK) == "16-Sep-2026 22:30"


@given(st.dates())
def test_every_day_can_be_read_back(day: date) -> None:
    number, month, year = short_date(day).split("-")
    months = [short_date(date(2026, each, 1))[3:6] for each in range(1, 13)]
    assert date(int(year), months.index(month) + 1, int(number)) == day


# --- for patients


def test_patients_read_the_weekday_and_the_month_in_full() -> None:
    assert long_text(RELEASE, NEW_YORK, "en") == "07:00 on Thursday, September 17"
    assert long_text(RELEASE, NEW_YORK, "es") == "las 07:00 del jueves 17 de septiembre"


def test_one_o_clock_is_singular_in_spanish() -> None:
    assert long_text(RELEASE.replace(hour=1, minute=15), NEW_YORK, "es").startswith("la 01:15 del")


def test_a_window_names_its_day_once() -> None:
    nine, six = RELEASE.replace(hour=9), RELEASE.replace(hour=18)
    assert window_text(nine, six, NEW_YORK, "en") == "between 09:00 and 18:00 on Thursday, September 17"
    assert window_text(nine, six, NEW_YORK, "es") == "entre las 09:00 y las 18:00 del jueves 17 de septiembre"


def test_a_window_over_days_names_both() -> None:
    later = RELEASE + timedelta(days=2)
    assert (
        window_text(RELEASE, later, NEW_YORK, "en")
        == "from 07:00 on Thursday, September 17 until 07:00 on Saturday, September 19"
    )
    assert (
        window_text(RELEASE, later, NEW_YORK, "es")
        == "desde las 07:00 del jueves 17 de septiembre hasta las 07:00 del sábado 19 de septiembre"
    )


def test_a_window_without_a_beginning_names_its_end() -> None:
    for opens in (None, RELEASE):
        assert window_text(opens, RELEASE, NEW_YORK, "en") == "by 07:00 on Thursday, September 17"
        assert window_text(opens, RELEASE, NEW_YORK, "es") == "hasta las 07:00 del jueves 17 de septiembre como máximo"


def test_a_restriction_lasts_until_its_time() -> None:
    assert until_text(RELEASE, NEW_YORK, "en") == "until 07:00 on Thursday, September 17"
    assert until_text(RELEASE, NEW_YORK, "es") == "hasta las 07:00 del jueves 17 de septiembre"


def test_seconds_are_never_given_away() -> None:
    for seconds in (1, 59):
        late = RELEASE.replace(hour=10, minute=29, second=seconds)
        assert "10:30" in until_text(late, NEW_YORK, "en")
        assert "10:30" in release_text(late, NEW_YORK, "en", needs_human=False, phone=PHONE)


# --- driving


def test_the_driving_instruction_says_when_how_and_whom_to_call() -> None:
    assert release_text(RELEASE, NEW_YORK, "en", needs_human=False, phone=PHONE) == (
        "Do not drive, cycle in traffic or use machines yet. "
        "Never do so before 07:00 on Thursday, September 17. "
        "After that, drive only if you have slept and feel clear. "
        "If you still feel drowsy or unreal, wait. Call us: +1 555 0100."
    )
    assert release_text(RELEASE, NEW_YORK, "es", needs_human=False, phone=PHONE) == (
        "No conduzca ni use máquinas antes de las 07:00 del jueves 17 de septiembre. "
        "Tampoco vaya en bicicleta entre el tráfico. "
        "Después, conduzca solo si ha dormido y tiene la mente clara. "
        "Si aún tiene sueño o se siente irreal, espere. Llámenos: +1 555 0100."
    )


def test_without_the_clinics_word_the_time_alone_releases_nobody() -> None:
    english = release_text(RELEASE, NEW_YORK, "en", needs_human=True, phone=PHONE)
    assert "until the clinic says you may" in english
    assert "will not be before 07:00 on Thursday, September 17" in english
    assert "After that, drive" not in english
    spanish = release_text(RELEASE, NEW_YORK, "es", needs_human=True, phone=PHONE)
    assert "hasta que la clínica le diga que puede" in spanish
    assert "no será antes de las 07:00 del jueves 17 de septiembre" in spanish


EVERY_DAY_OF_A_YEAR = [RELEASE.replace(month=1, day=1) + timedelta(days=each) for each in range(0, 365, 3)]


@pytest.mark.parametrize(("language", "needs_human"), list(product(LANGUAGES, (True, False))))
def test_driving_sentences_are_short_on_every_date(language: str, needs_human: bool) -> None:
    for release in EVERY_DAY_OF_A_YEAR:
        text = release_text(release, NEW_YORK, language, needs_human=needs_human, phone=PHONE)
        assert max(len(words(each)) for each in sentences(text)) <= 15, text
        assert long_text(release, NEW_YORK, language) in text
        assert text.endswith(f"{PHONE}.")


@pytest.mark.parametrize("needs_human", [True, False])
def test_driving_needs_no_more_than_six_years_of_school(needs_human: bool) -> None:
    for release in EVERY_DAY_OF_A_YEAR:
        assert school_years(release_text(release, NEW_YORK, "en", needs_human=needs_human, phone=PHONE)) <= 6


def test_a_phone_is_written_as_the_clinic_gave_it() -> None:
    odd = "{release} %s 0100"
    assert release_text(RELEASE, NEW_YORK, "en", needs_human=False, phone=odd).endswith(f"Call us: {odd}.")


# --- lists and languages


@pytest.mark.parametrize(
    ("items", "english", "spanish"),
    [
        ([], "", ""),
        (["a"], "a", "a"),
        (["a", "b"], "a and b", "a y b"),
        (("a", "b", "c"), "a, b and c", "a, b y c"),
    ],
)
def test_lists_are_read_as_one_says_them(items: list[str], english: str, spanish: str) -> None:
    assert list_text(items) == english
    assert list_text(items, "es") == spanish


@pytest.mark.parametrize("language", ["fr", "en-US", "", "EN"])
def test_a_language_without_words_is_refused_not_guessed(language: str) -> None:
    for use in (
        lambda: long_text(RELEASE, NEW_YORK, language),
        lambda: until_text(RELEASE, NEW_YORK, language),
        lambda: window_text(None, RELEASE, NEW_YORK, language),
        lambda: release_text(RELEASE, NEW_YORK, language, needs_human=False, phone=PHONE),
        lambda: list_text(["a", "b"], language),
    ):
        with pytest.raises(InvalidInput) as refused:
            use()
        assert refused.value.where == ("language",)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(MissingZone):
        short_text(datetime(2026, 9, 17, 7, 0), NEW_YORK)  # noqa: DTZ001
