"""Which studies are taken and what is returned; who may send; what a wrong setting says."""

from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom is not installed: no test of the node")

from glioscope.errors import ConfigError
from glioscope.node.rules import EVERYTHING, KINDS, About, Rule, read_rules, rule_for
from glioscope.node.settings import NodeConfig, caller, peer

RULES = """
[[rule]]
name = "not knees"
take = false
description = ["*knee*"]

[[rule]]
name = "glioma"
calling = ["PACS", "MR?"]
description = ["*brain*", "*glio*"]
sequences = [["t1c", "t2f"], ["t2f"]]
return = { ORTHANC = ["seg", "sr"], VIEWER = ["rtstruct"] }
"""


def rules(tmp_path: Path, text: str = RULES) -> tuple[Rule, ...]:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return read_rules(path, ("ORTHANC", "VIEWER"))


def about(description: str, calling: str = "MR1") -> About:
    return About(calling=calling, station="S", description=description)


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    found = rules(tmp_path)
    assert rule_for(found, about("MR KNEE and brain")) is found[0]
    assert rule_for(found, about("Follow-up GLIOMA", "PACS")) is found[1]
    assert rule_for(found, about("brain", "MR10")) is None
    assert rule_for(found, about("liver")) is None
    assert rule_for((EVERYTHING,), about("")) is EVERYTHING


def test_what_suffices_and_what_lacks(tmp_path: Path) -> None:
    rule = rules(tmp_path)[1]
    assert rule.lacks(("t1c", "t2f", "t2w")) == ""
    assert rule.lacks(("t2f",)) == ""
    assert rule.lacks(("t1n",)) == "has t1n, but rule 'glioma' needs t1c+t2f or t2f"
    assert EVERYTHING.lacks(()) == ""


def test_what_each_archive_gets(tmp_path: Path) -> None:
    rule = rules(tmp_path)[1]
    assert rule.kinds_for("ORTHANC") == ("seg", "sr")
    assert rule.kinds_for("OTHER") == ()
    assert EVERYTHING.kinds_for("ANY") == KINDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = 3", "needs tables"),
        ("[rule]\nname = 'a'", "needs tables"),
        ("other = 1\n[[rule]]\nname = 'a'", "has 'other'"),
        ("[[rule]]\nname = 'a'\ndescripton = ['x']", "has 'descripton'; known are description"),
        ("[[rule]]\nname = 'a'\ntake = 'perhaps'", "take: Input should be a valid boolean"),
        ("[[rule]]\ntake = true", "name"),
        ("[[rule]]\nname = 'a'\nsequences = [['t1x']]", "'t1x'; known are t1n"),
        ("[[rule]]\nname = 'a'\nreturn = { PACS = ['seg'] }", "archive 'PACS', but --send-to has ORTHANC, VIEWER"),
        ("[[rule]]\nname = 'a'\nreturn = { ORTHANC = ['png'] }", "'png'; known are seg"),
        ("[[rule", "cannot be read as TOML"),
    ],
)
def test_a_wrong_file_is_told_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"rules .*rules\.toml") as caught:
        rules(tmp_path, text)
    assert message in str(caught.value)


def test_callers_are_told_by_name_and_network() -> None:
    assert caller("MR1").admits("MR1", "10.0.0.9")
    assert not caller("MR1").admits("MR2", "10.0.0.9")
    assert caller("*@10.0.0.0/24").admits("ANY", "10.0.0.9")
    assert not caller("*@10.0.0.0/24").admits("ANY", "10.0.1.9")
    assert caller("MR1@::1").admits("MR1", "::1%lo")


@pytest.mark.parametrize("text", ["", "A" * 17, "A\\B", "MR1@nowhere", "MR1@10.0.0.0/99", "  "])
def test_a_caller_that_cannot_be(text: str) -> None:
    with pytest.raises(ConfigError):
        caller(text)


def test_an_archive_is_written_with_its_port() -> None:
    found = peer("ORTHANC@[::1]:4242")
    assert (found.ae, found.host, found.port) == ("ORTHANC", "::1", 4242)
    for text in ("ORTHANC", "ORTHANC@host", "@host:104", "A@host:0", "A@host:70000"):
        with pytest.raises(ConfigError):
            peer(text)


def test_beyond_this_machine_callers_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--allow"):
        NodeConfig(data=tmp_path, host="0.0.0.0")
    NodeConfig(data=tmp_path, host="0.0.0.0", allow=(caller("MR1"),))
    for wrong in ({"port": 70000}, {"workers": 0}, {"quiet_seconds": 0.0}, {"ae": "A" * 17}):
        with pytest.raises(ConfigError):
            NodeConfig(data=tmp_path, **wrong)  # type: ignore[arg-type]
