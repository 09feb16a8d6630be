"""The JSON models of faults: one per class, distinguished by `type`."""

import base64
import binascii
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pandium.emulator.control.control_responses import body_data
from pandium.emulator.network.faults import (
    Fault,
    Garbage,
    Latency,
    ProxyPage,
    RateLimit,
    Reset,
    Stall,
    Status,
    Truncate,
)
from pandium.emulator.state.record_base import Record

AfterWork = Annotated[
    bool, Field(description="Execute the request first, so that only its response is lost.")
]


class BodyArguments(Record):
    """A body, as text or in base 64."""

    body: str | None = Field(None, description="The body as text.")
    body_base64: str | None = Field(None, description="The body in base 64, instead of `body`.")

    @field_validator("body_base64")
    @classmethod
    def _is_base64(cls, text: str | None, given: ValidationInfo) -> str | None:
        if text is not None and given.data.get("body") is not None:
            raise PydanticCustomError("body", "specify body or body_base64, not both")
        try:
            base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise PydanticCustomError("base64", "must be base 64") from error
        return text

    def content(self) -> bytes | None:
        """Return the body's bytes, or None if there is no body."""
        if self.body_base64 is not None:
            return base64.b64decode(self.body_base64)
        return None if self.body is None else self.body.encode()


class LatencyFault(Record):
    """A delay in real time, after which the request continues."""

    type: Literal["latency"]
    seconds: float = Field(ge=0, allow_inf_nan=False)

    def build(self) -> Fault:
        """Return the fault."""
        return Latency(self.seconds)


class StatusFault(BodyArguments):
    """An error status. By default, the response body is a JSON message."""

    type: Literal["status"]
    status: int = Field(ge=400, le=599)
    after_work: AfterWork = False
    headers: dict[str, str] = Field(default_factory=dict)

    def build(self) -> Fault:
        """Return the fault."""
        content, headers = self.content(), self.headers
        return Status(self.status, after_work=self.after_work, body=content, headers=headers)


class RateLimitFault(Record):
    """A 429. The request is not executed."""

    type: Literal["rate_limit"]
    retry_after: int | None = Field(
        None, ge=0, description="The seconds in `Retry-After`. By default, there is no such header."
    )
    as_date: bool = Field(default=False, description="Send `Retry-After` as an HTTP date.")

    def build(self) -> Fault:
        """Return the fault."""
        return RateLimit(self.retry_after, self.as_date)


class ResetFault(Record):
    """A connection that is reset without a response."""

    type: Literal["reset"]
    after_work: AfterWork = False

    def build(self) -> Fault:
        """Return the fault."""
        return Reset(after_work=self.after_work)


class StallFault(Record):
    """Half of the response, then nothing more. The request is executed."""

    type: Literal["stall"]

    def build(self) -> Fault:
        """Return the fault."""
        return Stall()


class TruncateFault(Record):
    """Half of the response, then the end of the connection. The request is executed."""

    type: Literal["truncate"]

    def build(self) -> Fault:
        """Return the fault."""
        return Truncate()


class GarbageFault(BodyArguments):
    """A 200 with invalid JSON, or with the given body."""

    type: Literal["garbage"]
    after_work: AfterWork = False

    def build(self) -> Fault:
        """Return the fault."""
        content = self.content()
        given = {} if content is None else {"body": content}
        return Garbage(**given, after_work=self.after_work)


class ProxyPageFault(Record):
    """A 200 with the HTML page of a proxy that requires a login. The request is not executed."""

    type: Literal["proxy_page"]

    def build(self) -> Fault:
        """Return the fault."""
        return ProxyPage()


FaultForm = Annotated[
    LatencyFault
    | StatusFault
    | RateLimitFault
    | ResetFault
    | StallFault
    | TruncateFault
    | GarbageFault
    | ProxyPageFault,
    Field(discriminator="type"),
]
TYPES: dict[type, str] = {
    Latency: "latency",
    Status: "status",
    RateLimit: "rate_limit",
    Reset: "reset",
    Stall: "stall",
    Truncate: "truncate",
    Garbage: "garbage",
    ProxyPage: "proxy_page",
}


def fault_data(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON data."""
    data = {one.name: getattr(fault, one.name) for one in fields(fault)}
    if isinstance(data.get("body"), bytes):
        data |= body_data(data["body"])
    return {"type": TYPES[type(fault)], **data}
