"""Run the checks: `nox` for the usual ones, `nox -s build` for one, `nox -l` for their names."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typing", "tests", "coverage", "minimums"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
OLDEST = "3.11"
PYTHONS = [OLDEST, "3.12", "3.13", "3.14"]


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
    """Run what CI runs in a short form in its long one: cancellation churn."""
    session.install("-e", ".[demo]", *group("test"))
    session.run("pytest", "tests/test_churn.py", *session.posargs, env={"PANDIUM_LONG": "1"})


@nox.session(python=OLDEST)
def browser(session: nox.Session) -> None:
    """Test the emulator's page in Chromium, which apt installs if it is missing."""
    session.install("-e", ".[demo]", *group("test", "browser"))
    session.run(".ci/browser", "python", external=True)


@nox.session(python=OLDEST)
def screenshots(session: nox.Session) -> None:
    """Take the pictures of the documentation anew; needs Chromium."""
    session.install("-e", ".[demo]", *group("browser"))
    session.run("python", "tests/emulator/screenshots.py", "docs/images")


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    session.install("-e", ".[demo]", *group("bench"))
    for path in sorted((ROOT / "benchmarks").glob("bench_*.py")):
        session.run("python", str(path), *session.posargs)


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """Build both distributions, and run the tests against the wheel, away from the sources."""
    target = Path(session.create_tmp())
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(target / "dist"))
    wheel = max((target / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", f"{wheel.resolve()}[demo]", *group("test"))
    session.chdir(target)
    session.run("pytest", str(ROOT / "tests"), *session.posargs)
