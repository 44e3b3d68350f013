"""The start script and the lock files: what a fresh clone relies on."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock"]


@pytest.fixture
def run(monkeypatch):
    """The script as a module, with its environment variables put back afterwards."""
    loader = importlib.machinery.SourceFileLoader("paydesk_run", str(ROOT / "run"))
    spec = importlib.util.spec_from_loader("paydesk_run", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.delenv("PAYDESK_TEST_ENGINE", raising=False)
    return module


def packages(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def test_scripts_can_be_executed():
    for name in ("run", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name


def test_the_script_needs_the_standard_library_alone():
    code = "import sys, runpy; sys.path = [p for p in sys.path if 'site-packages' not in p]; "
    code += f"runpy.run_path({str(ROOT / 'run')!r}, run_name='looked at')"
    subprocess.run(["python3", "-S", "-c", code], check=True)


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_hold_hashes_and_no_address(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index" not in text
    for block in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_lock_files_agree_and_hold_what_the_project_asks_for():
    runtime, development = (packages(name) for name in LOCKS)
    assert runtime.items() <= development.items()
    assert {"setuptools", "uv"} <= runtime.keys()
    assert "pytest" not in runtime
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]}
    plain = {name.lower().replace("_", "-") for name in runtime}
    assert {name.lower().replace("_", "-") for name in asked} <= plain


WHOLE = ["-n", "4", "--dist", "loadgroup", "--reruns", "1"]


@pytest.mark.parametrize(
    ("given", "arguments", "engine"),
    [
        ([], WHOLE, None),
        (["--engine", "system"], WHOLE, "system"),
        (["--engine=embedded", "-k", "x"], [*WHOLE, "-k", "x"], "wheel"),
        (["-n0", "tests"], ["-n0", "tests"], None),
        (["tests/test_house.py"], ["tests/test_house.py"], None),
        (["tests/a.py::test_x", "-x"], ["tests/a.py::test_x", "-x"], None),
    ],
)
def test_arguments_of_the_tests(run, monkeypatch, given, arguments, engine):
    from paydesk.testing import databases

    monkeypatch.setenv("PAYDESK_TEST_ENGINE", "none")
    monkeypatch.delenv("PAYDESK_TEST_ENGINE")
    assert run.test_arguments(given) == arguments
    assert databases._choice() == (engine or "auto")
    assert os.environ.pop("PAYDESK_TEST_ENGINE", None) == engine


def test_an_engine_that_does_not_exist_is_refused(run):
    with pytest.raises(SystemExit) as stopped:
        run.test_arguments(["--engine", "oracle"])
    assert stopped.value.code == 2


def test_one_package_is_cut_out_of_a_lock_with_its_hashes(run):
    uv = "uv==2 \\\n    --hash=sha256:2 \\\n    --hash=sha256:3\n"
    text = f"a==1 \\\n    --hash=sha256:1\n{uv}z==1\n"
    assert run.entry("uv", text) == uv
    assert run.entry("none", text) == "\n"


def test_an_environment_is_used_only_when_it_is_new_enough(run, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "VENV", tmp_path)
    monkeypatch.setattr(run, "PYTHON", tmp_path / "bin" / "python")
    assert not run.works()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert not run.works()
    (tmp_path / "pyvenv.cfg").write_text("version = 3.9.2\n")
    assert not run.works()
    (tmp_path / "pyvenv.cfg").write_text("home = /x\nversion_info = 3.12.1.final.0\n")
    assert run.works()


def test_a_changed_lock_is_installed_again_and_an_unchanged_one_is_not(run, monkeypatch, tmp_path):
    """The stamp remembers each lock file by its content."""
    calls = []
    monkeypatch.setattr(run, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(run, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(run, "STAMP", tmp_path / ".venv" / "stamp")
    for name in ("RUNTIME", "DEVELOPMENT"):
        path = tmp_path / f"{name}.lock"
        path.write_text(name)
        monkeypatch.setattr(run, name, path)
    monkeypatch.setattr(run, "works", lambda: True)
    monkeypatch.setattr(run, "install_packages", lambda lock: calls.append(lock.name))
    monkeypatch.setattr(run, "pip", lambda *arguments, must=True: None)
    run.install(run.RUNTIME)
    run.install(run.RUNTIME)
    assert calls == ["RUNTIME.lock"]
    run.install(run.DEVELOPMENT)
    run.install(run.RUNTIME)
    run.install(run.DEVELOPMENT)
    assert calls == ["RUNTIME.lock", "DEVELOPMENT.lock"]
    run.RUNTIME.write_text("changed")
    run.install(run.RUNTIME)
    assert calls[-1] == "RUNTIME.lock"
    assert len(calls) == 3


def test_where_uv_cannot_run_pip_installs_the_same_with_hashes(run, monkeypatch):
    calls = []
    monkeypatch.setattr(run, "pip", lambda *arguments, must=True: calls.append(arguments))
    monkeypatch.setattr(run, "find_uv", list)
    run.install_packages(run.RUNTIME)
    monkeypatch.setattr(run, "find_uv", lambda: ["false"])  # It runs, and fails.
    run.install_packages(run.RUNTIME)
    assert calls == [("install", "--quiet", "--require-hashes", "-r", str(run.RUNTIME))] * 2


def test_a_wheel_holds_every_file_of_the_package(tmp_path):
    """A plain `pip install` must run the desk: schema, pages, fonts and shapes go with the code."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "paydesk", tmp_path / "src" / "paydesk", ignore=ignore)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    source = tmp_path / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "paydesk").rglob("*") if path.is_file()
    }  # fmt: skip
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
