"""Languages are told by script and by their commonest words."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ragkit.text import Analyzer, detect

XQUAD = Path(os.environ.get("RAGKIT_DATA", "../shared/data")) / "xquad"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat is on the mat and it is not in the house.", "en"),
        ("Der Hund schläft auf dem Sofa und die Katze ist nicht da.", "de"),
        ("El gato está en la mesa y no se quiere bajar de ella por la noche.", "es"),
        ("Le chat est sur la table et il ne veut pas descendre dans le jardin.", "fr"),
        ("Il gatto è sul tavolo e non vuole scendere della sedia", "it"),
        ("O gato está em cima da mesa e não quer descer para o chão", "pt"),
        ("De kat zit op de tafel en wil niet met het kind van de buren spelen.", "nl"),
        ("Det är en katt på bordet som inte vill gå ner och det är kallt.", "sv"),
        ("Det er ikke noe å gjøre med det som har skjedd i Norge.", "no"),
        ("Все люди рождаются свободными", "ru"),
        ("Сва људска бића рађају се слободна и једнака", "sr"),
        ("كل الناس أحرار", "ar"),
        ("همه چیز خوب است و گرچه پیر", "fa"),
        ("सभी लोग जन्म से स्वतंत्र हैं और उनके अधिकार समान हैं", "hi"),
        ("北京是中国的首都。", "zh"),
        ("東京は日本の首都です。", "ja"),
        ("모든 인간은 자유롭다", "ko"),
        ("Όλοι οι άνθρωποι", "el"),
        ("ประเทศไทย", "th"),
        ("int main() { return 0; }", "en"),
        ("12 + 30", "en"),
        ("ქართული ენა", "en"),  # no analyzer for Georgian
        ("", "en"),
    ],
)
def test_detect(text: str, language: str) -> None:
    assert detect([text]) == language
    Analyzer(language=detect([text]))


def test_the_majority_decides() -> None:
    assert detect(["Der Hund und die Katze sind nicht im Haus."] * 3 + ["北京"]) == "de"
    assert detect([]) == "en"


@pytest.mark.skipif(not XQUAD.is_dir(), reason="no data")
@pytest.mark.parametrize("language", ["en", "de", "es", "zh", "ar", "hi"])
def test_detect_xquad(language: str) -> None:
    with gzip.open(XQUAD / language / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    assert detect(texts) == language
    assert sum(detect([t]) == language for t in texts) > 0.97 * len(texts)


def test_one_word_tells_nothing() -> None:
    assert detect(["# Widget\n\npip install widget\n\nMIT"]) == "en"
