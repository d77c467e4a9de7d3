"""What the repository promises of itself stays true: import rules, lock files, packaging, documentation."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grimp
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import qperf_app
from qperf_app import plugins
from qperf_app.cli.parser import build_parser
from qperf_app.physics import models
from qperf_app.plugins import InputFunction, KineticMaps, RunContext, TissueConstants, TissueCurves, hookspecs
from qperf_app.plugins.manager import find_fault, load_plugins
from qperf_app.plugins.steps import KINETICS, STEPS, plugin_steps, workflow_steps
from qperf_app.plugins.steps.kinetics import check_maps
from qperf_app.plugins.steps.spec import slot_of

ROOT = Path(__file__).parents[1]
SOURCES = ("qperf_app", "plugins", "bids_spec")
LARGEST_FILE = 10 * 2**20


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def lines(text: str) -> list[str]:
    """Entries of a multi-line value of setup.cfg, comments left out."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def repository_files() -> list[Path]:
    """Files that are committed or would be."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git working tree: which files belong to the repository is not known")
    return [path for path in (ROOT / name for name in listed.stdout.split("\0") if name) if path.is_file()]


# Imports


def test_imports_run_one_way() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_is_under_the_import_rules() -> None:
    families = {name for name in lines(setup_cfg()["options"]["packages"]) if "." not in name} - {"qperf_bids_spec"}
    with (ROOT / "pyproject.toml").open("rb") as file:
        rules = tomllib.load(file)["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in rules["contracts"]}
    assert set(rules["root_packages"]) == families
    families.remove("qperf_app")
    assert set(contracts["host"]["forbidden_modules"]) == families
    assert set(contracts["plugins"]["source_modules"]) == families
    assert set(contracts["families"]["modules"]) == families


def test_no_package_imports_a_module_that_imports_it_back() -> None:
    """What import-linter's contract leaves out: it looks at modules beside each other only."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["importlinter"]["root_packages"]
    graph = grimp.build_graph(*packages)
    back = {
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if (importer.startswith(f"{imported}.") or imported.startswith(f"{importer}."))
        and graph.chain_exists(importer=imported, imported=importer)
    }
    assert not back


# Dependencies and packaging


def locked(name: str) -> dict[str, list[str]]:
    """Versions that a lock file pins, by package."""
    pins: dict[str, list[str]] = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text()):
        pinned = re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", entry)
        if not pinned:
            assert entry.startswith("#") or not entry.strip(), f"{name}: not a pinned package: {entry[:80]!r}"
            continue
        assert "--hash=sha256:" in entry, f"{name}: {pinned[0]} has no hash"
        pins.setdefault(canonicalize_name(pinned[1]), []).append(pinned[2])
    return pins


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_lock_gives_what_setup_cfg_asks_for(lock: str) -> None:
    config, pins = setup_cfg(), locked(lock)
    wanted = lines(config["options"]["install_requires"])
    if lock == "requirements-dev.txt":
        wanted += lines(config["options.extras_require"]["dev"])
    for requirement in map(Requirement, wanted):
        versions = pins.get(canonicalize_name(requirement.name))
        assert versions, f"{lock} lacks {requirement.name}: run `make lock`"
        assert all(requirement.specifier.contains(v) for v in versions), f"{lock} pins {versions}, not {requirement}"


def test_development_lock_is_a_superset() -> None:
    runtime, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert {name: development.get(name) for name in runtime} == runtime


def test_the_wheel_holds_every_source_file(tmp_path: Path) -> None:
    for name in (*SOURCES, "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tmp_path)
    expected = {path.relative_to(tmp_path) for name in SOURCES for path in (tmp_path / name).rglob("*")}
    expected = {path for path in expected if (tmp_path / path).is_file()}
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", "wheel", "."]
    subprocess.run(pip, cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    packed = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    missing = {path for path in expected if installed_as(path) not in packed}
    assert not missing, f"setup.cfg leaves out of the wheel: {sorted(map(str, missing))}"


def installed_as(path: Path) -> Path:
    """Where a source file lies in site-packages."""
    first, *rest = path.parts
    return Path(*rest) if first == "plugins" else Path({"bids_spec": "qperf_bids_spec"}.get(first, first), *rest)


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == qperf_app.__version__
    assert qperf_app.__version__ in (ROOT / "CHANGELOG.md").read_text()
    assert f'image.version="{qperf_app.__version__}"' in (ROOT / "Dockerfile").read_text()


# Files


def test_no_file_is_large() -> None:
    large = {str(path.relative_to(ROOT)) for path in repository_files() if path.stat().st_size > LARGEST_FILE}
    assert not large


def test_no_path_of_one_machine() -> None:
    machine_path = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work|mnt)/[\w.]")
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}: {line.strip()}" for line in text.splitlines() if machine_path.search(line)
        ]
    assert not found


