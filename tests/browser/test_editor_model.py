"""The editor's own map of labels, without a page: random sequences against an independent replay."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import glioscope
from serving import CHROMIUM

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser test")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed: no browser test"),
]
STATIC = Path(glioscope.__file__).parent / "web" / "static"
SHAPE = (7, 6, 5)
LAS = [[-1.0, 0, 0, 3], [0, 1.5, 0, -2], [0, 0, 3.0, 1]]
"""The file runs to the left; slices are 3 mm apart."""
UNIT = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


@pytest.fixture(scope="module")
def modules(browser: Any) -> Iterator[Any]:
    """A page that holds the editor's modules and nothing else."""
    context = browser.new_context()
    page = context.new_page()
    page.route("http://editor.test/*", lambda route: route.fulfill(**_answer(route.request.url)))
    page.goto("http://editor.test/")
    page.evaluate(
        """async () => { Object.assign(window, await import("/space.js"), await import("/bitmap.js"),
            await import("/tools.js")); }"""
    )
    yield page
    context.close()


def _answer(url: str) -> dict[str, Any]:
    name = url.rpartition("/")[2]
    if not name:
        return {"body": "<title>modules</title>", "content_type": "text/html"}
    return {"body": (STATIC / name).read_text("utf-8"), "content_type": "text/javascript"}


REPLAY = """(text) => { const [start, sequences] = JSON.parse(text); return JSON.stringify(sequences.map((steps) => {
    const map = new Bitmap(Uint8Array.from(start)), seen = [];
    for (const [what, ...rest] of steps) {
        if (what === "stroke") { map.begin(); for (const [at, label] of rest[0]) map.set(at, label); map.end(); }
        else if (what === "runs") map.changeRuns(rest[0]);
        else if (what === "undo") map.undo();
        else if (what === "redo") map.redo();
        else if (what === "save") map.saved(map.labels);
        else if (what === "switch") map.load(Uint8Array.from(rest[0]));
        seen.push([[...map.labels], map.asLoaded(), map.different, [...map.counts.slice(0, 5)], map.done.length]);
    }
    return seen;
})); }"""


class Replay:
    """The same by keeping whole maps."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self.load(labels)

    def load(self, labels: NDArray[np.uint8]) -> None:
        self.states, self.now, self.loaded = [labels.copy()], 0, labels.copy()

    @property
    def labels(self) -> NDArray[np.uint8]:
        return self.states[self.now]

    def do(self, step: list[Any]) -> None:
        what, rest = step[0], step[1:]
        new = self.labels.copy()
        if what == "stroke":
            for at, label in rest[0]:
                new[at] = label
        elif what == "runs":
            for start, length, label in np.reshape(rest[0], (-1, 3)):
                new[start : start + length] = label
        elif what == "undo":
            self.now = max(0, self.now - 1)
            return
        elif what == "redo":
            self.now = min(len(self.states) - 1, self.now + 1)
            return
        elif what == "save":
            self.loaded = self.labels.copy()
            return
        elif what == "switch":
            self.load(np.array(rest[0], np.uint8))
            return
        if not np.array_equal(new, self.labels):
            self.states[self.now + 1 :] = [new]
            self.now += 1

    def seen(self) -> list[Any]:
        different = int(np.count_nonzero(self.labels != self.loaded))
        counts = np.bincount(self.labels, minlength=5)[:5].tolist()
        return [self.labels.tolist(), different == 0, different, counts, self.now]


def _steps(rng: np.random.Generator, size: int) -> list[list[Any]]:
    steps: list[list[Any]] = []
    for _ in range(int(rng.integers(1, 25))):
        what = rng.choice(["stroke", "runs", "undo", "redo", "save", "switch"], p=[0.34, 0.14, 0.26, 0.16, 0.06, 0.04])
        if what == "stroke":  # a voxel may be crossed twice, and painted back to what it was
            places = rng.integers(0, size, int(rng.integers(1, 40)))
            steps.append(["stroke", [[int(at), int(rng.integers(0, 5))] for at in places]])
        elif what == "runs":
            start = int(rng.integers(0, size - 6))
            steps.append(["runs", [start, int(rng.integers(1, 6)), int(rng.integers(0, 5))]])
        elif what == "switch":
            steps.append(["switch", rng.integers(0, 5, size).tolist()])
        else:
            steps.append([str(what)])
    return steps


def test_500_random_sequences_equal_an_independent_replay(modules: Any) -> None:
    """Brush, click, undo, redo, save and switch in any order: labels, volumes and "as loaded" after every step."""
    rng = np.random.default_rng(17)
    size = int(np.prod(SHAPE))
    start = rng.integers(0, 5, size).astype(np.uint8)
    sequences = [_steps(rng, size) for _ in range(500)]
    found = json.loads(modules.evaluate(REPLAY, json.dumps([start.tolist(), sequences])))
    for steps, seen in zip(sequences, found, strict=True):
        replay = Replay(start)
        for number, step in enumerate(steps):
            replay.do(step)
            assert seen[number] == replay.seen(), json.dumps(steps[: number + 1])[:2000]


def test_the_changes_sent_with_a_click_bring_the_map_back(modules: Any) -> None:
    """`runs` on what was loaded gives what is drawn."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        loaded, drawn = rng.integers(0, 3, (2, 300))
        runs = modules.evaluate(
            """([loaded, drawn]) => { const map = new Bitmap(Uint8Array.from(loaded));
                map.change([...drawn.keys()], drawn); return map.runs(); }""",
            [loaded.tolist(), drawn.tolist()],
        )
        for start, length, label in np.reshape(runs, (-1, 3)):
            loaded[start : start + length] = label
        assert np.array_equal(loaded, drawn)


