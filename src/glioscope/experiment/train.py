"""An experiment: from a data set and a configuration to a run folder with trained, exported networks.

    data set ──▶ prepared cases, folds ──train_fold──▶ weights ──export──▶ RUN/fold_0/model

What is judged later is what was exported: `validate_run` predicts the held-out cases from the exported model through
the path that `segment` takes, and hands them to `evaluation`.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import nn

from glioscope.cases import Case, Fold, load_case, scan_cases, with_scheme, with_subjects
from glioscope.cases.known import require_one_kind
from glioscope.errors import CaseError, ConfigError, GlioscopeError, RunError
from glioscope.experiment.dealing import deal
from glioscope.files import atomic_path, read_json, sha256_of, write_json
from glioscope.inference import InferenceConfig, export_openvino, trained_weights
from glioscope.labels import REGIONS, RegionsConfig
from glioscope.machine import provenance
from glioscope.machine.progress import OnProgress, silent
from glioscope.model import ModelSpec, read_model, write_model
from glioscope.model.network import NetworkConfig
from glioscope.prepare.preprocessing import PreprocessingConfig, prepare, prepared_facts, save_prepared
from glioscope.report import draw_curves
from glioscope.runs import Run
from glioscope.segmentation import default_model
from glioscope.settings import Config, read_config, settings
from glioscope.training import FoldFiles, FoldSettings, Progress, TrainingConfig, joined, train_fold
from glioscope.training.augment import AugmentConfig
from glioscope.training.losses import LossConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What to train, and for how long."""

    config: str = "standard"
    """Name of a built-in configuration or path of a TOML file."""
    overrides: Sequence[str] = ()
    """``table.key=value`` each."""
    fold: int | Literal["all", "none"] = 0
    """A fold; ``all`` for every fold in turn; ``none`` to train on every case and hold nothing out."""
    minutes: float | None = None
    """Wall time in training steps, per fold; None takes ``training.steps``."""
    resume: bool = False
    """Continue a run; settings are then read from it."""
    initial: Path | str | None = None
    """Weights to start from: ``weights.safetensors``, a model folder, or ``starter``, the network in the package."""
    scheme: str | None = None
    """Label scheme of the references; None: told by names and all values. A resumed run keeps its own."""
    subjects: Path | str | None = None
    """A table of subjects (`cases.with_subjects`), by which folds are dealt."""


def train(
    dataset: Path | str,
    run_folder: Path | str,
    *,
    options: TrainOptions = TrainOptions(),
    progress: OnProgress = silent,
) -> Run:
    """Train one fold, all folds, or one network on every case, and export each.

    Under ``torchrun`` the processes share each step, and the first alone writes.

    Parameters
    ----------
    dataset : path
        Any folder that `cases.scan_cases` reads; cases without a reference are left out, with a line in the log.
    run_folder : path
        Made if need be. A run that exists is only continued, with ``resume``.
    progress : callable
        Told of each prepared case, then, as a share of 1, of each step of each fold.

    Raises
    ------
    CaseError
        No case with a reference is there.
    ConfigError
        A setting is wrong, the fold does not exist, or the initial weights are of another network.
    ModelError
        There are no initial weights where they should be, or they are damaged.
    RunError
        The run exists already (without ``resume``), does not exist (with it), or cannot be written.
    """
    run, dataset = Run(Path(run_folder)), Path(dataset)
    place = _initial_place(run, options)
    initial = None if place is None else {k: torch.from_numpy(w) for k, w in trained_weights(place).items()}
    with joined() as team:
        if team.first:
            _begin(run, dataset, options, place, progress)
        team.wait()
        rooms, seen = fold_settings(run.config()), _cases_seen(place)
        for index, part in _parts(run, options.fold):
            if team.first:
                _warn_of_leaks(index, part, seen)
            files = FoldFiles(
                folder=run.fold(index), prepared=run.prepared, train=part.train, validation=part.validation
            )
            network = train_fold(
                files,
                rooms,
                minutes=options.minutes,
                resume=options.resume,
                initial=initial,
                team=team,
                on_progress=_teller(files.folder, index, progress),
            )
            if team.first:
                export_run_model(run, index, network, name=f"{run.folder.name}/fold_{index}", seen=seen)
    return run


def _teller(folder: Path, index: int, progress: OnProgress) -> Callable[[Progress], None]:
    """Return what passes on where a fold stands, and draws its curves anew after each validation."""

    def tell(now: Progress) -> None:
        line = f"fold {index}, step {now.step}, loss {now.loss:.3f}"
        if now.dice is not None:
            line += f", validation Dice {now.dice:.3f}"
            try:
                draw_curves(folder / "history.csv", folder / "curves.png")
            except (GlioscopeError, OSError) as error:  # no reason to lose a training
                log.warning("curves not drawn: %s", error)
        progress(now.fraction, 1, line)

    return tell


