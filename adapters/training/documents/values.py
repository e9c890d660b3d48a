"""Made-up values of fields: names by faker, and dates, amounts, numbers and codes in the forms that pages have."""

from __future__ import annotations

import random
import string
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final

from faker import Faker

from adapters.training.documents.fields import WORDS

LOCALES: Final = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "da_DK", "nl_NL", "en_IN")
UNSEEN_LOCALES: Final = ("pl_PL", "pt_BR", "en_AU", "sv_SE")
"""Of names that training never shows."""

CURRENCIES: Final = (
    "{}", "{}", "{}", "${}", "€{}", "{} €", "£{}", "RM {}", "{} EUR", "USD {}", "CHF {}", "{} kr",
)  # fmt: skip
DATE_FORMS: Final = (
    "%d/%m/%Y", "%d.%m.%Y", "%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%d %b %Y", "%d-%m-%Y", "%m/%d/%Y", "%d.%m.%y",
    "%d %b %y", "%A, %d %B %Y", "%a %d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d/%m/%y",
)  # fmt: skip
TIME_FORMS: Final = ("%H:%M", "%H:%M", "%H:%M", "%I:%M %p", "%H.%M", "%I:%M%p", "%H:%M h")


class Values:
    """The values of one page. Its dates, times and amounts have one form each.

    rng: random numbers. unseen: names of UNSEEN_LOCALES instead of LOCALES.
    """

    def __init__(self, rng: random.Random, *, unseen: bool) -> None:
        self.rng = rng
        self._faker = _faker(rng.choice(UNSEEN_LOCALES if unseen else LOCALES))
        self._faker.seed_instance(rng.getrandbits(32))
        self._currency = rng.choice(CURRENCIES)
        self._comma = rng.random() < 0.12
        self._date_form, self._time_form = rng.choice(DATE_FORMS), rng.choice(TIME_FORMS)
        self._day = date(2016, 1, 1) + timedelta(rng.randrange(4200))

    def make(self, kind: str) -> str:
        """A value. kind: a generator's name, after a colon its arguments, separated by commas."""
        name, _, arguments = kind.partition(":")
        return _GENERATORS[name](self, arguments)

    def amount(self, low: float, high: float) -> str:
        """An amount of money between two, as this page writes it."""
        value = self.rng.uniform(low, high)
        if self.rng.random() < 0.4:
            value = round(value) - self.rng.choice((0.0, 0.01, 0.05, 0.1, 0.5))
        text = f"{abs(value):,.2f}"
        if self._comma:
            text = text.translate(str.maketrans(",.", ".,"))
        return self._currency.format(text)

    def person(self) -> str:
        name = f"{self._name('first')} {self._name('last')}"
        title = self.rng.random()
        return f"{self.rng.choice(('Mr', 'Ms', 'Mrs', 'Dr.'))} {name}" if title < 0.08 else name

    def clock(self, first: int = 0, last: int = 23) -> str:
        """A time of day, as this page writes it."""
        minute = self.rng.choice((0, 0, 30, 15, 45, self.rng.randrange(60)))
        hour = self.rng.randint(first, last)
        moment = f"{hour:02}:{minute:02}"
        if self._time_form == "%H:%M":
            return moment
        if "%p" in self._time_form:
            text = f"{(hour + 11) % 12 + 1}:{minute:02}"
            return text + (" " if " " in self._time_form else "") + ("AM" if hour < 12 else "PM")
        return moment.replace(":", ".") if "." in self._time_form else f"{moment} h"

    def _name(self, kind: str) -> str:
        return plain(self._faker.first_name() if kind == "first" else self._faker.last_name())

    def _any_name(self, kind: str) -> str:
        return {"person": self.person}.get(kind, lambda: self._name(kind))()

    def _date(self, arguments: str) -> str:
        day = self._day + timedelta(self.rng.randrange(-40, 90))
        if arguments == "old":
            day = day - timedelta(self.rng.randrange(6000, 28000))
        text = day.strftime(self._date_form)
        return text.removeprefix("0") if "%B" in self._date_form and self.rng.random() < 0.7 else text

    def _code(self, arguments: str) -> str:
        pattern = {
            "digits": "#" * self.rng.randint(5, 10),
            "long": self.rng.choice(("??#########??", "############", "??##########", "####-####-####")),
            "short": self.rng.choice(("??##", "?#?##?", "######", "#?#?#", "##", "?##")),
            "ean": "#############",
        }.get(arguments) or self.rng.choice(WORDS["codes"])
        return self._filled(pattern)

    def _filled(self, pattern: str) -> str:
        """The pattern with a digit for # and a capital for ?."""
        return "".join(
            self.rng.choice(string.digits)
            if c == "#"
            else self.rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ")
            if c == "?"
            else c
            for c in pattern
        )

    def _measure(self, units: str) -> str:
        number = self.rng.choice(
            (str(self.rng.randint(1, 40)), f"{self.rng.uniform(0.2, 60):.1f}", str(self.rng.randint(50, 900)))
        )
        return number + self.rng.choice((" ", "")) + self.rng.choice(units.split(","))

    def _whole(self, arguments: str) -> str:
        low, high = arguments.split(":")
        return str(self.rng.randint(int(low), int(high)))

    def _company(self) -> str:
        return self.rng.choice(WORDS["firms"]).format(self._name("last"))

    def _city(self) -> str:
        return plain(self._faker.city())

    def _street(self) -> str:
        number = self.rng.randint(1, 240)
        name = f"{self._name('last')} {self.rng.choice(WORDS['street_kinds'])}"
        return f"{number} {name}" if self.rng.random() < 0.6 else f"{name} {number}"

    def _email(self) -> str:
        first, last = (_letters(self._name(kind)) for kind in ("first", "last"))
        user = self.rng.choice((f"{first}.{last}", "info", "office", f"{first[0]}{last}", "support", first))
        return f"{user}@{self._domain()}"

    def _domain(self) -> str:
        name = _letters(self._name("last")) + self.rng.choice(("", "", "-shop", "group", "-online"))
        return name + self.rng.choice((".com", ".example", ".org", ".net", ".de", ".co.uk", ".io"))

    def _username(self) -> str:
        first, last = (_letters(self._name(kind)) for kind in ("first", "last"))
        return self.rng.choice(
            (f"{first}{self.rng.randint(1, 99)}", f"{first}_{last}", f"{first[0]}.{last}", "admin", first)
        )

    def _file(self) -> str:
        return self.rng.choice(WORDS["files"]).format(self.rng.randint(1, 300)) + self.rng.choice(
            WORDS["endings"]
        )

    def _title(self) -> str:
        first, second = self.rng.sample(WORDS["nouns"], 2)
        return self.rng.choice(WORDS["titles"]).format(first, second)

    def _error_code(self) -> str:
        number = self.rng.randint(1, 9999)
        return self.rng.choice(
            (
                f"0x8007{number:04X}",
                f"E-{number}",
                f"ERR_{number}",
                str(number),
                f"{self._filled('??')}-{number}",
                f"0x{number:08X}",
            )
        )

    def _iban(self) -> str:
        text = self._filled(
            self.rng.choice(("DE##################", "GB##NWBK##############", "FR#########################"))
        )
        return (
            " ".join(text[at : at + 4] for at in range(0, len(text), 4)) if self.rng.random() < 0.7 else text
        )

    def _range(self, low: int, high: int, unit: str) -> str:
        return f"{self.rng.randint(low, high)} {unit}"