@pytest.mark.parametrize("affine", [LAS, [[0, 0, 2, 1], [-1, 0.1, 0, 5], [0, 1, 0, 2]]])
def test_places_follow_the_patient_however_the_file_is_stored(modules: Any, affine: list[list[float]]) -> None:
    """x to the right, y to the front, z up; index, place and millimetres agree with numpy."""
    found = modules.evaluate(
        """([shape, affine]) => { const s = new Space(shape, affine); return {
            steps: [0, 1, 2].map((axis) => { const a = [1, 1, 1], b = [1, 1, 1]; b[axis]++;
                const [p, q] = [s.millimetres(a), s.millimetres(b)]; return q.map((n, w) => n - p[w]); }),
            places: [...Array(shape[0] * shape[1] * shape[2]).keys()].map((n) => {
                const place = s.place(n);
                const mm = s.millimetres(place);
                return [s.index(...place), s.stored(place), mm, s.fromMillimetres(mm), place];
            }) }; }""",
        [list(SHAPE), affine],
    )
    for axis, step in enumerate(found["steps"]):
        assert np.argmax(np.abs(step)) == axis
        assert step[axis] > 0
    stored = np.stack(np.unravel_index(np.arange(np.prod(SHAPE)), SHAPE, order="F"), 1)
    matrix = np.array(affine)
    for n, (index, ijk, mm, back, place) in enumerate(found["places"]):
        assert index == n
        assert ijk == stored[n].tolist()
        assert mm == pytest.approx((matrix[:, :3] @ stored[n] + matrix[:, 3]).tolist())
        assert back == place


def test_a_ball_is_round_in_millimetres_and_a_disc_is_flat(modules: Any) -> None:
    sizes = modules.evaluate(
        """(affine) => { const s = new Space([41, 41, 41], affine), c = [20, 20, 20];
            return [round(s, c, 6).length, round(s, c, 6, 2).length, round(s, c, 0.1).length]; }""",
        LAS,
    )
    x, y, z = np.ogrid[-20:21, -20:21, -20:21]
    ball = x**2 + (1.5 * y) ** 2 + (3.0 * z) ** 2 <= 36
    assert sizes == [int(ball.sum()), int(ball[:, :, 20].sum()), 1]


def test_between_two_slices_a_square_grows_evenly(modules: Any) -> None:
    """Half-way between squares of 4 and 8 voxels lies one of 6; other slices and labels stay."""
    found = modules.evaluate(
        """(unit) => { const s = new Space([16, 16, 5], unit), labels = new Uint8Array(1280);
            const square = (z, half) => { for (let y = 8 - half; y < 8 + half; y++)
                for (let x = 8 - half; x < 8 + half; x++) labels[s.index(x, y, z)] = 2; };
            square(1, 2); square(3, 4);
            return interpolation(s, labels, 2, 2).map((n) => s.place(n)); }""",
        UNIT,
    )
    places = np.array(found)
    assert set(places[:, 2]) == {2}
    assert sorted(set(places[:, 0])) == list(range(5, 11))
    assert len(places) == pytest.approx(36, abs=4)  # corners may be cut


def test_islands_go_to_what_surrounds_them_and_a_fill_stays_inside(modules: Any) -> None:
    found = modules.evaluate(
        """(unit) => { const s = new Space([9, 9, 3], unit), labels = new Uint8Array(243);
            const box = (z0, z1, a, b, label) => { for (let z = z0; z <= z1; z++) for (let y = a; y <= b; y++)
                for (let x = a; x <= b; x++) labels[s.index(x, y, z)] = label; };
            box(0, 2, 1, 7, 2); box(1, 1, 3, 5, 0); box(0, 0, 3, 4, 3);
            const hole = fill(s, labels, [4, 4, 1], 2), out = fill(s, labels, [0, 0, 1], 2);
            const inner = island(s, labels, [3, 3, 0], false);
            return [hole.found.length, hole.open, out.open, inner.length, without(s, labels, inner),
                island(s, labels, [3, 3, 0], true).length, island(s, labels, [0, 0, 0], true).length]; }""",
        UNIT,
    )
    assert found == [9, False, True, 4, 2, 3 * 49 - 9, 0]


def test_painting_keeps_to_what_is_allowed(modules: Any) -> None:
    """Labels 0 1 2; grey values 0 50 200."""
    found = modules.evaluate(
        """() => { const labels = Uint8Array.of(0, 0, 0, 1, 1, 1, 2, 2, 2);
            const image = Uint8Array.of(0, 50, 200, 0, 50, 200, 0, 50, 200);
            const open = (rules) => [...labels.keys()].filter(allowed(labels, rules)).join("");
            return [open({}), open({ over: "none" }), open({ over: "tumour" }), open({ over: 2 }),
                open({ brain: true, image }), open({ range: { image, low: 60, high: 255 } })]; }"""
    )
    assert found == ["012345678", "012", "345678", "678", "124578", "258"]
