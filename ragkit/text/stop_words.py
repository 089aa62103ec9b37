"""Stop words (dropped by the index) and function words (ignored when an answer is looked for), by language.

English has the 33 words that Lucene drops, so that figures can be compared. The other lists hold
articles, pronouns, prepositions, conjunctions and auxiliaries. A language without a list drops nothing.
Words are lower case and in NFKC form, as the analyzer produces them; parts of elided forms (French l', d')
stand alone because words are cut at apostrophes.
"""

from __future__ import annotations


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NONE = _listed("")

STOP_WORDS: dict[str, frozenset[str]] = {
    "en": _listed(
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with"
    ),
    "de": _listed(
        """der die das den dem des ein eine einen einem einer eines und oder aber denn sondern auch nicht kein keine keinen in im an am
        auf aus bei beim bis durch für gegen mit nach ohne um unter über von vom vor zu zum zur als wie wenn ob dass daß weil da damit
        er sie es ich du wir ihr ihm ihn ihnen sich mich mir uns sein seine seinen seiner ihre ihren ihrer dieser diese dieses diesem
        diesen ist sind war waren wird werden wurde wurden hat haben hatte hatten kann können so nur noch dann hier dort"""
    ),
    "es": _listed(
        """el la los las lo un una unos unas y e o u ni pero sino que de del a al en con por para sin sobre entre desde hasta como cuando
        donde si no se su sus le les me te nos mi tu yo él ella ellos ellas este esta estos estas ese esa esos esas esto eso es son
        era eran fue fueron ser ha han había hay está están muy más ya también"""
    ),
    "fr": _listed(
        """le la les l un une des du de d au aux et ou où mais donc ni car que qu qui dont à en dans par pour sur sous avec sans entre
        vers chez il elle ils elles on je j tu nous vous me m te t se s lui leur leurs y ce c cet cette ces son sa ses mon ma mes ton
        ta tes notre votre nos vos ne n pas plus est sont était étaient a ont avait avaient été être avoir fut si comme"""
    ),
    "it": _listed(
        """il lo la i gli le l un uno una e ed o ma che chi cui di d del dello della dei degli delle a ad al allo alla ai agli alle da
        dal dalla dai dalle in nel nello nella nei nelle con su sul sulla sui sulle per tra fra non si ci vi ne se come io tu lui lei
        noi voi loro mi ti suo sua suoi sue questo questa questi queste quello quella è sono era erano fu furono ha hanno aveva essere
        anche più c"""
    ),
    "pt": _listed(
        """o a os as um uma uns umas e ou mas nem que de do da dos das em no na nos nas ao à aos às por pelo pela pelos pelas para com
        sem sobre entre até desde como quando onde se não eu tu ele ela nós eles elas me te lhe lhes seu sua seus suas este esta estes
        estas esse essa isso isto aquele aquela é são era eram foi foram ser está estão há tem têm também mais já"""
    ),
    "nl": _listed(
        """de het een en of maar want dus niet geen in op aan bij met van voor door naar over uit om onder tegen tot tussen zonder te als
        dan dat die dit deze wat wie er hij zij ze ik je jij u we wij hen hun hem haar zijn zich mijn ons onze is was waren wordt
        worden werd werden heeft hebben had hadden kan kunnen zal zou ook nog maar zo toen"""
    ),
    "sv": _listed(
        """en ett den det de dem och eller men utan inte i på av för från med till om vid under över efter mellan mot hos ur som att än
        när där så då jag du han hon vi ni man sig sin sitt sina hans hennes deras denna detta dessa är var vara har hade blir blev
        kan ska skulle också"""
    ),
    "ru": _listed(
        """и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по ее её мне было вот от меня о об из ему когда
        даже ну ли если или ни быть был была были него до вас нибудь уж вам ведь там потом себя ей они тут где есть для мы тебя их чем
        сам чтоб чтобы без под при этот эта это эти того тот та те над про между через после перед"""
    ),
    "ar": _listed(
        """في من على إلى الى عن مع أن ان إن لا ما لم لن هو هي هم هن هذا هذه ذلك تلك هؤلاء التي الذي الذين اللذين كان كانت كانوا يكون تكون
        قد ثم أو او و أم بل لكن حتى إذا اذا كل بعض غير بين بعد قبل عند منذ حول دون ضد كما لقد أي أنه أنها انه انها إنه إنها به بها فيه
        فيها له لها لهم منه منها عليه عليها وهو وهي وقد وكان وكانت ولا وفي ومن"""
    ),
    "hi": _listed(
        """का की के को में से पर ने है हैं था थी थे और या एक यह ये वह वे इस उस इन उन इसके उसके उनके इसकी उसकी उनकी इसका उसका उनका अपने
        अपनी अपना कि जो जिस जिसे जिसके भी ही तो तक लिए साथ द्वारा कर करने करता करते करती किया किए गया गई गए हो होता होते होती हुआ हुई
        हुए रहा रही रहे जाता जाती जाते नहीं न तथा एवं हम मैं तुम आप कुछ बाद"""
    ),
}

