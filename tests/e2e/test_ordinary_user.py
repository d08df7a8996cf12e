"""On a cluster: an ordinary user, an installation that cannot be written, no network, no home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import write_tiny_case, write_tiny_model

NOBODY = 65534
DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.slow
def test_segment_needs_no_rights_no_network_and_no_home(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("to become another user without a network takes root, unshare and setpriv (util-linux)")
    if subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody be without a network (unshare --net)")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    model = write_tiny_model(tmp_path / "model")
    write_tiny_case(tmp_path / "in", "p1")
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    user = ["unshare", "--net", "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    read = [*user, "test", "-r", sys.executable]
    if subprocess.run(read, check=False).returncode:
        pytest.skip("the interpreter lies where other users cannot read it")
    program = "import sys; from glioscope.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "segment", str(tmp_path / "in"), "-o", str(out), "--model", str(model)]
    done = subprocess.run(
        [*user, *command], env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (out / "p1").iterdir()} >= {"segmentation.nii.gz", "summary.json", "report.html"}


@pytest.mark.parametrize("name", ["Dockerfile", "glioscope.def", "segment.slurm"])
def test_recipes_name_options_that_exist(name: str) -> None:
    from typer.main import get_command

    from glioscope.cli.app import app

    text = (DEPLOY / name).read_text(encoding="utf-8")
    known = {option for command in get_command(app).commands.values() for p in command.params for option in p.opts}
    used = {word for line in text.splitlines() if "segment" in line or "--shard" in line for word in line.split()}
    mine = {"--threads", "--shard", "-o"} & used
    assert mine <= known
    assert mine


def test_the_array_is_a_script_that_bash_can_read() -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    subprocess.run(["bash", "-n", str(DEPLOY / "segment.slurm")], check=True)
