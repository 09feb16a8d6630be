"""
Draw the folders and their imports.

    python docs/draw_modules.py > docs/images/modules.svg
    python docs/draw_modules.py emulator > docs/images/emulator-modules.svg
"""

import ast
import sys
from collections import defaultdict
from math import fsum
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
WIDTH, ROW, HEIGHT, LETTER, GAP = 900, 78, 30, 7.3, 16
EMULATOR = sys.argv[1:] == ["emulator"]
PACKAGE = "pandium.emulator" if EMULATOR else "pandium"
TABLE = "EMULATOR_LAYERS" if EMULATOR else "LAYERS"
TOP = PACKAGE.rpartition(".")[2]
# The heights of the labels beside the layers.
ASIDE = {} if EMULATOR else {"emulator": 5, "pandium_pytest": 9}
# Each text has its own background, so that it is readable in light and dark color schemes.
STYLE = """\
text { font: 12px ui-monospace, Consolas, "DejaVu Sans Mono", monospace; text-anchor: middle; \
fill: #1a237e }
rect { fill: #e8eaf6; stroke: #5c6bc0 }
.layer rect { fill: #5c6bc0 }
.layer text { fill: #fff }
.folder rect { fill: #e0f2f1; stroke: #00897b }
.folder text { fill: #004d40 }
.aside rect { fill: #fff3e0; stroke: #ef6c00 }
.aside text { fill: #8a3b00 }
path { fill: none; stroke: #8a8fa8; stroke-width: 1.2 }"""
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-labelledby="title">
<title id="title">The modules and folders of {top} by layer, and what each imports</title>
<style>
{style}
</style>
<marker id="tip" viewBox="0 0 6 6" refX="1" refY="3" markerWidth="6" markerHeight="6" \
orient="auto"><path d="M0 0L6 3L0 6z" style="fill: #8a8fa8; stroke: none"/></marker>"""

Graph = dict[str, set[str]]


def layers() -> dict[str, int]:
    """Return the layer of each module, as defined in the architecture test."""
    tree = ast.parse((ROOT / "tests" / "unit" / "test_architecture.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == TABLE:
            assert node.value is not None  # noqa: S101 - the architecture test requires this as well
            found: dict[str, int] = ast.literal_eval(node.value)
            return {name or TOP: layer for name, layer in found.items()} | ASIDE
    raise LookupError("tests/unit/test_architecture.py has no table of layers")


def imports(names: set[str]) -> Graph:
    """Return the modules and folders that each of the given modules imports."""
    found: Graph = defaultdict(set)
    for path in sorted(SOURCES.rglob("*.py")):
        mine = owner(".".join(path.relative_to(SOURCES).with_suffix("").parts), names)
        if not mine:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            found[mine] |= {owner(one, names) for one in imported(node)} - {mine, ""}
    return found


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def owner(name: str, names: set[str]) -> str:
    """Return the module or folder in the drawing that contains a dotted name, or `""`."""
    path = name.removeprefix(f"{PACKAGE}.").removesuffix(".__init__")
    while path and path not in names:
        path = path.rpartition(".")[0]
    return path or (TOP if f"{name}.".startswith(f"{PACKAGE}.") else "")


def reached(graph: Graph, start: str) -> set[str]:
    """Return the modules that a module imports indirectly."""
    seen: set[str] = set()
    pending = list(graph[start])
    while pending:
        new = graph[pending.pop()] - seen
        seen |= new
        pending += new
    return seen


def reduced(graph: Graph) -> Graph:
    """Drop imports that are implied by another import of the same module."""
    return defaultdict(set, {name: graph[name] - reached(graph, name) for name in sorted(graph)})


def placed(layer_of: dict[str, int], graph: Graph) -> dict[str, tuple[float, float]]:
    """Return the center of each box, placed close to the modules that it imports."""
    places: dict[str, tuple[float, float]] = {}
    top = max(layer_of.values())
    for layer in range(top + 1):
        row = [name for name in layer_of if layer_of[name] == layer and name not in ASIDE]
        row.sort(key=lambda name: mean([places[one][0] for one in graph[name] if one in places]))
        # Do not use `sum`, which rounds differently in Python 3.12 and later.
        space = (WIDTH - 60 - fsum(map(wide, row))) / len(row)
        x = 50 + space / 2
        for name in row:
            places[name] = (x + wide(name) / 2, (top - layer) * ROW + 30)
            x += wide(name) + space
    asides = {name: (WIDTH - 70.0, (top - layer) * ROW + 30.0) for name, layer in ASIDE.items()}
    return places | asides


def mean(numbers: list[float]) -> float:
    return fsum(numbers) / len(numbers) if numbers else WIDTH / 2


def kind(name: str) -> str:
    if name in ASIDE:
        return "aside"
    return "folder" if (SOURCES / PACKAGE.replace(".", "/") / name).is_dir() else "module"


def wide(name: str) -> float:
    return len(name) * LETTER + GAP


def box(text: str, x: float, y: float, width: float, group: str) -> str:
    return (
        f'<g class="{group}"><rect x="{x - width / 2:.1f}" y="{y - HEIGHT / 2:.1f}" '
        f'width="{width:.1f}" height="{HEIGHT}" rx="6"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}">{text}</text></g>'
    )


def line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = (start[0], start[1] + HEIGHT / 2), (end[0], end[1] - HEIGHT / 2 - 5)
    bend = min((to_y - y) / 2, ROW)
    curve = f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path d="M{x:.1f} {y:.1f}{curve}" marker-end="url(#tip)"/>'


def drawing(layer_of: dict[str, int], whole: Graph) -> str:
    """Return the drawing as SVG, without modules that have no imports in either direction."""
    used = set().union(*whole.values()) | {name for name in whole if whole[name]}
    shown = {name: layer for name, layer in layer_of.items() if name in used}
    graph = reduced(whole)
    places = placed(shown, graph)
    height = max(y for _, y in places.values()) + 30
    lines = [line(places[name], places[to]) for name in shown for to in sorted(graph[name])]
    numbers = {layer: places[name][1] for name, layer in shown.items()}
    marks = [box(str(layer), 20, y, 26, "layer") for layer, y in sorted(numbers.items())]
    boxes = [box(name, *places[name], wide(name), kind(name)) for name in shown]
    head = HEAD.format(top=PACKAGE, width=WIDTH, height=f"{height:.0f}", style=STYLE)
    return "\n".join([head, *lines, *marks, *boxes, "</svg>\n"])


if __name__ == "__main__":
    known = layers()
    sys.stdout.write(drawing(known, imports(set(known))))
