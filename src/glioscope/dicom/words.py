"""Words of series descriptions, in the languages of the consoles: what a series is, and whether contrast was given.

Descriptions are free text typed by radiographers. `plain` takes away accents, case and punctuation, so that one pattern
meets "T2_FLAIR_TRA", "t2 flair tra" and "T2-Flair tra". The patterns cover English, German, French, Italian, Spanish,
Portuguese, Dutch, Polish, Russian and Chinese, and the vendors' own names.
"""

import re
import unicodedata

OTHER = {
    "localiser": r"loc|locali[sz]er|localis\w*|scout|survey|topogram\w*|smart ?brain|aahead\w*"
    r"|3 ?pl|3 ?plane|reperage|localizador|localizzatore|ubersicht|定位\w*|локал\w*",
    "diffusion": r"dwi\w*|dti\w*|diff\w*|difu[sz]\w*|adc\w*|d?adc|trace\w*|tensor|tracew|colfa|fa map|dki"
    r"|ivim|b ?1000|b ?800|b ?0|диффуз\w*|弥散\w*|扩散\w*",
    "perfusion": r"perf\w*|dsc|dce|p?c?asl|r?cbv|r?cbf|mtt|tmax|pwi|ttp|перфуз\w*|灌注\w*",
    "functional": r"bold\w*|fmri",
    "susceptibility": r"swi\w*|swan|swip|swmag|venobold|t2 ?star|t2s|t2 ?ffe|hemo\w*|haemo\w*|mip|minip|qsm|r2s",
    "angiography": r"tof\w*|mra|angio\w*|mrv|pca|venog\w*|twist|tricks|ce ?mra|ангио\w*",
    "spectroscopy": r"mrs|svs|spectro\w*|спектро\w*",
    "calibration": r"field ?map\w*|b0 ?map\w*|b1 ?map\w*|shim|calib\w*|coil ?survey|ref ?scan|sense ?ref\w*",
    "subtraction": r"sub|subtr\w*|subtraktion|soustraction|sottrazione",
    "fat image": r"stir|dixon ?f|fat ?only",
    "map": r"map|mapping|carte|mappa|karte|t1map|t2map|parametric|synthetic|syri|magic",
    "inner ear, orbit or spine": r"ciss|fiesta|b ?ffe|trufi\w*|iac|kht|felsenbein|orbit\w*|spine|cerv|cervic\w*|lumb\w*"
    r"|hws|lws|bws|sella|hypoph\w*|pituit\w*",
    "inversion image": r"inv ?1|inv ?2|mp2rage inv\w*|dir",
}
"""Kind of a series that is none of the four sequences, to the words that tell it."""

DOUBTFUL = {
    "localiser": r"plan|planning|pilot",
    "diffusion": r"dif",
    "functional": r"rest|resting|task",
    "susceptibility": r"phase|pha|r2",
    "angiography": r"pc",
    "spectroscopy": r"csi|press",
    "calibration": r"asset|cal",
    "proton density": r"pd|pdw|dp|proton|rho",
}
"""The same, by words that mean something else as often: the planning of radiotherapy, post contrast, an acceleration,
the echo of a pair. They count only where no weighting is named that the times agree with."""

HEAD = (
    r"head\w*|brain\w*|skull|kopf|schadel|h?irn\w*|gehirn|neuro\w*|cran\w*|crane|tete|cerv(?:eau|el|ell)\w*|cerebr\w*"
    r"|cabeza|cabeca|testa|encephal\w*|encefal\w*|hoofd|hersen\w*|g[lł]ow\w*|mozg\w*|голов\w*|мозг\w*|头\w*|脑\w*|颅\w*"
)
ELSEWHERE = (
    r"neck|hals\w*|cou|cuello|collo|pescoco|nek|szyj\w*|ше[яюи]|颈\w*"
    r"|\w*spine|spinal|rachis|wirbel\w*|[clt] ?spine|colonna|columna|coluna|wervel\w*|kregos[lł]up\w*|позвон\w*|脊\w*"
    r"|abdom\w*|bauch|buik|brzuch\w*|живот\w*|брюш\w*|腹\w*|liver|leber|foie|higado|fegato|kidney|niere\w*|pancrea\w*"
    r"|chest|thora\w*|torace|torax|lung\w*|heart|herz|cardiac|coeur|cuore|corazon|груд\w*|胸\w*|breast|mamm\w*|brust"
    r"|pelvi\w*|becken|bassin|bacino|miednic\w*|таз|盆\w*|prostat\w*|uterus|rectum|bladder"
    r"|knee|knie|genou|rodilla|ginocchio|shoulder|schulter|epaule|hombro|spalla|hip|huft\w*|wrist|ankle|foot|elbow"
    r"|extremit\w*|thigh|femur"
)
"""Parts of the body, in descriptions and in BodyPartExamined."""

