"""List tenants with a client that openapi-python-client generated from the vendor's document."""

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
    """Generate the client and yield the directory to import it from."""
    with TemporaryDirectory() as directory:
        spec, config = Path(directory, "openapi.json"), Path(directory, "config.yml")
        # The generator cannot model a tenant with empty defaults and would omit the operation.
        spec.write_text(json.dumps(_without_empty_defaults(json.loads(_SPEC.read_text()))))
        config.write_text("post_hooks: []")  # do not format the code
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
        command += ["--path", str(spec), "--config", str(config)]
        command += ["--output-path", str(Path(directory, _PACKAGE))]
        subprocess.run(command, check=True, capture_output=True)
        yield directory


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
    """Parse a page in the same way as the generated operation parses a 200 response."""
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
