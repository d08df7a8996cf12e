"""The words of a network's card: its record of numbers as a page for people."""

from collections.abc import Iterator
from typing import Any

from glioscope.cases import SEQUENCES
from glioscope.experiment.card import BINS
from glioscope.labels import REGIONS

AS_GOOD, A_LITTLE_WORSE = 0.02, 0.06
"""A mean Dice may lie this far below that of all sequences to be told as alike, or as a little worse."""

SIZES = {"0-30 ml": "below 30 ml", "30-80 ml": "30 to 80 ml", "80-1000 ml": "80 ml and more"}
SHOWN = {
    ("t1n", "t1c", "t2f"): "T2 absent",
    ("t1n", "t1c", "t2w"): "FLAIR absent",
    ("t1n", "t2w", "t2f"): "T1 with contrast absent",
    ("t2f",): "FLAIR alone",
    ("t1c",): "T1 with contrast alone",
}
"""Subsets that hospitals have; the card has a table of all."""


def shown(value: float, digits: int) -> str:
    """A number that is kept with four digits, rounded as people do: 0.9065 to 0.907, whatever its binary form."""
    return f"{value + 1e-9:.{digits}f}"


def with_interval(score: dict[str, Any], digits: int) -> str:
    """A mean and its interval."""
    low, high = score["interval_95"]
    return f"{shown(score['mean'], digits)} ({shown(low, digits)} to {shown(high, digits)})"


def curve_lines(curve: list[list[list[float]]]) -> list[str]:
    """Of voxels with a probability so high, how many are tumour, for people."""
    lines = ["| probability | " + " | ".join(REGIONS) + " |", "|---|" + "---|" * len(REGIONS)]
    for number, bins in enumerate(zip(*curve, strict=True)):
        cells = " | ".join(f"{share:.3f} (at {mean:.3f})" for mean, share, _ in bins)
        lines.append(f"| {number / BINS:.1f} to {(number + 1) / BINS:.1f} | {cells} |")
    return lines


def score_lines(tables: dict[str, Any]) -> list[str]:
    """A table of scores for people."""
    lines = [
        "| cases | n | region | Dice | median | HD95, mm | lesion-wise Dice |",
        "|---|---|---|---|---|---|---|",
    ]
    flat = {name: table for name, table in tables.items() if name != "by_size"}
    flat |= {f"tumour of {name}": table for name, table in tables["by_size"].items()}
    for name, table in flat.items():
        if not table["cases"]:
            continue
        for region in REGIONS:
            dice, far, lesion = (table[region][key] for key in ("dice", "hd95_mm", "lesion_dice"))
            # Four digits of the mean, as recorded: rounded a second time, 0.82049 would come out as 0.821.
            mean = with_interval(dice, 3).replace(shown(dice["mean"], 3), f"{dice['mean']:.4f}", 1)
            cells = [mean, shown(dice["median"], 3), with_interval(far, 1), with_interval(lesion, 3)]
            lines.append(f"| {name} | {table['cases']} | {region} | {' | '.join(cells)} |")
    return lines


def cross_lines(card: dict[str, Any]) -> list[str]:
    """What a cross-validation found, for people; nothing without one."""
    cross = card.get("cross_validation")
    if cross is None:
        return []
    return [
        "",
        "## Cross-validation",
        "",
        f"Every case once in the fold held out, {cross['folds']} networks: {cross['training']}.",
        "They tell how the scores spread over all cases, not how good the shipped network is, which trained longer.",
        "",
        *score_lines(cross["scores"]),
    ]


def expectation(row: dict[str, Any], full: dict[str, Any]) -> str:
    """One sentence on what a subset of the sequences is good for, from its scores alone."""
    if row["sequences"] == full["sequences"]:
        return "The best there is."

    def compared(lost: float) -> str:
        if lost <= AS_GOOD:
            return "as with all four"
        return "a little worse" if lost <= A_LITTLE_WORSE else "clearly worse"

    lost = {region: full[region] - row[region] for region in REGIONS}
    whole = f"Whole tumour {compared(lost['WT'])}"
    if "t1c" not in row["sequences"]:
        return f"{whole}; core and enhancement are guesses without contrast."
    if compared(lost["WT"]) == compared(max(lost["TC"], lost["ET"])):
        return f"All regions {compared(lost['WT'])}."
    return f"{whole}; core and enhancement {compared(max(lost['TC'], lost['ET']))}."


