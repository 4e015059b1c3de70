"""What the server counts and times, for Prometheus; a registry of its own, so that two servers share nothing."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """Counters, gauges and histograms; names are chosen once."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        """All at nothing."""
        self.registry = here = CollectorRegistry()
        ProcessCollector(registry=here)
        PlatformCollector(registry=here)
        self.requests = Counter(
            "residua_requests", "requests answered", ("protocol", "route", "status"), registry=here
        )  # fmt: skip
        self.request_seconds = Histogram(
            "residua_request_seconds", "from the header to the last byte of the answer", ("protocol", "route"),
            buckets=SECONDS, registry=here,
        )  # fmt: skip
        self.in_flight = Gauge("residua_requests_in_flight", "requests that are being answered", registry=here)
        self.pictures = Counter(
            "residua_pictures", "pictures answered, or unreadable", ("model", "outcome"), registry=here
        )
        self.waiting = Gauge(
            "residua_pictures_waiting", "pictures taken in and not yet answered", ("model",), registry=here
        )
        self.batch = Histogram(
            "residua_batch_pictures", "pictures that went through the net together", ("model",), buckets=PICTURES,
            registry=here,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "residua_batch_seconds", "what a batch took in the net", ("model",), buckets=SECONDS, registry=here
        )  # fmt: skip
        self.sent_away = Counter("residua_sent_away", "pictures sent away with 429", ("model",), registry=here)
        self.reloads = Counter(
            "residua_reloads", "new files of a model: taken, or refused", ("model", "outcome"), registry=here
        )

    def page(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)