_MORE: dict[str, frozenset[str]] = {
    "en": _listed(
        """what which who whom whose when where why how do does did doing done can could should would shall may might must have has had
        having i you he she we me him her us them my your his its our mine yours hers ours theirs myself yourself himself herself
        itself ourselves themselves about above after again against all also am any because been before being below between both down
        during each few from further here just more most much many nor off once only other others out over own per same since so some
        than those through too under until up upon very via were while within without ll re ve s t d m don doesn didn isn aren wasn
        weren won wouldn couldn shouldn tell give please"""
    ),
    "de": _listed(
        """was wer wen wem wessen wann wo woher wohin warum wieso weshalb weswegen wieviel wieviele viel viele welche welcher welches
        welchen welchem worin woran worauf womit wodurch wofür wovon woraus mein meine dein deine unser unsere euer eure man alle
        alles jeder jede jedes manche einige etwas nichts mehr sehr schon immer nie hatte habe hast bin bist seid sollte sollen soll
        muss müssen musste darf dürfen mag will wollen wollte würde würden könnte gibt gab tun tut tat getan während zwischen seit
        wegen trotz ohne bitte jener jene jenes"""
    ),
    "es": _listed(
        """qué quién quiénes cuál cuáles cuándo dónde cómo cuánto cuánta cuántos cuántas porqué quien quienes cual cuales cuanto cuanta
        cuantos cuantas adonde adónde nosotros nosotras vosotros usted ustedes mis tus nuestro nuestra nuestros nuestras suyo suya
        aquel aquella aquellos aquellas todo toda todos todas otro otra otros otras algo alguno alguna algunos algunas nada ningún
        ninguna cada mucho mucha muchos muchas poco pocos tan tanto menos solo sólo sido siendo sería serían estaba estaban tiene
        tienen tenía tuvo hace hacen hizo hacer puede pueden podía debe deben durante contra según tras ante bajo porque aunque
        mientras pues así aún"""
    ),
    "fr": _listed(
        """quel quelle quels quelles quoi quand comment pourquoi combien lequel laquelle lesquels lesquelles auquel duquel moi toi eux
        cela ça ceci celui celle ceux celles tout toute tous toutes autre autres même mêmes aucun aucune chaque plusieurs quelque
        quelques rien personne très trop peu beaucoup moins aussi encore déjà toujours jamais ici là alors ainsi puis parce puisque
        lorsque tandis quoique bien fait font faire faisait peut peuvent pouvait doit doivent devait serait seraient sera seront ai as
        avons avez suis es sommes êtes étant depuis pendant avant après contre selon malgré afin jusque"""
    ),
}


def stop_list(language: str) -> frozenset[str]:
    """The stop words of a language by its ISO 639-1 code; empty for a language without a list.

    >>> len(stop_list("en")), len(stop_list("ja"))
    (33, 0)
    """
    return STOP_WORDS.get(language, _NONE)


def function_words(language: str) -> frozenset[str]:
    """The stop words of a language and its question words, auxiliaries and pronouns; the stop words alone where no wider list exists.

    >>> "who" in function_words("en"), "who" in stop_list("en")
    (True, False)
    """
    return stop_list(language) | _MORE.get(language, _NONE)
