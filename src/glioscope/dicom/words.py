"""Words of series descriptions, in the languages of the consoles: what a series is, and whether contrast was given.

Descriptions are free text typed by radiographers. `plain` takes away accents, case and punctuation, so that one pattern
meets "T2_FLAIR_TRA", "t2 flair tra" and "T2-Flair tra". The patterns cover English, German, French, Italian, Spanish,
Portuguese, Dutch, Polish, Russian and Chinese, and the vendors' own names.
"""

import re
import unicodedata

OTHER = {
    "localiser": r"loc|locali[sz]er|localis\w*|scout|survey|topogram\w*|plan|planning|pilot|smart ?brain|aahead\w*"
    r"|3 ?pl|3 ?plane|reperage|localizador|localizzatore|ubersicht|定位\w*|локал\w*",
    "diffusion": r"dwi\w*|dti\w*|diff\w*|dif|difu[sz]\w*|adc\w*|d?adc|trace\w*|tensor|tracew|colfa|fa map|dki"
    r"|ivim|b ?1000|b ?800|b ?0|диффуз\w*|弥散\w*|扩散\w*",
    "perfusion": r"perf\w*|dsc|dce|p?c?asl|r?cbv|r?cbf|mtt|tmax|pwi|ttp|перфуз\w*|灌注\w*",
    "functional": r"bold\w*|fmri|rest|resting|task",
    "susceptibility": r"swi\w*|swan|swip|swmag|venobold|t2 ?star|t2s|t2 ?ffe|hemo\w*|haemo\w*|mip|minip|phase"
    r"|pha|qsm|r2s?",
    "angiography": r"tof\w*|mra|angio\w*|mrv|pc|pca|venog\w*|twist|tricks|ce ?mra|ангио\w*",
    "spectroscopy": r"mrs|svs|csi|press|spectro\w*|спектро\w*",
    "calibration": r"field ?map\w*|b0 ?map\w*|b1 ?map\w*|shim|calib\w*|asset|coil ?survey|ref ?scan|sense ?ref\w*|cal",
    "subtraction": r"sub|subtr\w*|subtraktion|soustraction|sottrazione",
    "proton density": r"pd|pdw|dp|proton|rho",
    "fat image": r"stir|dixon ?f|fat ?only",
    "map": r"map|mapping|carte|mappa|karte|t1map|t2map|parametric|synthetic|syri|magic",
    "inner ear, orbit or spine": r"ciss|fiesta|b ?ffe|trufi\w*|iac|kht|felsenbein|orbit\w*|spine|cerv\w*|lumb\w*"
    r"|hws|lws|bws|sella|hypoph\w*|pituit\w*",
    "inversion image": r"inv ?1|inv ?2|mp2rage inv\w*|dir",
}
"""Kind of a series that is none of the four sequences, to the words that tell it."""

FLAIR = r"flair\w*|t2 ?f|tirm|dark ?fluid|da ?fl|fluid|vista ?flair|压水\w*|水抑制"
T2 = r"t2\w{0,4}"
T1 = r"t1\w{0,4}|mp ?rage\w*|bravo\w*|f?spgr\w*|tfl\w*|tfe|3d ?tfe|3d ?ffe|vibe\w*|thrive\w*|mp2rage|memprage|ir ?fspgr"

_AGENTS = r"gad\w*|gd|dotarem|magnevist|omniscan|prohance|multihance|clariscan|primovist|dtpa"
WITH_CONTRAST = (
    rf"{_AGENTS}|post|post(?:{_AGENTS}|contrast\w*|km)|ce|t1ce|t1c|t1gd|kl|mdc|contrast\w*|kontrast\w*|contraste|contrasto|km|nach|apres|iv|inj\w*"
    r"|enh\w*|con|plus ?c|с ?контраст\w*|контраст\w*|增强\w*|造影\w*"
)
WITHOUT_CONTRAST = (
    rf"pre|pre ?(?:{_AGENTS}|contrast\w*|contraste|km)|native?|nativo|nativ\w*|plain|non ?contrast|unenhanced|baseline"
    r"|(?:ohne|without|w ?o|no|sans|sin|senza|sem|bez|zonder|без|nc) ?"
    rf"(?:{_AGENTS}|contrast\w*|contraste|contrasto|kontrast\w*|km|mdc|iv|inj\w*|c|контраст\w*)|wo|平扫\w*"
)

_KEPT = re.compile(
    r"t[12]\w{0,2}|[123]d|\d{1,2}mm|ax\w{0,3}|tra|trans|sag|cor|obl|iso|se|tse|fse|gre|ir|fs|fatsat|spair|spir|clear|flair"
    r"|tirm|dark|fluid|mprage|mp2rage|bravo|spgr|fspgr|tfl|tfe|ffe|vibe|space|cube|vista|blade|propeller|gd|gado|km|ce|pre"
    r"|post|contrast|kontrast|contraste|contrasto|nativ|native|dwi|dti|adc|trace|ep2d|epi|diff|perf|dsc|dce|asl|swi|swan"
    r"|tof|mra|loc|localizer|localiser|scout|survey|pd|stir|bold|mip|mpr|sub|head|brain|cerebro|cerveau|kopf|schadel|w|wo"
)


def plain(text: str) -> str:
    """Return `text` in small letters, without accents, its words set apart by single spaces.

    "+C" and "C+" become "plus c", "-C" and "C-" become "no c", "T2*" becomes "t2star".
    """
    text = re.sub(r"(?i)t2\s?\*", " t2star ", text)
    text = re.sub(r"(?i)(?:\+\s?c\b|\bc\s?\+)", " plus c ", text)
    text = re.sub(r"(?i)(?:(?<=\s)-\s?c\b(?!\w)|\bc\s?-(?=\s|$))", " no c ", text)
    text = re.sub(r"\+", " plus ", text)
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).casefold()
    return " ".join(re.findall(r"[^\W_]+", text))


def find(pattern: str, text: str) -> str:
    """Return the first words of `text` (as `plain` returns it) that match `pattern` whole, or nothing."""
    match = re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text)
    return match[0] if match else ""


def known_words(description: str) -> str:
    """Return the words of a series description that are about the scan; others might name the patient."""
    return " ".join(word.upper() for word in plain(description).split() if _KEPT.fullmatch(word))
