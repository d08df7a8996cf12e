"""Two real Ray nodes: a worker, a node and the driver are killed, and no case is lost or done twice."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from ray_cluster import Driver, TwoMachines, TwoNodes, kill, nothing_lost
from tiny import write_tiny_case, write_tiny_model

pytestmark = pytest.mark.slow

CASES = 24


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with TwoNodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_tiny_model(folder / "model")
    for n in range(CASES):
        write_tiny_case(folder / "data", f"p{n:02d}", seed=n)
    return folder


def test_driver_worker_and_node_are_killed_and_nothing_is_lost(cohort: Path, tmp_path: Path, nodes: TwoNodes) -> None:
    first = Driver(cohort, tmp_path, nodes.address)
    first.until(lambda: len(first.events("done")) >= 3)
    first.kill()
    done_before = {path.parent.name for path in tmp_path.rglob("summary.json")}
    assert 3 <= len(done_before) < CASES

    second = Driver(cohort, tmp_path, nodes.address)
    second.until_answered(3)
    kill(second.worker())
    second.until(lambda: len(second.events("died")) >= 1)
    nodes.kill_second_node()
    text = second.finish()
    assert f"{CASES - len(done_before)} segmented, {len(done_before)} already done, 0 failed" in text
    nothing_lost(cohort, tmp_path)
    skipped = {entry.case for entry in second.events("skipped")}
    assert skipped == done_before, "what was done was done again"
    assert max(Counter(entry.case for entry in second.events("done")).values()) == 1


@pytest.mark.long
def test_the_cable_between_two_machines_is_cut_and_nothing_is_lost(cohort: Path, tmp_path: Path) -> None:
    with TwoMachines() as machines:
        driver = Driver(cohort, tmp_path, machines.address, machines.inside("head"))
        driver.until(lambda: len(driver.events("ready")) == 2)
        driver.until_answered(4)
        machines.cut()
        assert f"{CASES} segmented, 0 already done, 0 failed" in driver.finish()
        assert driver.events("died"), "the other machine was still heard"
    nothing_lost(cohort, tmp_path)


def killed_twice(cohort: Path, output: Path, address: str, dice: random.Random, nodes: TwoNodes | None) -> None:
    """Segment a cohort while two things are killed at random moments; see that nothing is lost."""
    driver = Driver(cohort, output, address)
    for kind in dice.sample(["worker", "worker", "driver", *(["node"] if nodes else [])], 2):
        driver.until_answered(dice.randint(1, 5))
        time.sleep(dice.uniform(0, 0.2))
        if kind == "worker":
            kill(driver.worker())
        elif kind == "node" and nodes is not None:
            nodes.kill_second_node()
        else:
            driver.kill()
            driver = Driver(cohort, output, address)
    driver.finish()
    nothing_lost(cohort, output)


@pytest.mark.long
def test_twenty_runs_on_ray_with_random_kills_lose_nothing(cohort: Path, tmp_path: Path, nodes: TwoNodes) -> None:
    dice = random.Random(0)
    for run in range(20):
        nodes.add_node()
        killed_twice(cohort, tmp_path / str(run), nodes.address, dice, nodes)


@pytest.mark.long
def test_twenty_runs_on_this_machine_with_random_kills_lose_nothing(cohort: Path, tmp_path: Path) -> None:
    dice = random.Random(1)
    for run in range(20):
        killed_twice(cohort, tmp_path / str(run), "local", dice, None)