def test_ci_scripts_are_executable() -> None:
    assert all(os.access(path, os.X_OK) for path in (ROOT / ".ci").iterdir())


def stand_in_for_python(folder: Path, pip_install: str) -> Path:
    """A virtual environment whose Python does nothing but what is asked of its pip."""
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *--requirement*) {pip_install};; esac\n')
    python.chmod(0o755)
    return python.parents[1]


def make_environment(venv: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VENV": str(venv), "PROGRESS_SECONDS": "1"}
    command = [ROOT / ".ci" / "environment", "dev"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_long_installation_says_how_far_it_is(tmp_path: Path) -> None:
    venv = stand_in_for_python(tmp_path, "echo Collecting a; echo Collecting b; sleep 2.5")
    result = make_environment(venv)
    assert result.returncode == 0, result.stderr
    assert "fetching: 2 packages so far" in result.stdout and "Collecting" not in result.stdout
    assert "is up to date" in make_environment(venv).stdout


def test_a_failed_installation_shows_its_errors_only(tmp_path: Path) -> None:
    venv = stand_in_for_python(tmp_path, "echo WARNING: mirror; echo ERROR: no such wheel >&2; exit 1")
    result = make_environment(venv)
    assert result.returncode != 0
    assert result.stderr.splitlines() == ["ERROR: no such wheel"]


def test_make_help_tells_of_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE))
    told = set(re.findall(r"^([a-z-]+):.*## \S", makefile, flags=re.MULTILINE))
    assert {name for line in phony for name in line.split()} == told


def test_the_workflow_runs_what_there_is_on_every_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    asked = {name for step in workflow["steps"] for name in re.findall(r"^make ([a-z-]+)", step.get("run", ""))}
    told = set(re.findall(r"^([a-z-]+):.*## \S", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"check", "test"} <= asked <= told
    pythons = re.findall(r"Python :: (3\.\d+)", setup_cfg()["metadata"]["classifiers"])
    assert workflow["strategy"]["matrix"]["python"] == pythons


def test_release_raises_the_version_everywhere_tags_and_builds(tmp_path: Path) -> None:
    if subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("not a git working tree")
    clone, version = tmp_path / "clone", "98.7.6"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    person = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def release(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, clone / ".ci" / "release", *arguments]
        return subprocess.run(command, env={**os.environ, **person}, capture_output=True, text=True, check=False)

    assert "usage" in release("98.7").stderr
    (clone / "new.txt").touch()
    assert "not committed" in release(version).stderr
    (clone / "new.txt").unlink()
    done = release(version)
    assert done.returncode == 0, done.stderr
    assert zipfile.ZipFile(clone / "dist" / f"qperf_app-{version}-py3-none-any.whl").testzip() is None
    for name, line in (
        ("qperf_app/_version.py", f'__version__ = "{version}"'),
        ("CITATION.cff", f"version: {version}\ndate-released: "),
        ("CHANGELOG.md", f"\n## {version} - "),
        ("boutiques/qperf-app.json", f'"tool-version": "{version}"'),
    ):
        show = ["git", "-C", str(clone), "show", f"v{version}:{name}"]
        assert line in subprocess.run(show, capture_output=True, text=True, check=True).stdout, name
    assert "there already" in release(version).stderr


# Documentation


def test_every_hook_has_its_section_in_the_plugin_guide() -> None:
    guide = (ROOT / "docs" / "plugins.md").read_text()
    assert plugin_steps()
    for slot in map(slot_of, plugin_steps().values()):
        assert f"\n### `{slot.hook}`\n" in guide
        assert f"`{slot.interface.__name__}`" in guide
        assert f"`{slot.method}(" in guide


def test_the_table_of_steps_is_what_they_declare() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \| (.*) \|$", page, flags=re.MULTILINE)
    steps = workflow_steps()
    assert [name for name, _, _ in rows] == list(steps)
    for name, reads, files in rows:
        assert re.findall("`(.*?)`", reads) == [read.step for read in steps[name].reads], name
        assert not steps[name].files or re.findall("`(.*?)`", files) == [f.ending for f in steps[name].files.values()]
    picture = page[page.index("## From series to report") : page.index("Each step, as it is declared")]
    assert all(name in picture for name in steps)


def test_names_of_steps_stand_in_their_declarations_only() -> None:
    # Some are words of a tissue as well, of a mask and of a column.
    names = "|".join(name for name in STEPS if name not in ("myocardium", "concentration", "segments", "spleen"))
    quoted = re.compile(rf"""["'](aif-)?({names})["']""")
    # In examples of docstrings they are what a user writes.
    documentation = re.compile(r"``.*?``|>>>.*")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("qperf_app", "plugins")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "steps" not in path.parts and path.parent.name != "testing"
        for line in path.read_text().splitlines()
        if quoted.search(documentation.sub("", line))
    ]
    assert found == []