def plain(text: str) -> str:
    """Without accents, which the reader of text mostly loses."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if c.isascii())


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalpha())


_MADE: dict[str, Faker] = {}


def _faker(locale: str) -> Faker:
    if locale not in _MADE:
        _MADE[locale] = Faker(locale)
    return _MADE[locale]


def _pick(*options: str) -> Callable[[Values, str], str]:
    return lambda values, _: values.rng.choice(options)


def _pattern(*patterns: str) -> Callable[[Values, str], str]:
    return lambda values, _: values._filled(values.rng.choice(patterns))


_GENERATORS: Final[Mapping[str, Callable[[Values, str], str]]] = MappingProxyType(
    {
        "amount": lambda v, a: v.amount(*map(float, a.split(","))),
        "bic": _pattern("????DE??", "????GB2L", "????FRPP###"),
        "booktitle": lambda v, _: v._title(),
        "card": _pattern(
            "**** **** **** ####", "XXXX-####", "xxxxxxxxxxxx####", "****####", "#### **** **** ####"
        ),
        "choice": lambda v, a: v.rng.choice(a.split(",")),
        "city": lambda v, _: v._city(),
        "code": Values._code,
        "company": lambda v, _: v._company(),
        "country": _pick(
            "Germany",
            "Italy",
            "Japan",
            "Kenya",
            "Canada",
            "Poland",
            "Spain",
            "Vietnam",
            "Brazil",
            "Ireland",
            "Portugal",
            "India",
        ),
        "date": Values._date,
        "doctor": lambda v, _: (
            f"Dr. {v._name('last')}" if v.rng.random() < 0.6 else f"Dr. {v._name('first')} {v._name('last')}"
        ),
        "duration": lambda v, _: v.rng.choice(
            (
                f"{v.rng.randint(5, 240)} min",
                f"{v.rng.randint(1, 9)} h {v.rng.randint(1, 59)} min",
                f"{v.rng.randint(2, 12)} hours",
            )
        ),
        "email": lambda v, _: v._email(),
        "errorcode": lambda v, _: v._error_code(),
        "errortext": _pick(*WORDS["errors"]),
        "event": _pick(*WORDS["events"]),
        "file": lambda v, _: v._file(),
        "film": lambda v, _: v._title(),
        "first": lambda v, _: (
            v._name("first")
            if v.rng.random() < 0.8
            else v.rng.choice((f"{v.rng.randint(1, 99):02}", v.person()))
        ),
        "flight": _pattern("?? ###", "??####", "?? ####"),
        "gate": _pattern("?##", "##", "?#"),
        "iban": lambda v, _: v._iban(),
        "int": Values._whole,
        "ip": lambda v, _: ".".join(str(v.rng.randint(1, 254)) for _ in range(4)),
        "isbn": _pattern("978-#-##-######-#", "978##########"),
        "job": _pick(*WORDS["jobs"]),
        "last": lambda v, _: v._name("last"),
        "measure": Values._measure,
        "model": _pattern("??-###", "? ####", "???##?", "?##"),
        "money": lambda v, a: v.amount(
            *{"big": (700, 9000), "small": (0.0, 0.05)}.get(a)
            or v.rng.choice(((1, 30), (5, 200), (50, 3000)))
        ),
        "month": lambda v, _: v._day.strftime(v.rng.choice(("%B %Y", "%m/%Y", "%b %Y", "%B"))),
        "password": _pattern("????####", "??##??##", "?###-?###", "########"),
        "percent": lambda v, _: v.rng.choice(
            (f"{v.rng.randint(1, 99)}%", f"{v.rng.randint(1, 99)} %", f"{v.rng.uniform(1, 99):.1f}%")
        ),
        "person": lambda v, _: v.person(),
        "phone": _pattern(*WORDS["phones"]),
        "plate": _pattern("?? ## ???", "?-?? ####", "??? ####", "#???###"),
        "platform": lambda v, _: v.rng.choice(
            (str(v.rng.randint(1, 24)), f"{v.rng.randint(1, 12)}{v.rng.choice('abc')}")
        ),
        "postcode": _pattern("#####", "?? # #??", "?## #??"),
        "product": _pick(*WORDS["products"]),
        "program": _pick(*WORDS["programs"]),
        "queue": _pattern("?###", "###", "? ##"),
        "room": _pattern("###", "?###", "#.##", "? ##"),
        "school": lambda v, _: v.rng.choice(WORDS["schools"]).format(v._name("last")),
        "score": lambda v, _: v.rng.choice(
            (
                f"{v.rng.randint(0, 7)}:{v.rng.randint(0, 7)}",
                f"{v.rng.randint(10, 100)}/100",
                str(v.rng.randint(10, 990)),
            )
        ),
        "seat": _pattern("##?", "?##", "#?", "##"),
        "street": lambda v, _: v._street(),
        "subject": _pick(*WORDS["subjects"]),
        "time": lambda v, _: v.clock(),
        "train": _pattern("ICE ###", "RE #", "IC ####", "S#", "R ####", "EC ##"),
        "url": lambda v, _: (
            v.rng.choice(("www.", "www.", "", "https://"))
            + v._domain()
            + v.rng.choice(("", "", "", "/help", "/shop"))
        ),
        "username": lambda v, _: v._username(),
        "venue": _pick(*WORDS["venues"]),
        "version": lambda v, _: ".".join(
            str(v.rng.randint(0, 25)) for _ in range(v.rng.choice((2, 3, 3, 4)))
        ),
        "wifi": lambda v, _: (
            v.rng.choice(("Guest", "Hotel", "Cafe", "Library", "Office"))
            + v.rng.choice(("-WiFi", "_5G", " Free", "Net"))
        ),
        "year": lambda v, _: str(v.rng.randint(1890, 2026)),
    }
)
"""Generators by name; the argument is what stands behind the colon."""
