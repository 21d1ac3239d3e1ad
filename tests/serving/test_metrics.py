import re

from semreid.serving.metrics import Metrics
from tests.conftest import draw_figure
from tests.serving.conftest import png


def values(text: str) -> dict[str, float]:
    """What Prometheus would read: one value for each name with its labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line) for line in lines)
    pairs = [line.rsplit(" ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: float(value) for name, value in pairs}


def test_requests_searches_and_rows_are_counted(client):
    for _ in range(3):
        client.post("/api/search", files={"image": ("a.png", png(draw_figure(3, 1, 0)))})
    client.post("/api/search")
    client.get("/nothing/1")
    client.get("/nothing/2")
    client.request("BREW", "/")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = values(response.text)
    assert found['semreid_requests_total{method="POST",route="/api/search",status="200"}'] == 3
    assert found['semreid_requests_total{method="POST",route="/api/search",status="422"}'] == 1
    assert found['semreid_requests_total{method="GET",route="unknown",status="404"}'] == 2
    assert found['semreid_requests_total{method="other",route="/",status="405"}'] == 1
    assert found["semreid_searches_total"] == 3
    assert found["semreid_embedded_images"] == 3
    assert found["semreid_gallery_rows"] == 24
    assert found["semreid_gallery_up"] == 1


def test_a_large_number_is_written_to_the_last_digit():
    assert Metrics().text({"gallery_rows": 12_345_678}).splitlines()[-1] == "semreid_gallery_rows 12345678"


def test_the_histogram_is_cumulative_and_complete(client):
    for _ in range(5):
        client.get("/healthz")
    found = values(client.get("/metrics").text)
    buckets = [v for k, v in found.items() if k.startswith('semreid_request_seconds_bucket{route="/healthz"')]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found['semreid_request_seconds_count{route="/healthz"}'] == 5
    assert found['semreid_request_seconds_sum{route="/healthz"}'] > 0
