"""Shell completion: scripts that are valid, and complete in a real shell."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from meshhook import cli
from tests.waiting import GIVE_UP, real_time


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the script for bash to a file."""
    from tests.commands.terminal import run

    done = run("completion", "bash")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path_factory.mktemp("completion") / "meshhook.bash"
    path.write_text(done.stdout)
    return path


def test_the_script_is_valid(script: Path) -> None:
    """For bash; for other shells where there are any."""
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_scripts_for_other_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They name all commands; a shell that is installed is asked whether they are valid."""
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert command in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def completed(script: Path, typed: str) -> list[str]:
    """Ask bash what the last word may be completed to."""
    words = typed.split(" ")
    program = (
        f"source {shlex.quote(str(script))}; "
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; "
        f"$(complete -p meshhook | grep -o '_shtab_[a-z]*') meshhook; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=False
    )
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("meshhook po", ["policies"]),
        ("meshhook ", sorted(cli.COMMANDS)),
        ("meshhook top --pl", ["--plain"]),
        ("meshhook top --sort f", ["failures"]),
        ("meshhook act http://a retry/x re", ["reset"]),
        ("meshhook completion ", ["bash", "tcsh", "zsh"]),
    ],
)
def test_words_are_completed(script: Path, typed: str, words: list[str]) -> None:
    """Commands, options and choices."""
    assert completed(script, typed) == words


def test_in_a_shell_by_the_tab_key(script: Path) -> None:
    """As one does it."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(PS1="$ ", TERM="dumb", HISTFILE="")
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    output = ""

    def until(text: str) -> None:
        nonlocal output
        end = real_time() + GIVE_UP
        while text not in output:
            assert real_time() < end, output
            if select.select([fd], [], [], 0.1)[0]:
                output += os.read(fd, 4096).decode()

    try:
        os.write(fd, f"source {shlex.quote(str(script))}; echo re''ady\n".encode())
        until("ready")
        os.write(fd, b"meshhook hea\t--js\t")
        until("meshhook health --json ")
    finally:
        os.write(fd, b"\x15exit\n")
        os.close(fd)
        os.waitpid(pid, 0)


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with code 1."""
    monkeypatch.setattr("meshhook.commands.completion.find_spec", lambda name: None)
    assert cli.main(["completion", "bash"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "meshhook completion: this needs shtab: pip install 'meshhook[cli]'\n"
