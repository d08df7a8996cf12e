"""The words of the report in British English and German: names of parts, and one template for each sentence.

A template holds no judgement of its own: it is chosen by a field of the result and filled with others.
"""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")

SECTIONS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "title": "Where the tumour lies",
        "findings": "Findings",
        "measurements": "Measurements",
        "comparison": "Comparison",
        "limits": "Quality and limits",
    },
    "de": {
        "title": "Lage des Tumors",
        "findings": "Befund",
        "measurements": "Messwerte",
        "comparison": "Vergleich",
        "limits": "Qualität und Grenzen",
    },
}

IN_PLACE: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "frontal": "in the frontal lobe",
        "parietal": "in the parietal lobe",
        "temporal": "in the temporal lobe",
        "occipital": "in the occipital lobe",
        "insula": "in the insula",
        "deep": "in the deep structures",
        "brainstem": "in the brainstem",
        "cerebellum": "in the cerebellum",
        "none": "outside every named part",
    },
    "de": {
        "frontal": "im Frontallappen",
        "parietal": "im Parietallappen",
        "temporal": "im Temporallappen",
        "occipital": "im Okzipitallappen",
        "insula": "in der Insel",
        "deep": "in den tiefen Strukturen",
        "brainstem": "im Hirnstamm",
        "cerebellum": "im Kleinhirn",
        "none": "außerhalb aller benannten Teile",
    },
}

NAMES: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "motor": "motor cortex",
        "sensory": "sensory cortex",
        "vision": "visual cortex",
        "speech, motor": "motor speech area (if speech lies on the left)",
        "speech, receptive": "receptive speech area (if speech lies on the left)",
        "hippocampus and amygdala": "hippocampus and amygdala",
        "internal capsule": "internal capsule",
        "basal ganglia": "basal ganglia",
        "thalamus": "thalamus",
        "ventral diencephalon": "hypothalamic region",
        "brainstem": "brainstem",
        "dentate nucleus": "dentate nucleus",
        "corpus callosum": "corpus callosum",
        "left": "left",
        "right": "right",
        "core": "The tumour core",
        "whole": "The abnormal signal",
        "core-again": "It",
        "whole-again": "It",
        "affine": "stretched onto this brain",
        "deformable": "stretched and bent onto this brain",
        "given": "given with the case",
        "and": "and",
    },
    "de": {
        "motor": "motorischer Kortex",
        "sensory": "sensibler Kortex",
        "vision": "visueller Kortex",
        "speech, motor": "motorisches Sprachareal (falls Sprache links liegt)",
        "speech, receptive": "sensorisches Sprachareal (falls Sprache links liegt)",
        "hippocampus and amygdala": "Hippocampus und Amygdala",
        "internal capsule": "Capsula interna",
        "basal ganglia": "Basalganglien",
        "thalamus": "Thalamus",
        "ventral diencephalon": "Hypothalamusregion",
        "brainstem": "Hirnstamm",
        "dentate nucleus": "Nucleus dentatus",
        "corpus callosum": "Balken",
        "left": "links",
        "right": "rechts",
        "core": "Der Tumorkern",
        "whole": "Das auffällige Signal",
        "core-again": "Er",
        "whole-again": "Es",
        "affine": "durch Streckung an dieses Gehirn angepasst",
        "deformable": "durch Streckung und Biegung an dieses Gehirn angepasst",
        "given": "mit dem Fall gegeben",
        "and": "und",
    },
}

