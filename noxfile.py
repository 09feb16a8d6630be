"""Run the checks: `nox` for the usual ones, `nox -s build` for one, `nox -l` for their names."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typing", "tests", "coverage", "minimums"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
OLDEST = "3.11"
PYTHONS = [OLDEST, "3.12", "3.13", "3.14", "3.15"]


def group(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("dev"))
    session.run("mypy")
    session.run("pyright")
    session.run("ty", "check")
    # Fails unless each public symbol has a known type.
    session.run("pyright", "--verifytypes", "pandium", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=OLDEST, venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run the tests on the lowest allowed versions; the session `tests` has the newest."""
    session.install("--resolution", "lowest-direct", "-e", ".[demo]", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST)
def long(session: nox.Session) -> None:
    """Run what CI runs in a short form in its long one: churn, killed processes, fuzzing."""
    session.install("-e", ".[demo]", *group("test"))
    paths = (
        "tests/test_churn.py",
        "tests/test_killed.py",
        "tests/test_paging_model.py",
        "tests/emulator/test_emulator_clients.py",
    )
    session.run("pytest", *paths, *session.posargs, env={"PANDIUM_LONG": "1"})


@nox.session(python=OLDEST)
def browser(session: nox.Session) -> None:
    """Test the emulator's page and the site in Chromium, which apt installs if it is missing."""
    session.install("-e", ".[demo]", *group("test", "browser", "docs"))
    session.run(".ci/browser", "python", external=True)


@nox.session(python=OLDEST)
def screenshots(session: nox.Session) -> None:
    """Take the pictures of the documentation anew; needs Chromium."""
    session.install("-e", ".[demo]", *group("browser"))
    session.run("python", "tests/screenshots.py", "docs/images")


@nox.session(python=OLDEST)
def docs(session: nox.Session) -> None:
    """Build the documentation's site; whatever does not fit is an error."""
    session.install("-e", ".[demo]", *group("docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("bench"))
    for path in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        session.run("python", str(path), *session.posargs)


# What is for work on the project, not for those who package it.
LEFT_OUT = (".ci/", ".github/")
INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """Build both distributions, check what is in them, and test the wheel by the sdist's tests."""
    shutil.rmtree(session.create_tmp())  # of the last time
    target = Path(session.create_tmp())
    dist = target / "dist"
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", str(dist))
    [sdist], [wheel] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    check_sdist(session, sdist)
    check_wheel(session, wheel)
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    session.install("--force-reinstall", f"{wheel.resolve()}[demo]", *group("test"))
    session.chdir(target / sdist.name.removesuffix(".tar.gz"))
    # Else what is tested could be the sources beside the tests.
    session.run("python", "-c", "import pandium; assert 'site-packages' in pandium.__file__")
    session.run("pytest", *session.posargs)


def tracked(session: nox.Session) -> set[str]:
    return set(str(session.run("git", "ls-files", silent=True, external=True)).splitlines())


def check_sdist(session: nox.Session, path: Path) -> None:
    with tarfile.open(path) as archive:
        names = {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}
    wanted = {name for name in tracked(session) if not name.startswith(LEFT_OUT)}
    same(session, path, names, wanted | {"PKG-INFO"})


def check_wheel(session: nox.Session, path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    info = "-".join(path.name.split("-")[:2]) + ".dist-info/"
    wanted = {name.removeprefix("src/") for name in tracked(session) if name.startswith("src/")}
    same(session, path, names, wanted | {info + name for name in INFO})


def same(session: nox.Session, path: Path, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        stray, missing = sorted(found - wanted), sorted(wanted - found)
        session.error(f"{path.name}: stray {stray}, missing {missing}")


@nox.session(python=OLDEST, venv_backend="uv")
def audit(session: nox.Session) -> None:
    """Look the newest allowed versions of the dependencies up among known vulnerabilities."""
    session.install("-e", ".[demo,otel]")
    command = ("uv", "--quiet", "pip", "freeze", "--exclude-editable")
    versions = session.run(*command, silent=True)
    listed = Path(session.create_tmp()) / "requirements.txt"
    listed.write_text(str(versions))
    session.install("pip-audit")
    # Strictly: what cannot be looked up is no success.
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", str(listed))