def subset_lines(card: dict[str, Any]) -> list[str]:
    """What every subset of the sequences brings, for people."""
    lines = ["", "## Any subset of the sequences", "", "Mean Dice on the held-out cases.", ""]
    lines += ["| T1 | T1c | T2 | FLAIR | WT | TC | ET | what to expect |", "|---|---|---|---|---|---|---|---|"]
    for row in card["subsets"]:
        marks = " | ".join("x" if s in row["sequences"] else "" for s in SEQUENCES)
        dice = " | ".join(shown(row[region], 3) for region in REGIONS)
        lines.append(f"| {marks} | {dice} | {expectation(row, card['subsets'][0])} |")
    return lines


def shift_lines(card: dict[str, Any]) -> list[str]:
    """What to expect of scans of each kind, for people."""
    lines = [
        "",
        "## What to expect of your scan",
        "",
        "Mean Dice by the kind of scan: all four sequences, prepared as BraTS does, if nothing else is said.",
        "",
        "| scans | n | WT | TC | ET | what to expect |",
        "|---|---|---|---|---|---|",
    ]
    for title, cases, dice, words in _shift_rows(card):
        cells = " | ".join("" if value is None else shown(value, 2) for value in dice)
        lines.append(f"| {title} | {cases} | {cells} | {words} |")
    return lines


def _means(table: dict[str, Any]) -> list[float | None]:
    return [table[region]["dice"]["mean"] if table["cases"] else None for region in REGIONS]


def _shift_rows(card: dict[str, Any]) -> Iterator[tuple[str, int, list[float | None], str]]:
    """Title, cases, mean Dice of WT, TC, ET, and a sentence."""
    scores, words = card["scores"], card.get("words", {})
    for name, table in scores.items():
        if name not in ("all", "by_size"):
            yield name, table["cases"], _means(table), words.get(name, "")
    for name, table in scores["by_size"].items():
        yield f"whole tumour {SIZES.get(name, name)}", table["cases"], _means(table), words.get(name, "")
    for row in card["subsets"]:
        subset = SHOWN.get(tuple(row["sequences"]))
        if subset:
            yield subset, row["cases"], [row[region] for region in REGIONS], expectation(row, card["subsets"][0])
    for scan in card.get("others", ()):
        dice = [scan["dice"] if region == scan["region"] else None for region in REGIONS]
        yield scan["kind"], scan["cases"], dice, scan["words"]
    cross = card.get("cross_validation")
    if cross:
        table = cross["scores"]["all"]
        title = f"{cross['folds']} folds, every case held out once"
        yield title, table["cases"], _means(table), "How scores spread over all cases, by other networks than this one."


def trust_lines(card: dict[str, Any]) -> list[str]:
    """How far probabilities and expected scores can be trusted, for people."""
    calibration = card["calibration"]
    lines = [
        "",
        "## How far to trust it",
        "",
        "| region | temperature | error before | error after | expected Dice is off by |",
        "|---|---|---|---|---|",
    ]
    for index, region in enumerate(REGIONS):
        before, after = calibration["error_before"][index], calibration["error_after"][index]
        off = card["expected_dice"][region]["mean_absolute_error"]
        lines.append(
            f"| {region} | {shown(calibration['temperature'][index], 2)} | {before:.3f} | {after:.3f} | {off:.3f} |"
        )
    return [
        *lines,
        "",
        "Error: expected calibration error over voxels with a probability from 0.01 to 0.99, before and after dividing",
        "the logits by the temperature, which was fitted on the same cases. Expected Dice: what the network guesses of",
        "its own score from its probabilities, over all subsets of the sequences; mean absolute error.",
        "",
        "Of the voxels of a probability (with these temperatures), the share that is tumour; in brackets their mean",
        "probability:",
        "",
        *curve_lines(calibration["curve"]),
    ]


