"""Schedules, invoices, clients and services: what the host application keeps."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from alga_guest.host.calling import call, case_of, text_of
from alga_guest.host.errors import Denied, Invalid

Item = TypeVar("Item")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Schedule:
    id: str
    endpoint_path: str
    endpoint_method: str
    name: str | None
    cron: str
    timezone: str
    enabled: bool
    payload: str | None
    last_run_at: str | None
    last_run_status: str | None
    last_error: str | None
    created_at: str | None


class Scheduler:
    """Schedules of this install. A schedule calls an endpoint, `METHOD /path` or `/path`, on a cron of five fields."""

    def __init__(self, imports: Any) -> None:
        self._types, self._raw = imports.types, imports.scheduler

    def list(self) -> list[Schedule]:
        return [_copied(Schedule, raw) for raw in call("scheduler", self._raw.list_schedules)]

    def find(self, schedule_id: str) -> Schedule | None:
        raw = call("scheduler", self._raw.get_schedule, schedule_id)
        return None if raw is None else _copied(Schedule, raw)

    def create(self, endpoint: str, cron: str, **options: Any) -> str:
        """The new schedule's id. Options: timezone, enabled, name, payload (JSON text). Raises Invalid or Denied."""
        fields = ("timezone", "enabled", "name", "payload")
        given = {name: options.pop(name, None) for name in fields}
        _refuse_unknown(options)
        result = self._raw.create_schedule(self._types.CreateScheduleInput(endpoint=endpoint, cron=cron, **given))
        _require_success("scheduler", result)
        return str(result.schedule_id)

    def update(self, schedule_id: str, **changes: Any) -> None:
        """What is not named stays as it is. Changes: endpoint, cron, timezone, enabled, name, payload."""
        fields = ("endpoint", "cron", "timezone", "enabled", "name", "payload")
        given = {name: changes.pop(name, None) for name in fields}
        _refuse_unknown(changes)
        result = self._raw.update_schedule(schedule_id, self._types.UpdateScheduleInput(**given))
        _require_success("scheduler", result)

    def delete(self, schedule_id: str) -> None:
        _require_success("scheduler", self._raw.delete_schedule(schedule_id))


@dataclass(frozen=True)
class InvoiceItem:
    """`rate` is in minor units (cents). A discount names its type, percentage or fixed."""

    service_id: str
    quantity: float
    description: str
    rate: float
    is_discount: bool | None = None
    discount_type: str | None = None
    applies_to_item_id: str | None = None
    applies_to_service_id: str | None = None


@dataclass(frozen=True)
class Invoice:
    invoice_id: str | None
    invoice_number: str | None
    status: str | None
    subtotal: float | None
    tax: float | None
    total: float | None


class Invoicing:
    def __init__(self, imports: Any) -> None:
        self._types, self._raw = imports.types, imports.invoicing

    def create_manual_invoice(self, client_id: str, items: list[InvoiceItem], **options: Any) -> Invoice:
        """A draft. Options: invoice_date, due_date (YYYY-MM-DD), po_number. Raises Invalid or Denied."""
        given = {name: options.pop(name, None) for name in ("invoice_date", "due_date", "po_number")}
        _refuse_unknown(options)
        request = self._types.CreateManualInvoiceInput(
            client_id=client_id, items=[self._item(item) for item in items], **given
        )
        result = self._raw.create_manual_invoice(request)
        _require_success("invoicing", result)
        return _copied(Invoice, result)

    def _item(self, item: InvoiceItem) -> Any:
        kind = None if item.discount_type is None else case_of(self._types.DiscountType, item.discount_type)
        return self._types.ManualInvoiceItemInput(**{**vars(item), "discount_type": kind})


@dataclass(frozen=True)
class Client:
    client_id: str
    client_name: str
    client_type: str | None
    is_inactive: bool
    default_currency_code: str | None
    account_manager_id: str | None
    account_manager_name: str | None
    billing_email: str | None


@dataclass(frozen=True)
class Listing(Generic[Item]):
    items: tuple[Item, ...]
    total_count: int
    page: int
    page_size: int


class Clients:
    def __init__(self, imports: Any) -> None:
        self._types, self._raw = imports.types, imports.clients

    def list(self, **filters: Any) -> "Listing[Client]":
        """Filters: search, include_inactive, page, page_size."""
        given = {name: filters.pop(name, None) for name in ("search", "include_inactive", "page", "page_size")}
        _refuse_unknown(filters)
        raw = call("clients", self._raw.list_clients, self._types.ClientsListInput(**given))
        return Listing(tuple(_copied(Client, item) for item in raw.items), raw.total_count, raw.page, raw.page_size)

    def find(self, client_id: str) -> Client | None:
        raw = call("clients", self._raw.get_client, client_id)
        return None if raw is None else _copied(Client, raw)


@dataclass(frozen=True)
class Service:
    """`item_kind` is service or product, `billing_method` fixed, hourly or usage."""

    service_id: str
    service_name: str
    item_kind: str
    billing_method: str
    service_type_id: str | None
    service_type_name: str | None
    default_rate: float
    unit_of_measure: str
    is_active: bool
    sku: str | None


class Services:
    def __init__(self, imports: Any) -> None:
        self._types, self._raw = imports.types, imports.services

    def list(self, **filters: Any) -> "Listing[Service]":
        """Filters: search, item_kind, is_active, billing_method, page, page_size."""
        enums = {"item_kind": self._types.ServiceItemKind, "billing_method": self._types.ServiceBillingMethod}
        names = ("search", "item_kind", "is_active", "billing_method", "page", "page_size")
        given = {name: filters.pop(name, None) for name in names}
        _refuse_unknown(filters)
        for name, enum in enums.items():
            given[name] = None if given[name] is None else case_of(enum, given[name])
        raw = call("services", self._raw.list_services, self._types.ServicesListInput(**given))
        return Listing(tuple(_service(item) for item in raw.items), raw.total_count, raw.page, raw.page_size)

    def find(self, service_id: str) -> Service | None:
        raw = call("services", self._raw.get_service, service_id)
        return None if raw is None else _service(raw)


def _service(raw: Any) -> Service:
    kinds = {"item_kind": text_of(raw.item_kind), "billing_method": text_of(raw.billing_method)}
    return Service(**{name: kinds.get(name, getattr(raw, name)) for name in Service.__dataclass_fields__})


def _copied(kind: type[Kind], raw: Any) -> Kind:
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return kind(**{name: getattr(raw, name) for name in names})


def _refuse_unknown(options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"unknown option {next(iter(options))}")


def _require_success(interface: str, result: Any) -> None:
    if result.success:
        return
    message = result.error or ""
    kind = Denied if message.startswith("Permission denied") else Invalid
    fields = getattr(result, "field_errors", None)
    raise kind(interface, "refused", f"{message}{f' {fields}' if fields else ''}")
