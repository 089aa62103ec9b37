"""Which language texts are written in: by script first, then by the commonest words of each language.

Small and deterministic: it decides between the languages that have an analyzer, over a sample of the
texts, and says "en" when nothing speaks for another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ragkit.text.words import words

SAMPLE_TEXTS, SAMPLE_CHARACTERS = 200, 2000  # texts that are looked at, and how much of each

_SCRIPTS = {
    "han": "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af",
    "kana": "\u3041-\u3096\u30a1-\u30fa",
    "hangul": "\u1100-\u11ff\uac00-\ud7a3",
    "arabic": "\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff",
    "devanagari": "\u0904-\u0939\u0958-\u0961",
    "cyrillic": "\u0400-\u0481\u048a-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "armenian": "\u0531-\u0556\u0561-\u0587",
    "hebrew": "\u05d0-\u05f2",
    "tamil": "\u0b83-\u0bb9",
    "thai": "\u0e01-\u0e2e",
    "latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
}
_LETTERS = {script: re.compile(f"[{ranges}]+") for script, ranges in _SCRIPTS.items()}
_WEIGHT = {"han": 3.0, "kana": 2.0, "hangul": 2.0}  # letters that one character of a denser script stands for

# Letters that tell a language from the usual one of its script.
_OTHERWISE = {
    "arabic": ("ar", "fa", re.compile("[پچژگ]"), 0.01),
    "cyrillic": ("ru", "sr", re.compile("[ђјљњћџЂЈЉЊЋЏ]"), 0.01),
    "hebrew": ("none", "yi", re.compile("[\u05f0-\u05f2]|[\u05d0\u05d9]\u05bc?[\u05b7\u05b8]"), 0.003),
}
_ONLY = {"hangul": "ko", "greek": "el", "armenian": "hy", "tamil": "ta", "thai": "th"}

# The commonest short words of running text, about twenty each, so that no language wins by the length of its list.
_PROFILES = {
    "en": "the of and to in a is that for it was as with on be by at this from are",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als",
    "es": "de la que el en y los se del las un por con una su para es al lo como",
    "fr": "de la le et les des en un du une que est pour qui dans par sur au pas avec",
    "it": "di e il la che in un per è del una con non della si da le sono dei al",
    "pt": "de a o que e do da em um para com não uma os no se na por mais as",
    "nl": "de het een van en in is op te dat zijn met voor aan door als er niet bij ook",
    "sv": "och i att det som en på är av för med till den har de inte om ett var från",
    "da": "og i at det er en til af på for med den der ikke de som et har var blev",
    "no": "og i det er på en som av for til med å har ikke de den et fra ble seg",
    "fi": "ja on ei että oli se hän mutta myös kun joka ovat mukaan kuin sen tai jos vain niin hänen",
    "pl": "w i na z się do nie to jest że o po od przez jako oraz był za dla jego",
    "cs": "a v se na je že s z do o i jako pro by ve který jsou po byl také",
    "ro": "de și în a la cu o pe din că nu care este mai un pentru sau au prin fost",
    "hu": "a az és hogy nem is egy volt meg ez de csak mint vagy már még ki el azt ha",
    "tr": "ve bir bu için ile de da olarak olan çok daha en gibi kadar sonra ne ise var o oldu",
    "id": "yang dan di dari untuk dengan pada adalah ini dalam itu oleh sebagai tidak ke akan juga atau telah dapat",
    "ca": "de la i el que a en els per les un del amb una és al es va com no",
    "ne": "छ र को मा ले पनि हो यो थियो गर्न भएको गरेको छन् एक रूपमा लागि नेपाल भने गर्ने हुन्छ",
    "hi": "के में की है का से और को पर ने कि एक यह हैं भी था लिए इस नहीं कर",
}
_LATIN = tuple(code for code in _PROFILES if code not in ("ne", "hi"))
_ENOUGH = 0.08  # share of profile words in running text of a language is 0.2 to 0.4; of a foreign one below this

_DIFFERENT = 2  # one word alone tells nothing: the licence MIT is German for "with"


def detect(texts: Sequence[str]) -> str:
    """The ISO 639-1 code of the language that most of the texts are written in, as `Analyzer` takes it.

    Looks at up to 200 texts, evenly spread, and at the first 2000 characters of each.

    >>> detect(["Der Hund schläft auf dem Sofa und die Katze ist nicht im Haus."])
    'de'
    >>> detect(["東京は日本の首都です。"]), detect(["北京是中国的首都。"]), detect([])
    ('ja', 'zh', 'en')
    """
    step = max(1, len(texts) // SAMPLE_TEXTS)
    sample = "\n".join(text[:SAMPLE_CHARACTERS] for text in texts[::step][:SAMPLE_TEXTS])
    letters = {script: sum(map(len, pattern.findall(sample))) for script, pattern in _LETTERS.items()}
    if letters["kana"] > 0.1 * (letters["han"] + letters["kana"]):
        letters["kana"] += letters.pop("han")
    script = max(letters, key=lambda s: letters[s] * _WEIGHT.get(s, 1.0))
    if not letters[script] or script == "latin":
        return _vote(sample, _LATIN) or "en"
    if script in ("han", "kana"):
        return "zh" if script == "han" else "ja"
    if script == "devanagari":
        return _vote(sample, ("hi", "ne")) or "hi"
    if script in _OTHERWISE:
        usual, other, marks, share = _OTHERWISE[script]
        return other if len(marks.findall(sample)) > share * letters[script] else usual
    return _ONLY[script]


def _vote(sample: str, candidates: Iterable[str]) -> str:
    """The candidate whose profile covers most words of the sample; "" if none covers enough.

    A word of several profiles counts for each in part, so that close relatives are told apart by what differs.
    """
    profiles = {code: _PROFILES[code].split() for code in candidates}
    shared: dict[str, list[str]] = {}
    for code, profile in profiles.items():
        for word in profile:
            shared.setdefault(word, []).append(code)
    found = [w for w in words(sample) if not w.isdigit()]
    votes, covered = dict.fromkeys(profiles, 0.0), dict.fromkeys(profiles, 0)
    different: dict[str, set[str]] = {code: set() for code in profiles}
    for word in found:
        for code in shared.get(word, ()):
            votes[code] += 1 / len(shared[word])
            covered[code] += 1
            different[code].add(word)
    enough = [code for code in profiles if len(different[code]) >= _DIFFERENT and covered[code] >= _ENOUGH * len(found)]
    return max(enough, key=votes.__getitem__, default="")
