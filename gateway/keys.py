"""Typed keys: what the application holds for its handlers, and what a request is given on its way."""

from __future__ import annotations

from aiohttp import web

from gateway.authentication import Authenticator
from gateway.endpoint_cache import EndpointCache
from gateway.runner_tokens import RunnerTokens
from gateway.settings import GatewaySettings
from registry.admission import Admission
from registry.bundle_store import BundleStore
from registry.bundles import Bundles
from registry.database import Database
from registry.idempotency import Idempotency
from registry.installs import Installs
from registry.invocations import Invocations
from registry.keys import Keys
from registry.publishers import Publishers
from registry.storage import Storage
from registry.tenants import Tenants
from service.clock import Clock
from service.dispatch import Dispatcher
from service.messaging import Messaging
from service.metrics import Metrics

REQUEST_ID = web.RequestKey("request_id", str)

SETTINGS = web.AppKey("settings", GatewaySettings)
CLOCK: web.AppKey[Clock] = web.AppKey("clock")
METRICS = web.AppKey("metrics", Metrics)
MESSAGING = web.AppKey("messaging", Messaging)
DISPATCHER = web.AppKey("dispatcher", Dispatcher)
DATABASE = web.AppKey("database", Database)
STORE: web.AppKey[BundleStore] = web.AppKey("store")
AUTHENTICATOR = web.AppKey("authenticator", Authenticator)
ADMISSION = web.AppKey("admission", Admission)
ENDPOINTS = web.AppKey("endpoints", EndpointCache)
RUNNER_TOKENS = web.AppKey("runner_tokens", RunnerTokens)
IDEMPOTENCY = web.AppKey("idempotency", Idempotency)
INSTALLS = web.AppKey("installs", Installs)
BUNDLES = web.AppKey("bundles", Bundles)
INVOCATIONS = web.AppKey("invocations", Invocations)
KEYS = web.AppKey("keys", Keys)
STORAGE = web.AppKey("storage", Storage)
TENANTS = web.AppKey("tenants", Tenants)
PUBLISHERS = web.AppKey("publishers", Publishers)
