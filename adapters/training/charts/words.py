"""The words in charts. Those of the unseen split occur in no training chart, except for the months."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ChartWords:
    """The words that a chart may contain. categories, periods: noun -> words; periods have an order."""

    categories: dict[str, tuple[str, ...]]
    periods: dict[str, tuple[str, ...]]
    titles: tuple[str, ...]
    series: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAINING_WORDS: Final = ChartWords(
    categories={
        "fruit": _words("Apples Pears Plums Grapes Lemons Mangos Figs Cherries Bananas Melons"),
        "country": _words("France Spain Italy Poland Norway Kenya Brazil Japan Chile Canada Egypt India"),
        "team": _words("Sales Support Design Legal Finance Research Marketing Logistics"),
        "animal": _words("Dogs Cats Horses Sheep Goats Rabbits Ducks Cows"),
        "product": _words("Phones Tablets Laptops Cameras Printers Screens Speakers Watches"),
        "city": _words("Paris Rome Oslo Madrid Cairo Tokyo Lima Delhi Boston Dublin"),
        "sport": _words("Tennis Football Rowing Cycling Golf Hockey Boxing Judo"),
        "group": _words("A B C D E F G H"),
    },
    periods={
        "month": _words("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
        "year": tuple(str(year) for year in range(2008, 2021)),
        "day": _words("Mon Tue Wed Thu Fri Sat"),
        "quarter": _words("Q1 Q2 Q3 Q4"),
        "week": tuple(f"W{number}" for number in range(1, 15)),
    },
    titles=(
        *(
            "Sales",
            "Revenue",
            "Visitors",
            "Votes",
            "Orders",
            "Output",
            "Members",
            "Exports",
            "Profit",
            "Units",
        ),
        *(
            "Sales by region",
            "Monthly output",
            "Survey results",
            "Market share",
            "Yearly report",
            "Total cost",
        ),
    ),
    series=("Plan", "Actual", "Online", "Shop", "North", "South", "Men", "Women"),
)
UNSEEN_WORDS: Final = ChartWords(
    categories={
        "vegetable": _words("Carrots Onions Beans Peas Leeks Beets Spinach Potatoes"),
        "river": _words("Rhine Nile Danube Thames Volga Seine Ganges Congo"),
        "material": _words("Steel Wood Glass Stone Paper Cotton Copper Plastic"),
        "language": _words("Latin Greek Hindi Welsh Dutch Danish Korean Swahili"),
        "planet": _words("Venus Mars Saturn Earth Neptune Uranus Mercury Jupiter"),
    },
    periods={
        "year": tuple(str(year) for year in range(1990, 2006)),
        "month": _words("January February March April May June July August"),
        "round": tuple(f"R{number}" for number in range(1, 13)),
    },
    titles=(
        "Harvest",
        "Rainfall",
        "Demand",
        "Stock levels",
        "Energy use",
        "Travel time",
        "Budget",
        "Test scores",
    ),
    series=("Old", "New", "East", "West", "Day", "Night"),
)