def code_blocks(document: str, language: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_plugin_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(block for block in code_blocks("plugins.md", "python") if "@hookimpl" in block)
    (tmp_path / "qperf_maxslope.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("qperf_maxslope").qperf_kinetics()
    assert find_fault(KINETICS, cls) is None

    times = np.arange(0.0, 40.0, 0.8)
    arterial = 6.0 * (times / 6.0) ** 3 * np.exp(3.0 * (1.0 - times / 6.0))
    flows = np.array([0.5, 1.0, 2.0])
    constants = TissueConstants(haematocrit=0.4)
    # Plasma that stays: the whole rise is inflow, which is what the method supposes.
    tissue = models.patlak(times, arterial / 0.6, Ktrans=flows * 0.6, vp=np.zeros(3))
    tissue = np.vstack([tissue, np.full_like(times, np.nan)])
    curves = TissueCurves(tissue, times, np.zeros((4, 3), dtype=int), np.eye(4))
    result = cls().fit(curves, InputFunction(times, arterial), constants, RunContext())

    assert isinstance(check_maps(result, curves), KineticMaps)
    blood_flow, perfusion = (parameter.values for parameter in result.maps)
    np.testing.assert_allclose(blood_flow[:3], flows, rtol=0.03)
    np.testing.assert_allclose(perfusion, blood_flow / constants.density)
    assert np.isnan(blood_flow[3]) and list(result.qc) == [0, 0, 0, 20]


def test_the_entry_point_of_the_guide_names_the_group() -> None:
    project = next(tomllib.loads(block) for block in code_blocks("plugins.md", "toml") if "[project]" in block)
    assert list(project["project"]["entry-points"]) == [hookspecs.PROJECT]


def test_readme_names_every_built_in_plugin() -> None:
    readme = (ROOT / "README.md").read_text()
    registry = load_plugins()
    own = {plugin.name for plugin in registry.plugins.values() if plugin.distribution == "qperf-app"}
    assert own and not registry.broken
    assert not {name for name in own if f"`{name}`" not in readme}


def test_every_flag_is_in_the_operators_guide() -> None:
    guide = (ROOT / "docs" / "operators.md").read_text()
    flags = {
        next(o for o in action.option_strings if o.startswith("--"))
        for action in build_parser()._actions
        if action.option_strings
    } - {"--help"}
    assert len(flags) > 20
    assert not {flag for flag in flags if f"`{flag}" not in guide}


def test_the_reference_has_every_public_name_of_the_plugin_interface() -> None:
    reference = (ROOT / "docs" / "api" / "plugins.md").read_text()
    documented = set(re.findall(r"^.. (?:autoclass|autodata|py:data):: (\w+)$", reference, flags=re.MULTILINE))
    assert documented == set(plugins.__all__)


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "doctrees"]
    result = subprocess.run([*sphinx, ROOT / "docs", tmp_path / "html"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "html" / "index.html").is_file()


def relative_links() -> Iterator[tuple[Path, str]]:
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bids_spec").glob("*.md")):
        if "_build" in path.parts:
            continue
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose):
            if "://" not in target and not target.startswith("mailto:"):
                yield path, target


def test_links_between_documents_resolve() -> None:
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path, target in relative_links()
        if not (path.parent / target).exists()
    ]
    assert not dead
