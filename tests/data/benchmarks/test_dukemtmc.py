import pytest

from semreid.data.benchmarks import dukemtmc, load_dataset


@pytest.fixture
def root(write_images):
    return write_images(
        "bounding_box_train/0001_c2_f0046182.jpg query/0005_c2_f0046985.jpg "
        "bounding_box_test/0005_c8_f0046985.jpg bounding_box_test/0006_c1_f0000001.jpg"
    )


@pytest.mark.parametrize("name", ["dukemtmc", "occluded-duke"])
def test_the_layout_is_read_and_the_withdrawal_said_first(root, name):
    dataset = load_dataset(f"{name}:{root}")
    assert [(s.pid, s.camid) for s in dataset.gallery] == [(5, 8), (6, 1)]
    assert "withdrawn" in dataset.warnings[0]
    assert len(dataset.warnings) == 4
    assert dataset.protocol.note == "withdrawn data set"
    assert "WITHDRAWN" in dataset.terms


def test_published_counts():
    assert sum(c.images for c in dukemtmc.PUBLISHED.values()) == 36_411
    assert dukemtmc.OCCLUDED["train"] == (702, 15_618)
    assert dukemtmc.OCCLUDED["query"] == (519, 2_210)