FLAIR = r"flair\w*|t2 ?f|tirm|dark ?fluid|da ?fl|fluid|vista ?flair|压水\w*|水抑制"
T2 = r"t2\w{0,4}"
T1 = r"t1\w{0,4}|mp ?rage\w*|bravo\w*|f?spgr\w*|tfl\w*|tfe|3d ?tfe|3d ?ffe|vibe\w*|thrive\w*|mp2rage|memprage|ir ?fspgr"

NO_SCAN = (
    r"seg|segm|segs|segmentation\w*|segmentacion|segmentazione|dseg|mask\w*|maske|masque|\w+mask|labels?|labelmap|roi|rois"
    r"|contours?|annotation\w*|parcellation|probseg|prob|probability"
)
"""Words of file names that tell a label map, not a scan."""

_AGENTS = r"gad\w*|gd|dotarem|magnevist|omniscan|prohance|multihance|clariscan|primovist|dtpa|гадо\w*|钆\w*"
_CONTRAST = (
    rf"{_AGENTS}|contrast\w*|kontras\w*|contraste\w*|km|kl|mdc|mezzo|medio|inj\w*|iniez\w*|inyec\w*|iv|wstrzyk\w*|enh\w*"
    r"|podani\w*|c|контраст\w*|инъекц\w*|введени\w*|增强\w*|造影\w*|对比\w*|注射\w*"
)
"""The agent and its being given, as they stand after "with", "without", "before" and "after"."""
_BETWEEN = (
    r"(?:(?:the|any|of|to|der|die|dem|des|das|von|vom|gabe|applikation|l|la|le|les|de|del|della|dell|dello|di|du|d|da|do"
    r"|dos|el|a|ao|een|het|van|toediening\w*|administra\w*|sommin\w*|внутривенн\w*|i v|iv|bolus) ){0,4}"
)
_GIVEN = rf"{_BETWEEN}(?:{_CONTRAST})(?: {_BETWEEN}(?:{_CONTRAST}))*"
_WITHOUT = r"without|w ?o|wo|ohne|sans|sin|senza|sem|zonder|bez|без|utan|uden|uten"
_NONE = rf"{_WITHOUT}|o|no|non|not|geen|kein\w*|pas de|nessun\w*"
_BEFORE_ALONE = r"before|prior|vor|avant|prima|antes|previo|voor|przed|перед|fore|før"
_BEFORE = rf"{_BEFORE_ALONE}|pre|prae|v|до"
_AFTER_ALONE = r"after|nach|apres|dopo|despues|tras|depois|apos|pos|после|efter|etter"
_AFTER = rf"{_AFTER_ALONE}|post|n|na|po"
_AND = r"(?:and|und|et|y|e|en|i|и|u|plus|och|og)"

