"""`glioscope train`: networks made, exported, and scored on the cases held out."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.cli.evaluate import print_scores
from glioscope.cli.terminal import Watch
from glioscope.errors import ConfigError, DependencyError

SHOWN_METRICS = ("dice", "hd95", "accuracy")
"""Metrics that `train` prints; all are in the evaluation's cases.csv."""


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder of cases with references.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    config: Annotated[str, typer.Option(help="standard, original, or a TOML file.")] = "standard",
    override: Annotated[
        list[str] | None, typer.Option("--set", help="table.key=value; may be repeated.", show_default=False)
    ] = None,
    fold: Annotated[str, typer.Option(help="Fold to hold out; all: each in turn; none: train on every case.")] = "0",
    minutes: Annotated[
        float | None, typer.Option(help="Time in training steps, per fold.", min=0.01, show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    initial: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: a model folder, weights.safetensors, or 'starter'.", show_default=False
        ),
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="Scheme of the references; default: told by all of them.", show_default=False)
    ] = None,
    subjects: Annotated[
        Path | None, typer.Option(help="CSV of case_id,subject_id: folds keep a subject together.", show_default=False)
    ] = None,
    validate: Annotated[bool, typer.Option(help="Predict and score the held-out cases at the end.")] = True,
    test: Annotated[bool, typer.Option("--test", help="Score the test part too (--set training.test_share).")] = False,
) -> None:
    """Train a network on one fold, all folds or every case, export it, and score it on the cases held out."""
    held_out = fold if fold in ("all", "none") else _whole_number("--fold", fold)
    room = needing_torch("experiment.train")
    options = room.TrainOptions(
        config=config,
        overrides=tuple(override or ()),
        fold=held_out,
        minutes=minutes,
        resume=resume,
        initial=initial,
        scheme=scheme,
        subjects=subjects,
    )
    with Watch("train", every=30) as watch:
        run = room.train(
            dataset,
            output,
            options=options,
            progress=lambda done, total, line: watch(done, total, line, news=done == total or "Dice" in line),
        )
    if not needing_torch("training").first_process():  # of several that torchrun started
        return
    print(f"{output}: trained fold {', '.join(map(str, run.trained_folds()))}; each in {output}/fold_*/model")
    if validate and fold != "none":
        _validate(output, dataset)
    if test:
        from glioscope.experiment.judge import score_test_part

        print_scores("Test", score_test_part(output, dataset=dataset), metrics=SHOWN_METRICS)
    _print_page(output)


def _validate(run: Path, dataset: Path) -> None:
    from glioscope.experiment.judge import validate_run

    with Watch("validate") as watch:
        found = validate_run(
            run,
            dataset=dataset,
            progress=lambda done, total, line: watch(done, total, line, news=done == total),
        )
    for index, evaluation in found.items():
        print_scores(f"Fold {index}", evaluation, metrics=SHOWN_METRICS)


def _print_page(run: Path) -> None:
    from glioscope.report import write_run_report

    print(f"{write_run_report(run)}: curves, samples, scores")


def needing_torch(module: str) -> Any:
    """Return a module that needs torch, or say which package is missing."""
    try:
        return import_module(f"glioscope.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "glioscope":
            raise
        raise DependencyError(
            f"training needs {error.name}, which is not installed; install it with: pip install 'glioscope[train]'"
        ) from error


def _whole_number(option: str, text: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"{option} is '{text}'; give a whole number, all or none")
    return int(text)