def _begin(run: Run, dataset: Path, options: TrainOptions, initial: Path | None, progress: OnProgress) -> None:
    """Write the settings, the record, the prepared cases and the folds, as far as they are not there yet."""
    if run.config_file.is_file() and not options.resume:
        raise RunError(f"{run.folder}: holds a run already; continue it with --resume or choose another folder")
    if options.resume and not run.config_file.is_file():
        raise RunError(f"{run.folder}: there is no run to resume; to begin one, run the command without --resume")
    chosen = run.config() if options.resume else read_config(options.config, options.overrides)
    rooms = fold_settings(chosen)
    preprocessing = settings(PreprocessingConfig, chosen, "preprocessing")
    if len(preprocessing.sequences) != rooms.network.sequences:
        raise ConfigError(
            f"network.sequences is {rooms.network.sequences} but preprocessing.sequences names "
            f"{len(preprocessing.sequences)}; they must agree"
        )
    scheme = _scheme_of(run, options, rooms.regions)
    cases = _labelled_cases(dataset, scheme, options.subjects)
    partial = _partly_known(cases, rooms)
    _check_inference(chosen, rooms.regions)
    if not options.resume:
        record = {**provenance(), "dataset": str(dataset), "cases": _checksums(cases)}
        record["schemes"] = {case.case_id: case.scheme for case in cases}
        record["scheme"] = scheme
        record["subjects"] = {case.case_id: case.subject_id for case in cases}
        if partial:
            record["known_regions"] = {case_id: list(known) for case_id, known in partial.items()}
        if initial is not None:
            record["initial"] = _origin(initial)
        write_json(run.folder / "record.json", record)
        run.write_config(options.config, chosen)  # last: its presence says that there is a run to resume
    volumes_ml = _prepare_all(cases, (preprocessing, rooms.regions), run.prepared, progress)
    ready = [c for c in cases if c.case_id in volumes_ml]
    deal(run, ready, options.fold, rooms.training, volumes_ml)


def fold_settings(config: Config) -> FoldSettings:
    """Return the settings of the rooms that train, checked."""
    preprocessing = settings(PreprocessingConfig, config, "preprocessing")
    regions = settings(RegionsConfig, config, "regions")
    return FoldSettings(
        network=_network_of(config, regions),
        augment=settings(AugmentConfig, config, "augment"),
        loss=settings(LossConfig, config, "loss"),
        training=settings(TrainingConfig, config, "training"),
        sequences=preprocessing.sequences,
        spacing_mm=preprocessing.spacing_mm,
        regions=regions,
    )


def _network_of(config: Config, regions: RegionsConfig) -> NetworkConfig:
    """Return the network's settings, with as many inputs and outputs as there are sequences and regions."""
    network = settings(NetworkConfig, config, "network")
    if regions.names != REGIONS and network.outputs == "labels":
        raise ConfigError(
            "network.outputs is 'labels', which stands for background, NCR, ED and ET; other regions need 'regions'"
        )
    sequences = network.sequences
    if "sequences" not in config.get("network", {}):
        sequences = len(settings(PreprocessingConfig, config, "preprocessing").sequences)
    return replace(network, regions=len(regions.names), sequences=sequences)


def _initial_place(run: Run, options: TrainOptions) -> Path | None:
    """Return where the weights lie that a run begins from; one that is resumed begins each fold from the same."""
    if options.initial is None and options.resume and run.config_file.is_file():
        origin = read_json(run.folder / "record.json", what="run").get("initial")
        if origin is None:
            return None
        place = Path(origin["place"])
        if _origin(place)["sha256"] != origin["sha256"]:
            raise RunError(f"{place}: is no longer what this run began from; name those weights with --initial")
        return place
    if options.initial is None:
        return None
    place = Path(options.initial)
    return default_model() if str(place) == "starter" and not place.exists() else place


def _origin(place: Path) -> dict[str, str]:
    """Return what the record tells of the weights that a run began from."""
    try:
        digest = sha256_of(place / "model.json" if place.is_dir() else place)
    except OSError as error:
        raise RunError(f"{place}: the weights this run began from are gone; name them with --initial") from error
    return {"place": str(place.resolve()), "sha256": digest}


def _cases_seen(place: Path | None) -> frozenset[str]:
    """Return the cases that the initial weights were trained on, if they lie in a model folder, which tells."""
    if place is None or not place.is_dir():
        return frozenset()
    return frozenset(read_model(place).record.get("trained_on", ()))


def _warn_of_leaks(index: int, part: Fold, seen: frozenset[str]) -> None:
    """Say so if held-out cases were trained on before: another seed deals other folds, and nothing else would tell."""
    known = sorted(seen & set(part.validation))
    if known:
        log.warning(
            "fold %d: the initial weights were trained on %d of its %d held-out cases (%s first), so its scores will "
            "be too good. Copy folds.json of the earlier run into this one before it begins, or take other weights.",
            index,
            len(known),
            len(part.validation),
            known[0],
        )