SENTENCES: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "no-tumour": "No tumour was segmented.",
        "one-lesion": "There is one lesion of {volume} ml, {where}.",
        "lesions": "There are {count} separate lesions, together {volume} ml; {where}.",
        "lesion": "Lesion {number} ({volume} ml) lies {where}.",
        "more-lesions": "{count} further lesions are smaller and not described one by one.",
        "on-the-left": "on the left",
        "on-the-right": "on the right",
        "crossing": "across the midline, {left} of it on the left",
        "both": "on both sides in separate parts, {left} of it on the left",
        "side-unknown": "on a side that could not be told",
        "place-unknown": "in a part of the brain that could not be told",
        "part": "{share} {place}",
        "multifocal": "The pattern is multifocal: separate foci in one lobe of one side.",
        "multicentric": "The pattern is multicentric by position: separate foci in more than one lobe or on both "
        "sides. "
        "By which route they arose cannot be told from a segmentation.",
        "composition": "Of the whole, {enhancing} enhances, {rest} is necrosis or non-enhancing core, and {oedema} "
        "is oedema.",
        "composition-bare": "Of the whole, {rest} is non-enhancing or necrotic core and {oedema} is oedema.",
        "one-label": "The parts of the tumour were not segmented apart.",
        "no-enhancement": "No enhancement was segmented.",
        "margin-thin": "The enhancing margin is thin, {mm} mm in the median.",
        "margin-thick": "The enhancing margin is thick, {mm} mm in the median.",
        "margin-solid": "The enhancing tumour is solid, without a necrotic centre.",
        "satellites": "There are enhancing satellites in the surrounding oedema.",
        "ventricles-yes": "{region} touches the wall of a ventricle.",
        "ventricles-no": "{region} does not touch the ventricles; the nearest wall is {mm} mm away.",
        "ventricles-oedema": "{region} lies {mm} mm from the ventricles; its oedema touches them.",
        "cortex-yes": "{region} reaches the cortex ({share} of its volume) and comes to within {mm} mm of the "
        "brain's surface.",
        "cortex-surface": "{region} reaches the cortex ({share} of its volume) and the brain's surface.",
        "cortex-no": "{region} lies {mm} mm from the cortex.",
        "midline-crossed": "{region} crosses the midline.",
        "midline-oedema": "The oedema crosses the midline; the tumour core does not, its nearest point is {mm} mm "
        "from it.",
        "midline-no": "{region} does not cross the midline; its nearest point is {mm} mm from it.",
        "midline-near": "{region} reaches the midline but does not cross it by 5 mm.",
        "callosum-crossed": "It crosses through the corpus callosum.",
        "callosum-in": "It lies partly in the corpus callosum.",
        "deep": "{region} involves or touches deep white matter: {names}.",
        "deep-no": "{region} does not reach the internal capsule, the corpus callosum or the brainstem.",
        "eloquent": "{region} involves or touches eloquent areas (list of Sawaya et al. 1998): {names}.",
        "eloquent-no": "{region} touches no eloquent area of the list of Sawaya et al. 1998; the nearest is the "
        "{name}, {mm} mm away.",
        "volumes": "Whole tumour {whole} ml, tumour core {core} ml, enhancing tumour {enhancing} ml.",
        "volume": "Whole tumour {whole} ml.",
        "diameters": "Longest diameter on an axial slice {longest} mm, at right angles {perpendicular} mm (product "
        "{product} mm²), "
        "measured on {region}.",
        "no-earlier": "No earlier scan was compared.",
        "change-percent": "{region}: {earlier} ml earlier, {later} ml now, a change of {percent}.",
        "change": "{region}: {earlier} ml earlier, {later} ml now.",
        "fit": "The map of an average brain was {method}; the two brains overlap by {overlap} (Dice).",
        "flags": "Warnings of the automatic checks: {codes}.",
        "no-flags": "The automatic checks gave no warning.",
        "geometry": "This text tells the geometry of an automatic segmentation on a map of an average brain. Borders "
        "between "
        "lobes, walls of ventricles and eloquent areas may lie 5 mm and more beside those of the patient, further "
        "where "
        "tissue is pushed aside.",
        "not-said": "It makes no diagnosis and no prognosis and says nothing about molecular markers. For research "
        "only; not a "
        "medical device.",
        "map-misfit": "The map of the brain does not fit this brain, so lobes, structures and eloquent areas could "
        "not be told.",
        "brain-empty": "The brain is not known, so nothing could be laid over it.",
        "bend-refused": "Bending the map gave displacements that are not believed; it is only stretched.",
        "midline-unknown": "The midline is not known, so no side could be told.",
        "midline-asymmetric": "The two halves of the brain differ too much to find a midline, so no side could be "
        "told.",
        "midline-disagree": "The midline by symmetry and that of the map disagree, so no side could be told.",
        "map-lacks": "The map does not show the following, so nothing is said about it: {names}.",
        "midline-straight": "Distances to the midline are to where it ought to be: a tumour may have pushed it aside.",
    },
    "de": {
        "no-tumour": "Es wurde kein Tumor segmentiert.",
        "one-lesion": "Es besteht eine Läsion von {volume} ml, {where}.",
        "lesions": "Es bestehen {count} getrennte Läsionen, zusammen {volume} ml; {where}.",
        "lesion": "Läsion {number} ({volume} ml) liegt {where}.",
        "more-lesions": "{count} weitere Läsionen sind kleiner und nicht einzeln beschrieben.",
        "on-the-left": "links",
        "on-the-right": "rechts",
        "crossing": "über die Mittellinie hinweg, {left} davon links",
        "both": "in getrennten Teilen auf beiden Seiten, {left} davon links",
        "side-unknown": "auf nicht bestimmbarer Seite",
        "place-unknown": "in nicht bestimmbarer Lage",
        "part": "{share} {place}",
        "multifocal": "Das Muster ist multifokal: getrennte Herde in einem Lappen einer Seite.",
        "multicentric": "Das Muster ist der Lage nach multizentrisch: getrennte Herde in mehr als einem Lappen oder "
        "auf beiden "
        "Seiten. Auf welchem Weg sie entstanden sind, lässt sich aus einer Segmentierung nicht sagen.",
        "composition": "Vom Ganzen reichern {enhancing} Kontrastmittel an, {rest} sind Nekrose oder nicht "
        "anreichernder Kern, "
        "{oedema} sind Ödem.",
        "composition-bare": "Vom Ganzen sind {rest} nicht anreichernder oder nekrotischer Kern und {oedema} Ödem.",
        "one-label": "Die Anteile des Tumors wurden nicht getrennt segmentiert.",
        "no-enhancement": "Es wurde keine Kontrastmittelanreicherung segmentiert.",
        "margin-thin": "Der anreichernde Rand ist dünn, im Median {mm} mm.",
        "margin-thick": "Der anreichernde Rand ist dick, im Median {mm} mm.",
        "margin-solid": "Der anreichernde Tumor ist solide, ohne nekrotisches Zentrum.",
        "satellites": "Im umgebenden Ödem liegen anreichernde Satelliten.",
        "ventricles-yes": "{region} berührt die Wand eines Ventrikels.",
        "ventricles-no": "{region} berührt die Ventrikel nicht; die nächste Wand ist {mm} mm entfernt.",
        "ventricles-oedema": "{region} liegt {mm} mm von den Ventrikeln entfernt; das Ödem berührt sie.",
        "cortex-yes": "{region} erreicht den Kortex ({share} des Volumens) und reicht bis auf {mm} mm an die "
        "Hirnoberfläche.",
        "cortex-surface": "{region} erreicht den Kortex ({share} des Volumens) und die Hirnoberfläche.",
        "cortex-no": "{region} liegt {mm} mm vom Kortex entfernt.",
        "midline-crossed": "{region} überschreitet die Mittellinie.",
        "midline-oedema": "Das Ödem überschreitet die Mittellinie, der Tumorkern nicht; sein nächster Punkt ist {mm} "
        "mm von ihr "
        "entfernt.",
        "midline-no": "{region} überschreitet die Mittellinie nicht; der nächste Punkt ist {mm} mm von ihr entfernt.",
        "midline-near": "{region} erreicht die Mittellinie, überschreitet sie aber nicht um 5 mm.",
        "callosum-crossed": "Die Überschreitung verläuft durch den Balken.",
        "callosum-in": "Ein Teil liegt im Balken.",
        "deep": "{region} umfasst oder berührt tiefe weiße Substanz: {names}.",
        "deep-no": "{region} erreicht weder Capsula interna noch Balken noch Hirnstamm.",
        "eloquent": "{region} umfasst oder berührt eloquente Areale (Liste von Sawaya et al. 1998): {names}.",
        "eloquent-no": "{region} berührt kein eloquentes Areal der Liste von Sawaya et al. 1998; am nächsten liegt, "
        "in {mm} mm "
        "Abstand: {name}.",
        "volumes": "Gesamter Tumor {whole} ml, Tumorkern {core} ml, anreichernder Tumor {enhancing} ml.",
        "volume": "Gesamter Tumor {whole} ml.",
        "diameters": "Längster Durchmesser auf einer axialen Schicht {longest} mm, senkrecht dazu {perpendicular} mm "
        "(Produkt "
        "{product} mm²), gemessen an {region}.",
        "no-earlier": "Es wurde keine frühere Untersuchung verglichen.",
        "change-percent": "{region}: früher {earlier} ml, jetzt {later} ml, eine Änderung um {percent}.",
        "change": "{region}: früher {earlier} ml, jetzt {later} ml.",
        "fit": "Die Karte eines Durchschnittsgehirns wurde {method}; beide Gehirne überlappen mit {overlap} (Dice).",
        "flags": "Warnungen der automatischen Prüfung: {codes}.",
        "no-flags": "Die automatische Prüfung ergab keine Warnung.",
        "geometry": "Dieser Text beschreibt die Geometrie einer automatischen Segmentierung auf der Karte eines "
        "Durchschnittsgehirns. Grenzen von Lappen, Ventrikelwände und eloquente Areale können 5 mm und mehr neben "
        "denen der "
        "Patientin oder des Patienten liegen, weiter noch, wo Gewebe verdrängt ist.",
        "not-said": "Er stellt keine Diagnose und keine Prognose und sagt nichts über molekulare Marker. Nur für die "
        "Forschung; "
        "kein Medizinprodukt.",
        "map-misfit": "Die Karte passt nicht zu diesem Gehirn; Lappen, Strukturen und eloquente Areale waren nicht "
        "bestimmbar.",
        "brain-empty": "Das Gehirn ist nicht bekannt; es konnte keine Karte darübergelegt werden.",
        "bend-refused": "Die Biegung der Karte ergab unglaubwürdige Verschiebungen; sie ist nur gestreckt.",
        "midline-unknown": "Die Mittellinie ist nicht bekannt; die Seite war nicht bestimmbar.",
        "midline-asymmetric": "Die Hirnhälften sind zu verschieden, um eine Mittellinie zu finden; die Seite war "
        "nicht bestimmbar.",
        "midline-disagree": "Die Mittellinie nach Symmetrie und die der Karte widersprechen sich; die Seite war "
        "nicht bestimmbar.",
        "map-lacks": "Die Karte zeigt Folgendes nicht, es wird darüber nichts gesagt: {names}.",
        "midline-straight": "Abstände zur Mittellinie gelten zu ihrer normalen Lage; ein Tumor kann sie verschoben "
        "haben.",
    },
}

REGIONS: Mapping[Language, Mapping[str, str]] = {
    "en": {"WT": "Whole tumour", "TC": "Tumour core", "ET": "Enhancing tumour"},
    "de": {"WT": "Gesamter Tumor", "TC": "Tumorkern", "ET": "Anreichernder Tumor"},
}
