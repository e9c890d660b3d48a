"""Numbers, dates and names in a normal form, which is equal for different spellings of one value."""

from __future__ import annotations

import datetime
import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Final

_AMOUNT: Final = re.compile(
    r"(?:rm|usd|eur|gbp|[$€£])?\s*([-+]?\d+(?:,\d{3})*(?:\.\d+)?|[-+]?\.\d+)\s*(?:%|rm|usd|eur|[€£])?\.?",
    re.IGNORECASE,
)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})\s*[-/. ]\s*(\d{1,2})\s*[-/. ]\s*(\d{4}|\d{2})")
_YEAR_FIRST: Final = re.compile(r"(\d{4})\s*[-/. ]?\s*(\d{2})\s*[-/. ]?\s*(\d{2})")
_NAMED_MONTH: Final = re.compile(r"(\d{1,2})\s*[-/. ,]*\s*([a-z]{3})[a-z]*\.?\s*[-/. ,']*\s*(\d{4}|\d{2})")
_MONTH_FIRST: Final = re.compile(r"([a-z]{3})[a-z]*\.?\s+(\d{1,2})\s*,?\s+(\d{4}|\d{2})")
_DATES: Final = (_YEAR_FIRST, _DAY_FIRST, _NAMED_MONTH, _MONTH_FIRST)


def as_number(text: str) -> Decimal | None:
    """The number in a text, for example 12.5 for "12.50", "RM 12.50" and "12.50%", and 1250 for "1,250".

    None when the text is not a single number.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return Decimal(match[1].replace(",", ""))
    except InvalidOperation:
        return None


def as_date(text: str) -> datetime.date | None:
    """The date in a text. 14/03/2018, 14-3-18, 14 MAR 2018, March 14, 2018 and 2018-03-14 are the same date.

    The day comes before the month when both are numbers. Years of two digits are of this century. None when the text
    is not a single date.
    """
    plain = text.lower().strip(" .()[]")
    if match := _YEAR_FIRST.fullmatch(plain):
        return _date(match[1], match[2], match[3])
    if match := _DAY_FIRST.fullmatch(plain):
        return _date(match[3], match[2], match[1])
    if match := _NAMED_MONTH.fullmatch(plain):
        return _date(match[3], match[2], match[1])
    if match := _MONTH_FIRST.fullmatch(plain):
        return _date(match[3], match[1], match[2])
    return None


def dates_in(text: str) -> list[str]:
    """What stands in a text that `as_date` reads, in its order, each once. None begins within a number."""
    plain, found, position = text.lower(), list[str](), 0
    while position < len(plain) == len(text):
        end = position + 1
        if plain[position].isalnum() and not plain[max(position - 1, 0) : position].isdigit():
            matches = (each.match(plain, position) for each in _DATES)
            end = max((each.end() for each in matches if each and as_date(each[0])), default=end)
        if end > position + 1:
            found.append(text[position:end])
        position = end
    return list(dict.fromkeys(found))


def numbers_in(text: str) -> list[str]:
    """The numbers in a text, in its order, each once, without the sign of a currency."""
    return list(dict.fromkeys(re.findall(r"(?<![\d.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\d]|[.,]\d)", text)))


def as_name(text: str) -> str:
    """The letters and digits of a text, without case and accents. "B&W Co., Ltd." and "b & w co ltd" are equal."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(character for character in plain if character.isalnum())


def _date(year: str, month: str, day: str) -> datetime.date | None:
    number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month) if month.isdigit() else 0
    try:
        return datetime.date(int(year) + (2000 if len(year) == 2 else 0), number, int(day))
    except ValueError:
        return None
