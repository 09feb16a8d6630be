"""List tenants by the client that openapi-python-client generates from the vendor's description."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPEC = Path(__file__).parents[1] / "tests" / "data" / "openapi.json"
_PACKAGE = "generated_pandium"
_OPERATION = f"{_PACKAGE}.api.default.get_many_tenants_v2_tenants_get"


@contextmanager
def generated() -> Iterator[str]:
    """Generate the client, and give the directory to import it from."""
    with TemporaryDirectory() as place:
        spec, config = Path(place, "openapi.json"), Path(place, "config.yml")
        # With them the generator cannot model a tenant, and leaves out the operation.
        spec.write_text(json.dumps(_without_empty_defaults(json.loads(_SPEC.read_text()))))
        config.write_text("post_hooks: []")  # nobody reads it: no formatting
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
        command += ["--path", str(spec), "--config", str(config)]
        command += ["--output-path", str(Path(place, _PACKAGE))]
        subprocess.run(command, check=True, capture_output=True)
        yield place


def _without_empty_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_empty_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_empty_defaults(item)
        for key, item in value.items()
        if (key, item) != ("default", {})
    }


def read(data: bytes) -> list[Any]:
    """Do with a page what the operation does with an answer of status 200."""
    tenant: Any = importlib.import_module(_OPERATION).ExternalApiV1V2SchemasTenant
    return [tenant.from_dict(item) for item in json.loads(data)]


async def walk(url: str, page_size: int, _: int) -> int:
    package: Any = importlib.import_module(_PACKAGE)
    operation: Any = importlib.import_module(_OPERATION)
    client = package.AuthenticatedClient(url, token="key", prefix="", auth_header_name="X-API-KEY")
    async with client:
        seen = 0
        while True:
            page = await operation.asyncio(client=client, skip=seen, limit=page_size)
            for _tenant in page:
                seen += 1
            if len(page) < page_size:
                return seen
