"""The base class of all records, and the types of fields that several records have."""

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

T = TypeVar("T")

CRON_FIELDS = 5
SOME_DATE = datetime(2026, 1, 1, tzinfo=UTC)

# Marks a field that is not part of the API's response.
HIDDEN = object()
Hidden = Annotated[T, HIDDEN]


@cache
def _non_nullable(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if field.annotation is not Any and type(None) not in get_args(field.annotation)
    )


class Record(BaseModel):
    """
    A record, whose fields must be known and of the right types.

    Null means that a field is missing, unless the field's type includes null.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_nulls_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        optional = _non_nullable(cls)
        return {name: one for name, one in data.items() if one is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema. Unknown fields are forbidden only in requests."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if handler.mode == "serialization":
            schema.pop("additionalProperties", None)
        return schema

    def with_missing(self, **values: Any) -> Self:
        """Return a copy of this record with values for the fields that were omitted."""
        missing = {name: one for name, one in values.items() if name not in self.model_fields_set}
        return self.model_copy(update=missing)


def _in_utc(date: datetime) -> datetime:
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def find_cron_error(schedule: str) -> str | None:
    """Return a description of the error in a cron expression, or None."""
    fields = len(schedule.split())
    if fields != CRON_FIELDS:  # cronsim accepts a sixth field, for seconds
        return f"five fields are required, not {fields}"
    try:
        CronSim(schedule, SOME_DATE)
    except CronSimError as error:
        return str(error).lower()
    return None


def _validate_cron(schedule: str) -> str:
    if error := find_cron_error(schedule):
        raise PydanticCustomError("value_error", "must be a cron string: {error}", {"error": error})
    return schedule


Object = dict[str, Any]
Id = Annotated[int, Field(ge=1)]
Cron = Annotated[str, AfterValidator(_validate_cron)]
# A date without an offset is in UTC.
Moment = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]