def precision_lines(card: dict[str, Any]) -> list[str]:
    """What 8-bit numbers cost, for people."""
    if "precision" not in card:
        return []
    (first, before), *others = card["precision"].items()
    lines = [
        "",
        "## 8-bit numbers",
        "",
        "Kernels are kept as 8-bit numbers with a scale for each output channel; the scores above are of fp16 kernels.",
        "Dice on cases that the network was trained on: it tells what 8 bits cost and nothing of accuracy.",
        "",
        "| form | WT | TC | ET | the most that a case moves |",
        "|---|---|---|---|---|",
        f"| fp16 kernels, computed in {first} | " + " | ".join(f"{before['dice'][r]:.4f}" for r in REGIONS) + " | |",
    ]
    for name, row in others:
        title = "8-bit kernels and feature maps (int8)" if name == "int8" else f"8-bit kernels, computed in {first}"
        cells = " | ".join(f"{row['dice'][r]:.4f} ({row['mean_difference'][r]:+.4f})" for r in REGIONS)
        lines.append(f"| {title} | {cells} | {max(row['largest_difference'].values()):.3f} |")
    return lines


def data_lines(card: dict[str, Any]) -> list[str]:
    """What was trained on, and under which terms."""
    lines = ["", "## Data", "", "| trained on | cases | known | terms |", "|---|---|---|---|"]
    for table in card["data"]:
        known = "all regions" if len(table["known"]) == len(REGIONS) else f"{', '.join(table['known'])} alone"
        lines.append(f"| {table['title']} | {table.get('cases', '')} | {known} | {table['terms']} |")
    return [
        *lines,
        "",
        "Names of the cases are in card.json. Images were copies reduced to 8 bits. Cite the papers below when you",
        "publish results of this network.",
    ]


def cost_lines(card: dict[str, Any]) -> list[str]:
    """Seconds and memory, for people."""
    cost = card["cost"]
    return [
        "",
        "## Cost",
        "",
        f"{cost['seconds']:.1f} s and {cost['peak_memory_mb']:.0f} MB for one 240×240×155 case, four files to file,",
        f"the whole process from cold, of which {cost['network_seconds']:.1f} s in the network "
        f"({cost['processor']['model']}, {cost['processor']['cores']} cores).",
    ]


def markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    measured = card["measured"]
    where = "kept apart from development" if measured.get("elsewhere") else "of a fold of five, dealt by patient"
    lines = [
        "# Starter network",
        "",
        "**For research use only. Not a medical device.** It lets `glioscope segment` work after `pip install`.",
        "Numbers are of cases that it was not trained on, unless a table says otherwise.",
        "",
        f"- **Network**: `{card['network']['name']}`, {card['parameters']:,} parameters, in OpenVINO's form, and an",
        "  int8 form for x86 processors without bf16.",
        f"- **Trained on**: {len(card['trained_on'])} cases (see Data). {card['training']}",
        f"- **Measured on**: {len(measured['held_out'])} cases {where}, with {measured['network']}.",
        "- **Intended use**: glioma of adults before treatment, brain extracted and at 1 mm, as BraTS prepares scans",
        "  or `segment` prepares raw ones.",
        "- **Not for**: children, operated brains, other diseases, treatment decisions.",
        *shift_lines(card),
        "",
        "## Scores",
        "",
        "Dice and HD95 by the rules of BraTS 2021 (empty masks count by its rule), lesion-wise Dice by those of 2023;",
        "mean, in brackets the 95 % bootstrap interval.",
        "",
        *score_lines(card["scores"]),
        *cross_lines(card),
        *subset_lines(card),
        *trust_lines(card),
        *precision_lines(card),
        *data_lines(card),
        *cost_lines(card),
        "",
        "## Papers to cite",
        "",
        *[f"- {paper}" for paper in card["papers"]],
        "",
        "Made by `scripts/make_starter.py`.",
    ]
    return "\n".join(lines) + "\n"
