"""Networks made and compared: train, export, compare, demo."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from glioscope.cli.scores import print_scores
from glioscope.cli.terminal import Output, Watch, print_table
from glioscope.errors import ConfigError, DependencyError, GlioscopeError

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
    validate: Annotated[bool, typer.Option(help="Predict and score the held-out cases at the end.")] = True,
    test: Annotated[bool, typer.Option("--test", help="Score the test part too (--set training.test_share).")] = False,
) -> None:
    """Train a network on one fold, all folds or every case, export it, and score it on the cases held out."""
    held_out = fold if fold in ("all", "none") else _whole_number("--fold", fold)
    room = _training("experiment")
    options = room.TrainOptions(
        config=config,
        overrides=tuple(override or ()),
        fold=held_out,
        minutes=minutes,
        resume=resume,
        initial=initial,
    )
    with Watch("train", every=30) as watch:

        def show(index: int, progress: Any) -> None:
            line = f"fold {index}, step {progress.step}, loss {progress.loss:.3f}"
            watch(progress.fraction, 1, line, news=progress.validated)
            if progress.validated:
                _draw_curves(output / f"fold_{index}")

        run = room.train_run(
            dataset,
            output,
            options=options,
            on_prepared=lambda done, total: watch(done, total, "cases prepared", news=done == total),
            on_progress=show,
        )
    if not _training("training").first_process():  # of several that torchrun started
        return
    print(f"{output}: trained fold {', '.join(map(str, run.trained_folds()))}; each in {output}/fold_*/model")
    if validate and fold != "none":
        _validate(output, dataset)
    if test:
        print_scores("Test", _training("validation").score_test_part(output, dataset=dataset), metrics=SHOWN_METRICS)
    _print_page(output)


def _draw_curves(fold: Path) -> None:
    """Draw the curves anew; a picture that cannot be drawn is no reason to lose a training."""
    from glioscope.report import draw_curves

    try:
        draw_curves(fold / "history.csv", fold / "curves.png")
    except (GlioscopeError, OSError) as error:
        print(f"curves not drawn: {error}", file=sys.stderr)


def _validate(run: Path, dataset: Path) -> None:
    with Watch("validate") as watch:
        found = _training("validation").validate_run(
            run,
            dataset=dataset,
            progress=lambda what, done, total: watch(done, total, what, news=done == total),
        )
    for index, evaluation in found.items():
        print_scores(f"Fold {index}", evaluation, metrics=SHOWN_METRICS)


def _print_page(run: Path) -> None:
    from glioscope.report import write_run_report

    print(f"{write_run_report(run)}: curves, samples, scores")


def _training(room: str) -> Any:
    """Return a room that needs torch, or say which package is missing."""
    try:
        return import_module(f"glioscope.{room}")
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


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of 'glioscope train'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model folder.")],
    fold: Annotated[int, typer.Option(help="Which fold's network.", min=0)] = 0,
    int8: Annotated[
        bool, typer.Option("--int8", help="Add a form in 8-bit numbers, for processors without bf16.")
    ] = False,
) -> None:
    """Write a trained network as OpenVINO and ONNX, and check that it decides as torch does."""
    from glioscope.experiment.export import export_fold
    from glioscope.inference import PARITY

    agreement = export_fold(run, output, fold, int8=int8)
    print(f"{output}: agrees with torch on {agreement:.4%} of voxels (at least {PARITY:.1%} is needed)")


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Run folders; the first is the measure of the others.")
    ],
    output: Output,
) -> None:
    """Set trained networks side by side: scores with differences and intervals, seconds, memory."""
    page = _training("validation").compare_runs(runs, output)
    print(f"{page}: {len(runs)} runs side by side")


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Training time of each of the two networks.", min=0.01)] = 1.75,
    cases: Annotated[int, typer.Option(help="Synthetic patients.", min=5)] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same patients.", min=0)] = 0,
) -> None:
    """Go the whole route on synthetic patients: make, check, train two networks, compare them, segment a patient."""
    room = _training("demo")
    with Watch("train", every=20) as watch:

        def show(name: str, progress: Any) -> None:
            watch(progress.fraction, 1, f"{name}, step {progress.step}, loss {progress.loss:.3f}", news=False)

        result = room.run_demo(output, minutes=minutes, cases=cases, seed=seed, say=print, on_progress=show)
    regions = list(next(iter(result.dice.values())))
    rows = [(name, *(f"{dice[region]:.3f}" for region in regions)) for name, dice in result.dice.items()]
    print_table("Mean Dice on patients held out", ("network", *regions), rows)
    print(_DEMO_NOTE.format(minutes=result.seconds / 60, comparison=result.comparison, patient=result.patient))


_DEMO_NOTE = """\
Dice is 1 where prediction and reference agree in full and 0 where they share nothing. WT is the whole tumour, TC its
core, ET the part that takes up contrast. A network that finds nothing has a Dice of 0, and still calls 99 of 100
voxels rightly: `original` learns slowly and may stand there after so short a training. Phantoms are easier than
patients and minutes are a short training: these numbers show that the route works, not how good a network is.
It took {minutes:.1f} minutes. Look at
  {comparison}
  {patient}"""
