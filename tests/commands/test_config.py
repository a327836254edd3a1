"""``meshhook config``: what is told of a configuration, and with which code it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import meshhook as mh
from meshhook.cli import main
from meshhook.configuration.kinds import KINDS, arguments_of

SHOP = """
import meshhook as mh

payments = mh.circuit_breaker("payments", reset_timeout=5)

@mh.retry(max_attempts=2)
def price(): ...

@mh.timeout(5)
def stock(): ...
"""

RIGHT = """profile = "production"

[defaults.circuit_breaker]
failure_threshold = 9

[profiles.production.retry]
max_attempts = 5

[policies.circuit_breaker.payments]
reset_timeout = "10s"
"""

WRONG = """[defaults.retry]
max_attempt = 5

[policies.circuit_breaker.paymnts]
reset_timeout = "10s"
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: mh.Registry) -> Iterator[Path]:
    """Have a module with policies where one stands, and files that are right and wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "config_shop.py").write_text(SHOP)
    (tmp_path / "right.toml").write_text(RIGHT)
    (tmp_path / "wrong.toml").write_text(WRONG)
    yield tmp_path
    sys.modules.pop("config_shop", None)


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["config", "check", *arguments])
    return code, *capsys.readouterr()


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The layers are shown, and where the settings of each policy that has some come from."""
    code, out, err = check(capsys, "right.toml", "--import", "config_shop")
    assert (code, err) == (0, "")
    assert out == (
        "right.toml: all is well, with the profile 'production'\n"
        "\ndefaults, under what the code says\n"
        "  circuit_breaker  failure_threshold\n"
        "\nprofiles, over the code, in that profile\n"
        "  retry production  max_attempts\n"
        "\npolicies, over all profiles\n"
        "  circuit_breaker payments  reset_timeout\n"
        "\ncircuit_breaker payments\n"
        "  failure_threshold  right.toml, line 4: defaults.circuit_breaker.failure_threshold\n"
        "  reset_timeout      right.toml, line 10: policies.circuit_breaker.payments."
        "reset_timeout\n"
        "\nretry config_shop.price\n"
        "  max_attempts  right.toml, line 7: profiles.production.retry.max_attempts\n"
    )


def test_nothing_is_changed(capsys: pytest.CaptureFixture[str], registry: mh.Registry) -> None:
    """Neither a policy nor what those made later will be like."""
    check(capsys, "right.toml", "--import", "config_shop")
    assert registry.circuit_breakers["payments"].settings.rules.reset_timeout == 5.0
    assert registry._layers is None


def test_without_policies_names_are_not_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """And that is said."""
    code, out, _ = check(capsys, "right.toml")
    assert code == 0
    assert out.endswith(
        "Names were not looked at, for no policies are known: give --import MODULE\n"
    )


def test_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything at once, each with its place, and the code is 1."""
    code, out, _ = check(capsys, "wrong.toml", "--import", "config_shop")
    assert code == 1
    assert out == (
        "wrong.toml, line 2: defaults.retry.max_attempt: no such setting of retry; did you mean "
        "'max_attempts'?\n"
        "wrong.toml, line 4: policies.circuit_breaker.paymnts: no such circuit_breaker; did you "
        "mean 'payments'?\n"
        "\nwrong.toml: 2 things are wrong\n"
    )


def test_one_thing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """Without policies the other one is not known."""
    code, out, _ = check(capsys, "wrong.toml")
    assert code == 1
    assert out.endswith("\nwrong.toml: 1 thing is wrong\n")


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: the same, with lines and paths."""
    code, out, _ = check(capsys, "wrong.toml", "--json")
    assert code == 1
    report = json.loads(out)
    assert report["ok"] is False
    assert report["problems"] == [
        {
            "text": "no such setting of retry; did you mean 'max_attempts'?",
            "places": [{"source": "wrong.toml", "path": "defaults.retry.max_attempt", "line": 2}],
        }
    ]
    assert [each["places"][0]["path"] for each in report["waiting"]] == [
        "policies.circuit_breaker.paymnts"
    ]
    code, out, _ = check(capsys, "right.toml", "--json", "--import", "config_shop")
    report = json.loads(out)
    assert (code, report["ok"], report["profile"]) == (0, True, "production")
    assert [(each["policy"], each["name"]) for each in report["policies"]] == [
        ("circuit_breaker", "payments"),
        ("retry", "config_shop.price"),
        ("timeout", "config_shop.stock"),
    ]
    assert report["policies"][2]["settings"] == {"seconds": "code"}


def test_profiles_and_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are those of configure, and may be left aside."""
    code, out, _ = check(capsys, "right.toml", "--profile", "prodution")
    assert code == 1
    assert out.startswith("--profile: no such profile; did you mean 'production'?\n")
    monkeypatch.setenv("MESHHOOK__RETRY__CONFIG_SHOP_PRICE__MAX_ATTEMPTS", "many")
    code, out, _ = check(capsys, "right.toml", "--import", "config_shop")
    assert code == 1
    assert "environment: MESHHOOK__RETRY__CONFIG_SHOP_PRICE__MAX_ATTEMPTS: max_attempts m" in out
    code, _, _ = check(capsys, "right.toml", "--import", "config_shop", "--no-environment")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["right.toml", "--import", "no_such"], "cannot import no_such: No module named 'no_such'"),
        (["right.toml", "--import", "broken"], "broken: the module failed with ZeroDivisionError"),
        (["right.ini"], "source must be the path of a file that ends in .toml"),
    ],
)
def test_what_cannot_be_done(
    capsys: pytest.CaptureFixture[str], shop: Path, arguments: list[str], message: str
) -> None:
    """Is told where errors go, and the code is 1."""
    (shop / "broken.py").write_text("1 / 0")
    code, out, err = check(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("meshhook config check: ")
    assert message in err


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "--nothing", "a.toml"], ["show"]])
def test_arguments_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """End with 2 and the usage."""
    with pytest.raises(SystemExit) as caught:
        main(["config", *arguments])
    assert caught.value.code == 2
    assert "usage: meshhook" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "such"),
    [
        ("../config_shop.py", "config_shop"),
        ("config_shop.py", "config_shop"),
        ("../my-shop", "shop"),
    ],
)
def test_a_file_is_no_module(capsys: pytest.CaptureFixture[str], module: str, such: str) -> None:
    """It is told how to name it."""
    code, out, err = check(capsys, "right.toml", "--import", module)
    assert (code, out) == (2, "")
    assert f"--import must be a module, such as {such}, and no file, got {module!r}\n" in err


def test_the_command_itself(shop: Path) -> None:
    """As it is written in a shell."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "meshhook", "config", "check", "right.toml"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(mh.__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """It has every kind and every setting, and takes what a file may say."""
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for kind in KINDS:
        properties = schema["$defs"][kind]["properties"]
        assert properties.keys() == arguments_of(kind) - {"store"}
        named = schema["properties"]["policies"]["properties"][kind]["additionalProperties"]
        assert named["properties"].keys() == properties.keys() | {"profile"}
    timeout: Any = schema["$defs"]["timeout"]["properties"]
    assert timeout["max_abandoned"] == {"type": ["integer"]}
    assert timeout["message"] == {"type": ["null", "string"]}
    retry = schema["$defs"]["retry"]["properties"]
    assert retry["on"] == retry["jitter"] == {}
    assert all(
        re.fullmatch(r"#/\$defs/\w+", each["$ref"])
        for each in schema["properties"]["defaults"]["properties"].values()
    )
