"""Finds the language of a question when it is clearly not English.

Scripts other than Latin are told by their letters. In Latin script the evidence is function words: a question of four
words nearly always has two of them. Words that are English too, and particles of names ("de la"), count little, so that
English questions with foreign names, quotations and words of receipts stay English. Libraries for language
identification judge by character n-grams; at a bound that refuses next to no short English question they find less
(docs/accuracy.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from edge_app.turns.replies.function_words import ENGLISH, FOREIGN, PARTICLES

LEAST_WORDS = 3
LEAST_EVIDENCE = 2.0
"""Function words of a language, at least, for a text to be in it."""

LEAST_SHARE = 0.3
"""Of the words of the text, at least."""

OF_NAMES, OF_LETTERS = 0.5, 0.25
"""What a word counts that is a particle of names, and what a single letter counts."""

LONGEST = 2000
"""Characters that are judged."""

UNNAMED = "other"
"""A language that is not English and has no code here: its script alone is known."""

_ANY_FOREIGN = frozenset().union(*FOREIGN.values())
_LANGUAGES = {word: tuple(name for name, words in FOREIGN.items() if word in words) for word in _ANY_FOREIGN}
_LETTERS = {
    "de": "äöüß", "fr": "àâçéèêëîïôùûœ", "es": "áéíóúñ¿¡", "it": "àèéìòù", "pt": "ãõáâàéêíóôúç", "pl": "ąćęłńóśźż",
    "tr": "çğıöşü", "sv": "åäö", "cs": "áčďéěíňóřšťúůýž", "ro": "ăâîșțşţ",
}  # fmt: skip
"""Letters that English lacks. A word with one, written small, counts as one of the language's words."""

_SCRIPTS = {
    "CYRILLIC": "ru", "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "ARABIC": "ar",
    "DEVANAGARI": "hi", "GREEK": "el", "HEBREW": "he", "THAI": "th",
}  # fmt: skip
_LEAST_LETTERS = 4  # of a script whose words have several letters
_DENSE = frozenset(("zh", "ja", "ko"))

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|`[^`]*`|(?<!\w)'[^']*'(?!\w)")
_WORD = re.compile(r"[^\W\d_]+")
_CODE = re.compile(r"[{};=<>]|\w\(|::|->|^\s*(?:\$|#|//)", re.MULTILINE)
_ABOUT_LANGUAGE = re.compile(
    r"\b(?:translat\w*|english|spell\w*|grammar|mean(?:s|ing)?|pronounc\w*|language|proofread|rephrase|lyrics)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Evidence:
    """words: their number. english: the number of English ones. best, weight: the likeliest other language."""

    words: int
    english: float
    best: str
    weight: float


def foreign_language(text: str) -> str | None:
    """The language of a text as an ISO 639-1 code, or UNNAMED; None for English and in doubt.

    A text that has an English paragraph is English: the rest of it is what the question is about.
    """
    text = _QUOTED.sub(" ", text[:LONGEST])
    if _ABOUT_LANGUAGE.search(text):
        return None
    script = _script(text)
    paragraphs = [part for part in re.split(r"\n+|: ", text) if part.strip()]
    judged = [_evidence(part) for part in paragraphs]
    if any(each.english >= 2 and each.english > each.weight for each in judged):
        return None
    whole = _evidence(text)
    if script is not None:
        return script if whole.english < 2 else None
    if whole.words < LEAST_WORDS or _CODE.search(text):
        return None
    enough = whole.weight >= LEAST_EVIDENCE and whole.weight >= LEAST_SHARE * whole.words
    return whole.best if enough and whole.weight >= 2 * whole.english else None


def _evidence(text: str) -> _Evidence:
    words = _WORD.findall(text)
    small = [word.lower() for word in words]
    english = sum(1.0 for word in small if word in ENGLISH and word not in _ANY_FOREIGN)
    weights: dict[str, float] = dict.fromkeys(FOREIGN, 0.0)
    for number, word in enumerate(words):
        for language in _LANGUAGES.get(small[number], ()):
            weights[language] += _weight(small[number])
        if number == 0 or word.islower():
            for language, letters in _LETTERS.items():
                if small[number] not in FOREIGN[language] and any(
                    letter in letters for letter in small[number]
                ):
                    weights[language] += 1.0
    shared = sum(1.0 for word in small if word in ENGLISH)
    for language in weights:  # a word that is English too is evidence for both
        both = sum(1.0 for word in small if word in ENGLISH and word in FOREIGN[language])
        weights[language] -= both * 0.5
    best, weight = max(weights.items(), key=lambda item: item[1], default=("", 0.0))
    return _Evidence(len(words), english + 0.25 * (shared - english), best, weight)


def _weight(word: str) -> float:
    if len(word) == 1 and word.isascii():
        return OF_LETTERS
    return OF_NAMES if word in PARTICLES else 1.0


def _script(text: str) -> str | None:
    """The language of the script that most letters are in; None for Latin."""
    letters: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            letters["LATIN" if letter < "\u0250" else unicodedata.name(letter, "UNKNOWN").split()[0]] += 1
    total, other = sum(letters.values()), sum(n for script, n in letters.items() if script != "LATIN")
    if "CJK" in letters and (letters["HIRAGANA"] or letters["KATAKANA"]):
        letters["HIRAGANA"] += letters.pop("CJK")
    if not other:
        return None
    script, count = max(((s, n) for s, n in letters.items() if s != "LATIN"), key=lambda item: item[1])
    language = _SCRIPTS.get(script, UNNAMED)
    if language == UNNAMED and script == "LATIN":
        return None
    needed = 2 if language in _DENSE else _LEAST_LETTERS
    weighed = 2 * other if language in _DENSE else other
    if count < needed or weighed < 0.6 * (total - other + weighed):
        return None
    return language


_SENTENCES = {
    "de": "Das Modell auf diesem Gerät versteht nur Englisch.",
    "fr": "Le modèle sur cet appareil ne comprend que l'anglais.",
    "es": "El modelo de este dispositivo solo entiende inglés.",
    "it": "Il modello su questo dispositivo capisce solo l'inglese.",
    "pt": "O modelo neste dispositivo só entende inglês.",
    "pl": "Model na tym urządzeniu rozumie tylko angielski.",
    "tr": "Bu cihazdaki model yalnızca İngilizce anlıyor.",
    "ms": "Model pada peranti ini hanya memahami bahasa Inggeris.",
    "id": "Model di perangkat ini hanya memahami bahasa Inggris.",
    "nl": "Het model op dit apparaat begrijpt alleen Engels.",
    "sv": "Modellen på den här enheten förstår bara engelska.",
    "vi": "Mô hình trên thiết bị này chỉ hiểu tiếng Anh.",
    "ru": "Модель на этом устройстве понимает только английский язык.",
    "zh": "此设备上的模型只懂英语。",
    "ja": "このデバイスのモデルは英語しか理解できません。",
    "ko": "이 기기의 모델은 영어만 이해합니다.",
    "ar": "النموذج الموجود على هذا الجهاز يفهم الإنجليزية فقط.",
    "hi": "इस डिवाइस का मॉडल केवल अंग्रेज़ी समझता है।",
}


def sentence_about_language(language: str) -> str:
    """Says that the model speaks English only, in the language where it is a larger one, and in English."""
    english = "The model on this device understands English only; please ask in English."
    return f"{_SENTENCES[language]} ({english})" if language in _SENTENCES else english