NOT_OF_CONTRAST = (
    r"(?:gr[ae]y|white|tissue|soft|high|low|image)(?: (?:and )?(?:white|matter|tissue|gr[ae]y))* contrast"
    rf"|(?:{_BEFORE}|{_AFTER}|intra) ?(?:(?:the|der|die|dem|la|le|l|de|da|del) )?"
    r"(?:op|ops|surg\w*|oper\w*|treat\w*|ther\w*|trait\w*|trat\w*|radi\w*|rt|rx|xrt|crt|chemo\w*|chimio\w*|quimio\w*|resec\w*"
    r"|resek\w*|resezion\w*|biops\w*|chir\w*|cirug\w*|cirurg\w*|interv\w*|bestrahl\w*|trauma\w*|stroke|ictal\w*|proc\w*|zabieg\w*"
    r"|leczeni\w*|behand\w*|операц\w*|лечени\w*|резекц\w*)"
    r"|\w*(?:术|手术|治疗|放疗)[前后中]\w*|ses [a-z0-9]+|sub 0\d+|sub [a-z]*\d{2,}[a-z]*"
    r"|(?:head )?neck (?:coil|array)|visit \w+"
)
"""Phrases whose words would be taken for contrast, a part of the body or a subtraction, and are none of them."""
BOTH = (
    rf"(?:with|w|mit|m|avec|con|com|met|z|ze|с|со|med) ?(?:{_AND} )?(?:{_WITHOUT})|m ?(?:u )?o"
    rf"|(?:without|ohne|sans|sin|senza|sem|zonder|bez|без|wo|w o) (?:{_AND} )?(?:with|w|mit|avec|con|com|met|z|с)"
    rf"|(?:{_BEFORE}) (?:{_GIVEN} )?(?:{_AND} )?(?:{_AFTER})|(?:{_AFTER}) (?:{_AND} )?(?:{_BEFORE})"
    r"|平扫\w* ?(?:plus )?(?:增强|造影)\w*|(?:增强|造影)前后\w*"
)
"""With and without, before and after: the name of an examination, which tells nothing of one series."""
WITHOUT_CONTRAST = (
    rf"(?:{_NONE}|{_BEFORE}) {_GIVEN}|(?:{_BEFORE_ALONE})$|pre|wo|nc"
    rf"|(?:non|no|un|pre|prae|pra|vor|wo)(?:{_AGENTS}|contrast\w*|kontrast\w*|km|inj\w*|enhanced)"
    r"|native?|nativo|nativ\w*|natywn\w*|натив\w*|plain|unenhanced|blanco"
    r"|平扫\w*|(?:增强|造影|注射)\w*前\w*|(?:无|非|未)(?:增强|造影|注射|对比)\w*|造影\w*なし"
)
WITH_CONTRAST = (
    rf"{_AGENTS}|post|post(?:{_AGENTS}|contrast\w*|km)|ce|t1ce|t1c|t1gd|pc|kl|mdc|contrast\w*|kontras\w*|contraste|contrasto|km"
    rf"|{_AFTER_ALONE}|iv|inj\w*|inyec\w*|iniez\w*|con(?= ?(?:{_CONTRAST})(?!\w)|$)"
    r"|enh\w*|plus ?c|с ?контраст\w*|контраст\w*|(?:增强|造影|注射)\w*|对比剂\w*"
)

NO_AGENT = rf"(?:{_NONE}|none|n|nein|aucun|ningun\\w*|brak|na|n a|nil|0(?: ?ml)?|unknown|нет|无)(?: \\w+)*|not given"
"""What a tag for the agent says where none was given."""

_KEPT = re.compile(
    r"t[12]\w{0,2}|[123]d|\d{1,2}mm|ax\w{0,3}|tra|trans|sag|cor|obl|iso|se|tse|fse|gre|ir|fs|fatsat|spair|spir|clear|flair"
    r"|tirm|dark|fluid|mprage|mp2rage|bravo|spgr|fspgr|tfl|tfe|ffe|vibe|space|cube|vista|blade|propeller|gd|gado|km|ce|pre"
    r"|post|contrast|kontrast|contraste|contrasto|nativ|native|dwi|dti|adc|trace|ep2d|epi|diff|perf|dsc|dce|asl|swi|swan"
    r"|tof|mra|loc|localizer|localiser|scout|survey|pd|stir|bold|mip|mpr|sub|head|brain|cerebro|cerveau|kopf|schadel|w|wo"
)


_HAN = r"[\u4e00-\u9fff]"
_START, _END = r"(?<![^\W\u4e00-\u9fff])", r"(?!\w)"
"""Where a word begins and ends; Chinese sets no spaces between words."""


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
    text = re.sub(rf"(?<={_HAN})(?=[a-z0-9])|(?<=[a-z0-9])(?={_HAN})", " ", text)
    return " ".join(re.findall(r"[^\W_]+", text))


def about_scan(text: str) -> str:
    """Return `text` (as `plain` returns it) without phrases of operations, visits and coils that look like contrast.

    >>> about_scan("t1 mprage post op"), about_scan("ses post t1w"), about_scan("t1 post gad")
    ('t1 mprage', 't1w', 't1 post gad')
    """
    return " ".join(re.sub(f"{_START}(?:{NOT_OF_CONTRAST}){_END}", " ", text).split())


def of_contrast(text: str) -> bool | None:
    """Return whether `text` (as `about_scan` returns it) says that contrast was given; None if it does not tell.

    What is denied is taken out before anything is looked for: the words for contrast occur in "before contrast" too.
    """
    if find(BOTH, text):
        return None
    rest = re.sub(f"{_START}(?:{WITHOUT_CONTRAST}){_END}", "/", text)
    given = bool(find(WITH_CONTRAST, rest))
    if rest == text:
        return True if given else None
    return None if given else False


def find(pattern: str, text: str) -> str:
    """Return the first words of `text` (as `plain` returns it) that match `pattern` whole, or nothing."""
    match = re.search(f"{_START}(?:{pattern}){_END}", text)
    return match[0] if match else ""


def known_words(description: str) -> str:
    """Return the words of a series description that are about the scan; others might name the patient."""
    return " ".join(word.upper() for word in plain(description).split() if _KEPT.fullmatch(word))
