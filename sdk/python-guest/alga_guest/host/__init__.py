"""Everything a handler may ask of the platform, in one object.

Built over the generated imports of the world in a component, over a fake of them in an author's tests. Every refusal
is a HostError; what was not granted is Denied.
"""

from typing import Any

from alga_guest.host.context import Clock, Config, Context, Users
from alga_guest.host.outbound import Http, UiProxy
from alga_guest.host.platform import Clients, Invoicing, Scheduler, Services
from alga_guest.host.storage import Secrets, Storage
from alga_guest.host.telemetry import Events, Log, Metrics


class Host:
    """`imports` has one attribute per interface of the world, snake-case, as componentize-py generates them."""

    def __init__(self, imports: Any) -> None:
        self._imports = imports
        self.storage = Storage(imports)
        self.secrets = Secrets(imports)
        self.http = Http(imports)
        self.ui_proxy = UiProxy(imports)
        self.users = Users(imports)
        self.config = Config(imports)
        self.clock = Clock(imports)
        self.log = Log(imports)
        self.metrics = Metrics(imports)
        self.events = Events(imports)
        self.scheduler = Scheduler(imports)
        self.invoicing = Invoicing(imports)
        self.clients = Clients(imports)
        self.services = Services(imports)

    @property
    def context(self) -> Context:
        """Who runs, what runs, why and within which limits."""
        return Context.read(self._imports)