def _scheme_of(run: Run, options: TrainOptions, regions: RegionsConfig) -> str | None:
    """Return the scheme that the user named, now or when the run began, in the command or the configuration."""
    if regions.scheme:
        if options.scheme not in (None, regions.scheme):
            raise ConfigError(
                f"--scheme is {options.scheme} but regions.scheme is {regions.scheme}; leave --scheme away, or name one"
            )
        return regions.scheme
    if options.resume and options.scheme is None:
        named: str | None = read_json(run.folder / "record.json", what="run").get("scheme")
        return named
    return options.scheme


def _labelled_cases(dataset: Path, scheme: str | None, subjects: Path | str | None) -> list[Case]:
    cases, problems = scan_cases(dataset)
    cases = with_subjects(cases, subjects)
    for problem in problems.values():
        log.warning("%s", problem)
    labelled = [c for c in cases if c.reference is not None]
    for case in cases:
        if case.reference is None:
            log.warning("case %s: has no segmentation; left out of training", case.case_id)
    if not labelled:
        raise CaseError(f"{dataset}: holds {len(cases)} cases but none with a segmentation; training needs them")
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(with_scheme(labelled, scheme=scheme, each=pool.map))


def _check_inference(config: Config, regions: RegionsConfig) -> None:
    """Refuse, before anything is trained, an inference table that cannot be of these regions."""
    settings(InferenceConfig, config, "inference").of(len(regions.names))


def _partly_known(cases: Sequence[Case], rooms: FoldSettings) -> dict[str, tuple[str, ...]]:
    """Return the regions known of each case that does not know all, and say how many there are."""
    require_one_kind({case.case_id: case.known for case in cases}, rooms.regions.names)
    partial = {case.case_id: case.known for case in cases if case.known is not None}
    if not partial:
        return partial
    first, known = next(iter(partial.items()))
    if rooms.network.outputs == "labels":
        raise ConfigError(
            f"case {first}: its reference knows {', '.join(known)} alone, and a label needs every region; leave such "
            "cases out, or train with --set network.outputs=regions"
        )
    log.warning("%d of %d cases know %s alone: trained on, never held out", len(partial), len(cases), ", ".join(known))
    return partial


def _checksums(cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    def of(case: Case) -> dict[str, str]:
        files = {**case.sequences, **({"seg": case.reference} if case.reference else {})}
        return {name: sha256_of(file.path) for name, file in files.items()}

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return dict(zip((c.case_id for c in cases), pool.map(of, cases), strict=True))


def _prepare_all(
    cases: Sequence[Case], how: tuple[PreprocessingConfig, RegionsConfig], folder: Path, progress: OnProgress
) -> dict[str, float]:
    """Prepare what is not prepared yet; return whole-tumour volume by case id. A bad case is logged and left out."""
    volumes_ml: dict[str, float] = {}

    def one(case: Case) -> float | None:
        try:
            if not (folder / f"{case.case_id}.json").is_file():
                save_prepared(folder, prepare(load_case(case), how[0], regions=how[1]))
            return prepared_facts(folder, case.case_id).volumes_ml.get(how[1].names[0], 0.0)
        except RunError:
            raise
        except GlioscopeError as error:
            log.warning("%s; left out of training", error)
            return None

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for done, (case, volume) in enumerate(zip(cases, pool.map(one, cases), strict=True), start=1):
            if volume is not None:
                volumes_ml[case.case_id] = volume
            progress(done, len(cases), "cases prepared")
    if not volumes_ml:
        raise CaseError(f"none of {len(cases)} cases can be used; run 'glioscope check' on the folder")
    return volumes_ml


def _parts(run: Run, fold: int | Literal["all", "none"]) -> list[tuple[int, Fold]]:
    folds = run.folds()
    if isinstance(fold, str):  # all of them, or the only one
        return list(enumerate(folds))
    if not 0 <= fold < len(folds):
        raise ConfigError(f"fold {fold} does not exist; the run has folds 0 to {len(folds) - 1}")
    return [(fold, folds[fold])]


def export_run_model(
    run: Run, index: int, network: nn.Module, *, name: str, seen: frozenset[str] = frozenset()
) -> Path:
    """Write a trained network as a model folder, RUN/fold_<index>/model, and return it.

    Its record names the cases that it was trained on; `seen` are those of the weights that it began from.
    """
    config = run.config()
    rooms = fold_settings(config)
    folder = run.fold(index) / "model"
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with atomic_path(folder / "weights.safetensors") as scratch:
        save_file(weights, scratch)
    export_openvino(network, folder, sequences=rooms.network.sequences, onnx=False)
    part = run.folds()[index]
    spec = ModelSpec(
        name=name,
        outputs=rooms.network.outputs,
        divisor=rooms.network.divisor,
        network=asdict(rooms.network),
        preprocessing=settings(PreprocessingConfig, config, "preprocessing"),
        regions=rooms.regions,
        inference=config["inference"],
        record={
            **provenance(),
            "run": run.folder.name,
            "fold": index,
            "trained_on": sorted(seen.union(part.train)),
            "held_out": list(part.validation),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    )
    write_model(folder, spec, ["network.xml", "network.bin", "weights.safetensors"])
    return folder
