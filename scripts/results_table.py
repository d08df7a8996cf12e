"""Print the tables of docs/results.md from validated runs, as Markdown.

    python scripts/results_table.py RUN…

One table of all held-out cases and one for each data set among them, told by the case names (BraTS-SSA is
BraTS-Africa).
"""

import sys
from pathlib import Path

from glioscope.evaluation import MetricSummary, RegionScores, summarise
from glioscope.experiment.compare import run_rows
from glioscope.experiment.cost import run_cost
from glioscope.labels import REGIONS

GROUPS = {"all": "", "BraTS 2017-2021": "!BraTS-SSA", "BraTS-Africa": "BraTS-SSA"}


def belongs(case_id: str, rule: str) -> bool:
    """Whether a case is of a group; `!` excludes."""
    return not case_id.startswith(rule[1:]) if rule.startswith("!") else case_id.startswith(rule)


def cell(value: MetricSummary, digits: int) -> str:
    low, high = value.interval_95
    return f"{value.mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}), {value.median:.{digits}f}"


def table(name: str, methods: dict[str, list[RegionScores]]) -> list[str]:
    lines = [f"**{name}**", ""]
    lines += ["| network | n | region | Dice: mean (95 %), median | HD95, mm | sensitivity | lesion-wise Dice |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for method, rows in methods.items():
        summary = summarise(rows)
        for region in REGIONS:
            whole, lesions = summary["brats2021"][region], summary["brats2023-gli"][region]
            figures = [
                cell(whole["dice"], 3), cell(whole["hd95"], 1), f"{whole['sensitivity'].mean:.3f}",
                cell(lesions["lesion_dice"], 3),
            ]  # fmt: skip
            lines.append(f"| {method} | {whole['dice'].n} | {region} | " + " | ".join(figures) + " |")
    lines += [
        "",
        "| network | voxel accuracy, notebook crop | all background | union of foregrounds |",
        "|---|---|---|---|",
    ]
    for method, rows in methods.items():
        accuracy = summarise(rows)["voxel-accuracy"]["notebook"]
        names = ("accuracy", "accuracy_all_background", "accuracy_foreground")
        lines.append(f"| {method} | " + " | ".join(f"{accuracy[n].mean:.4f}" for n in names) + " |")
    return [*lines, ""]


def main() -> None:
    runs = {path.resolve().name: path for path in map(Path, sys.argv[1:])}
    for name, rule in GROUPS.items():
        methods = {run: [r for r in run_rows(path) if belongs(r.case_id, rule)] for run, path in runs.items()}
        if all(methods.values()):
            print("\n".join(table(name, methods)))
    print("| network | seconds, one case, cold, files to file | of these in the network | peak memory, MB |")
    print("|---|---|---|---|")
    for run, path in runs.items():
        cost = run_cost(path)
        print(
            f"| {run} | {cost['seconds_per_case']:.2f} | {cost['network_seconds']:.2f} | {cost['peak_memory_mb']:.0f} |"
        )


if __name__ == "__main__":
    main()
