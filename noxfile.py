"""Project checks. `nox` runs the default sessions, `nox -s NAME` runs one, `nox -l` lists all."""

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
SUPPORTED = nox.project.python_versions(PROJECT)
OLDEST = SUPPORTED[0]
# CI also tests these versions. A version becomes supported once its tests have passed.
NEWER = ["3.14", "3.15"]


def group(*names: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, *names)


@nox.session(python=OLDEST, tags=["ci"])
def lint(session: nox.Session) -> None:
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("typos")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session(python=OLDEST, tags=["ci"])
def typing(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("dev"))
    session.run("mypy")
    session.run("pyright")
    session.run("ty", "check")
    # This check fails if the type of a public symbol is unknown.
    session.run("pyright", "--verifytypes", "pandium", "--ignoreexternal")


@nox.session(python=[*SUPPORTED, *NEWER], tags=["ci"])
def tests(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST, tags=["ci"])
def coverage(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("test"))
    session.run("coverage", "erase")
    parallel = ("-n4", "--dist=loadfile", "--no-loadscope-reorder")
    session.run("coverage", "run", "-m", "pytest", *parallel, *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=OLDEST, venv_backend="uv", tags=["ci"])
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest allowed dependencies. `tests` uses the newest."""
    session.install("--resolution", "lowest-direct", "-e", ".[demo]", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=OLDEST)
def long(session: nox.Session) -> None:
    """Run the long versions of the stress tests. CI runs shorter versions."""
    session.install("-e", ".[demo]", *group("test"))
    paths = (
        "tests/wire/test_churn.py",
        "tests/wire/test_killed.py",
        "tests/wire/test_disturbed_job.py",
        "tests/wire/test_fault_combinations.py",
        "tests/unit/test_listing_model.py",
        "tests/emulator/test_emulator_clients.py",
    )
    session.run("pytest", *paths, *session.posargs, env={"PANDIUM_LONG": "1"})


@nox.session(python=OLDEST, tags=["ci"])
def browser(session: nox.Session) -> None:
    """Test the emulator's page and the site in Chromium, which is installed if it is missing."""
    session.install("-e", ".[demo]", *group("test", "browser", "docs"))
    session.run(".ci/browser", "python", external=True)


@nox.session(python=OLDEST, tags=["ci"])
def postgres(session: nox.Session) -> None:
    """Test the journal in PostgreSQL, whose programs are installed if they are missing."""
    session.install("-e", ".[demo]", *group("test"))
    session.run(".ci/postgres", "python", external=True)


@nox.session(python=OLDEST)
def workflows(session: nox.Session) -> None:
    """Test the examples for Airflow and Celery. Requires PostgreSQL's programs."""
    session.install("-e", ".[demo,postgres]", "apache-airflow-core>=3", "celery>=5.4")
    session.install("psutil", "pytest", "pytest-asyncio", "sybil", "trio")
    examples = [f"tests/postgres/test_{name}_example.py" for name in ("airflow", "celery")]
    session.run("pytest", "-m", "postgres", *examples)


@nox.session(python=OLDEST)
def screenshots(session: nox.Session) -> None:
    """Take new pictures for the documentation. Requires Chromium."""
    session.install("-e", ".[demo]", *group("test", "browser"))
    session.run("python", "tests/screenshots.py", "docs/images")


@nox.session(python=OLDEST, tags=["ci"])
def docs(session: nox.Session) -> None:
    """Build the documentation site, treating warnings as errors."""
    session.install("-e", ".[demo]", *group("docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("bench"))
    for path in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        session.run("python", str(path), *session.posargs)


# The sdist omits these directories because they are needed only for development.
DEVELOPMENT_ONLY = (".ci/", ".github/")
INFO = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


@nox.session(python=OLDEST, tags=["ci"])
def build(session: nox.Session) -> None:
    """Build both distributions, check their contents and run the sdist's tests on the wheel."""
    shutil.rmtree(session.create_tmp())  # remove the files of the previous run
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
    # Make sure that the tests import the wheel and not the adjacent source files.
    session.run("python", "-c", "import pandium; assert 'site-packages' in pandium.__file__")
    session.run("pytest", *session.posargs)


def tracked(session: nox.Session) -> set[str]:
    return set(str(session.run("git", "ls-files", silent=True, external=True)).splitlines())


def check_sdist(session: nox.Session, path: Path) -> None:
    with tarfile.open(path) as archive:
        names = {file.name.partition("/")[2] for file in archive.getmembers() if file.isfile()}
    expected = {name for name in tracked(session) if not name.startswith(DEVELOPMENT_ONLY)}
    check_names(session, path, names, expected | {"PKG-INFO"})


def check_wheel(session: nox.Session, path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    info = "-".join(path.name.split("-")[:2]) + ".dist-info/"
    expected = {name.removeprefix("src/") for name in tracked(session) if name.startswith("src/")}
    check_names(session, path, names, expected | {info + name for name in INFO})


def check_names(session: nox.Session, path: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        extra, missing = sorted(found - expected), sorted(expected - found)
        session.error(f"{path.name} has unexpected files {extra} and is missing {missing}")


@nox.session(python=OLDEST, venv_backend="uv", tags=["ci"])
def audit(session: nox.Session) -> None:
    """Check the newest allowed dependencies for known vulnerabilities."""
    session.install("-e", ".[demo,otel]")
    command = ("uv", "--quiet", "pip", "freeze", "--exclude-editable")
    versions = session.run(*command, silent=True)
    requirements = Path(session.create_tmp()) / "requirements.txt"
    requirements.write_text(str(versions))
    session.install("pip-audit")
    # With --strict, pip-audit fails if a package cannot be looked up.
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", str(requirements))
