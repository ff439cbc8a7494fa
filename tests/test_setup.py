"""`make` finds a Python that is new enough, or says in one sentence what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_venv.sh"
SAY = '#!/bin/sh\necho "{name} $@"\n'
TOO_OLD = "#!/bin/sh\nexit 1\n"
NEW_ENOUGH = '#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "{name} $@"\n'


def make_venv(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only `programs` and a shell are to be found."""
    for name, text in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(text.format(name=program.name))
        program.chmod(0o755)
    shell = shutil.which("sh")
    assert shell is not None
    environment = {**os.environ, "PATH": str(folder)}
    return subprocess.run(
        [shell, str(SCRIPT), "venv"], env=environment, cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["python3", "python3_12", "python3_13", "python3_14"])
def test_the_first_python_that_is_new_enough_is_taken(tmp_path: Path, name: str) -> None:
    result = make_venv(tmp_path, **{"python3": TOO_OLD, name: NEW_ENOUGH})

    assert result.stdout == f"{name.replace('_', '.')} -m venv --clear venv\n"


def test_uv_helps_where_every_python_is_too_old(tmp_path: Path) -> None:
    result = make_venv(tmp_path, python3=TOO_OLD, uv=SAY)

    assert result.stdout == "uv venv --quiet --clear --seed --python >=3.12 venv\n"


def test_without_any_it_says_what_to_do(tmp_path: Path) -> None:
    result = make_venv(tmp_path, python3=TOO_OLD)

    assert result.returncode == 1
    assert result.stderr.startswith("Antiphon needs Python 3.12 or newer")
    assert result.stderr.count("\n") == 1


def test_a_finished_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    python = tmp_path / "venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)

    result = make_venv(tmp_path, python3=NEW_ENOUGH)

    assert (result.returncode, result.stdout) == (0, "")
