"""The language of a question: foreign questions are found, and English ones are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.turns.replies.question_language import UNNAMED, foreign_language, sentence_about_language

FOREIGN = [
    ("de", "Was ist auf diesem Bild zu sehen?"),
    ("de", "Wie viele Personen sind auf dem Foto?"),
    ("de", "Welche Farbe hat das Auto?"),
    ("de", "Was kostet der Kaffee auf dem Beleg?"),
    ("de", "Kannst du mir das bitte erklären?"),
    ("de", "Wer hat die Glühbirne erfunden?"),
    ("fr", "Qu'est-ce qu'on voit sur cette photo ?"),
    ("fr", "De quelle couleur est la voiture ?"),
    ("fr", "Quel est le montant total du ticket ?"),
    ("fr", "Peux-tu m'expliquer cela simplement ?"),
    ("fr", "Qui a inventé l'ampoule électrique ?"),
    ("es", "¿Qué se ve en esta foto?"),
    ("es", "¿Cuántas personas hay en la imagen?"),
    ("es", "¿De qué color es el coche?"),
    ("es", "¿Cuál es el total de la cuenta?"),
    ("es", "¿Puedes explicarme esto, por favor?"),
    ("es", "¿Quién inventó la bombilla eléctrica?"),
    ("it", "Che cosa si vede in questa foto?"),
    ("it", "Quante persone ci sono nell'immagine?"),
    ("it", "Di che colore è la macchina?"),
    ("it", "Qual è il totale dello scontrino?"),
    ("it", "Puoi spiegarmi questo, per favore?"),
    ("it", "Chi ha inventato la lampadina?"),
    ("pt", "O que se vê nesta foto?"),
    ("pt", "Quantas pessoas há na imagem?"),
    ("pt", "De que cor é o carro?"),
    ("pt", "Qual é o total da conta?"),
    ("pt", "Você pode me explicar isso, por favor?"),
    ("pt", "Quem inventou a lâmpada elétrica?"),
    ("pl", "Co widać na tym zdjęciu?"),
    ("pl", "Ile osób jest na obrazku?"),
    ("pl", "Jakiego koloru jest ten samochód?"),
    ("pl", "Jaka jest łączna kwota na paragonie?"),
    ("pl", "Czy możesz mi to wyjaśnić?"),
    ("pl", "Kto wynalazł żarówkę i kiedy?"),
    ("tr", "Bu fotoğrafta ne görünüyor?"),
    ("tr", "Resimde kaç kişi var acaba?"),
    ("tr", "Arabanın rengi ne acaba?"),
    ("tr", "Fişin toplam tutarı ne kadar?"),
    ("tr", "Bunu bana açıklayabilir misin lütfen?"),
    ("tr", "Ampulü ilk kim icat etti?"),
    ("ms", "Apa yang terdapat dalam gambar ini?"),
    ("ms", "Berapa ramai orang dalam gambar ini?"),
    ("ms", "Apakah warna kereta ini?"),
    ("ms", "Berapakah jumlah keseluruhan resit ini?"),
    ("ms", "Bolehkah anda terangkan perkara ini?"),
    ("ms", "Siapakah yang mencipta mentol lampu?"),
    ("ru", "Что видно на этой фотографии?"),
    ("ru", "Сколько людей на этой картинке?"),
    ("ru", "Какого цвета эта машина?"),
    ("ru", "какая общая сумма в чеке"),
    ("ru", "Объясни мне это, пожалуйста"),
    ("ru", "Почему небо такое голубое?"),
    ("zh", "这张照片里有什么东西？"),
    ("zh", "图片中有多少个人？"),
    ("zh", "这辆车是什么颜色的？"),
    ("zh", "收据上的总金额是多少？"),
    ("zh", "请给我写一首关于秋天的短诗"),
    ("zh", "法国的首都是哪里？"),
    ("ar", "ماذا يوجد في هذه الصورة؟"),
    ("ar", "كم عدد الأشخاص في الصورة؟"),
    ("ar", "ما هو لون هذه السيارة؟"),
    ("ar", "ما هو المبلغ الإجمالي للفاتورة؟"),
    ("ar", "اكتب لي قصيدة قصيرة عن الخريف"),
    ("ar", "ما هي عاصمة فرنسا؟"),
    ("hi", "इस तस्वीर में क्या है?"),
    ("hi", "तस्वीर में कितने लोग हैं?"),
    ("hi", "इस कार का रंग क्या है?"),
    ("hi", "रसीद पर कुल राशि कितनी है?"),
    ("hi", "मुझे शरद ऋतु पर एक छोटी कविता लिखो"),
    ("hi", "फ्रांस की राजधानी क्या है?"),
    ("nl", "Wat is er op deze foto te zien?"),
    ("nl", "Hoeveel mensen staan er op de afbeelding?"),
    ("sv", "Vad ser man på den här bilden?"),
    ("sv", "Hur många personer finns på bilden?"),
    ("id", "Apa yang terlihat pada foto ini?"),
    ("id", "Berapa jumlah orang dalam gambar ini?"),
    ("vi", "Trong bức ảnh này có gì?"),
    ("vi", "Có bao nhiêu người trong hình?"),
    ("cs", "Co je vidět na této fotografii?"),
    ("cs", "Kolik lidí je na obrázku?"),
    ("ro", "Ce se vede în această fotografie?"),
    ("ro", "Câte persoane sunt în imagine?"),
    ("ja", "この写真には何が写っていますか？"),
    ("ko", "이 사진에 무엇이 보이나요?"),
    ("el", "Τι φαίνεται σε αυτή τη φωτογραφία;"),
    ("he", "מה רואים בתמונה הזאת?"),
    ("th", "ในภาพนี้มีอะไรบ้าง"),
    ("ru", "Що видно на цій фотографії?"),
]
CLOSE = {
    frozenset(("es", "pt")),
    frozenset(("ms", "id")),
    frozenset(("cs", "pl")),
    frozenset(("es", "it")),
    frozenset(("pt", "it")),
}
"""Languages that a short question cannot always tell apart."""

ENGLISH = [
    "Was ist TOTAL?",
    "Translate good morning into German",
    'How do you say "Guten Morgen, wie geht es Ihnen?" in English?',
    "Translate this into English: Ich bin müde und möchte schlafen",
    'Translate "¿Dónde está la biblioteca?" to English',
    "What does Schadenfreude mean?",
    "What does 你好 mean?",
    "Correct this sentence: Ich habe gestern nach Hause gegangen",
    'What language is "merci beaucoup mon ami"?',
    "Who is Oscar de la Renta?",
    "Oscar de la Renta dresses",
    "Rio de la Plata length",
    "Did Gabriel García Márquez write Cien años de soledad?",
    "Los Angeles to San Francisco distance",
    "Is this Restoran Sri Mahligai?",
    "PERNIAGAAN ZHENG HUI total",
    "Das Boot plot",
    "Also sprach Zarathustra composer",
    "La La Land director",
    "déjà vu meaning",
    "What is a café au lait?",
    "War and Peace author",
    "Was it paid in cash?",
    "SELECT name FROM users WHERE id = 3;",
    "for i in range(10): print(i)",
    "const x = async () => await fetch(url)",
    "import numpy as np",
    "ls -la | grep foo",
    "git rebase -i HEAD~3",
    "α + β = ?",
    "E = mc²",
    "2 + 2",
    "lol wat is tht",
    "hw many ppl r in it",
    "tot amt pls",
    "GST amt?",
    "SDN BHD name",
    "esa x86 v3",
    "Lorem ipsum dolor sit amet",
    "hola",
    "ciao bella",
    "?",
    "👍",
]


@pytest.mark.parametrize(("language", "question"), FOREIGN)
def test_a_question_in_another_language_is_found(language: str, question: str) -> None:
    found = foreign_language(question)
    assert found == language or frozenset((found, language)) in CLOSE


@pytest.mark.parametrize("question", ENGLISH)
def test_english_with_names_code_typos_and_quotations_is_english(question: str) -> None:
    assert foreign_language(question) is None


def test_an_english_request_about_a_foreign_text_is_english() -> None:
    letter = "Sehr geehrte Damen und Herren,\nich habe Ihre Rechnung nicht erhalten und bitte um eine Kopie."
    assert foreign_language(f"Summarise this letter for me:\n\n{letter}") is None
    assert foreign_language(letter) == "de"


def test_a_script_without_a_name_here_is_another_language() -> None:
    assert foreign_language("இந்த படத்தில் என்ன இருக்கிறது?") == UNNAMED


def test_the_sentence_is_in_the_language_and_in_english() -> None:
    english = sentence_about_language(UNNAMED)
    assert "English only" in english
    german = sentence_about_language("de")
    assert german.startswith("Das Modell") and english in german


@given(st.text())
def test_any_text_has_an_answer(text: str) -> None:
    assert foreign_language(text) is None or sentence_about_language(foreign_language(text) or "")
