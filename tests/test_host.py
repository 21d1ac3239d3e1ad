import pytest
import torch

from semreid.host import HostTensors, from_host, sent

CPU = torch.device("cpu")


def test_a_tensor_arrives_as_it_is() -> None:
    assert torch.equal(sent(torch.arange(3), CPU), torch.arange(3))
    assert torch.equal(from_host(lambda: torch.arange(3), CPU), torch.arange(3))
    assert from_host(lambda: torch.ones(2), torch.device("meta")).device.type == "meta"


def test_what_was_noted_is_given_again_in_order_and_renewed_in_place() -> None:
    def step() -> list[torch.Tensor]:
        return [from_host(lambda: torch.rand(2), CPU), from_host(lambda: torch.rand(3), CPU)]

    host = HostTensors()
    with host.noted():
        first = step()
    torch.manual_seed(3)
    with host.given():
        given = step()
    assert all(a is b for a, b in zip(first, given, strict=True))
    host.renew()
    torch.manual_seed(3)
    for there, expected in zip(given, step(), strict=True):
        assert torch.equal(there, expected)


def test_nobody_listens_behind_an_error() -> None:
    host = HostTensors()
    with pytest.raises(ZeroDivisionError), host.noted():
        from_host(lambda: torch.ones(1) * (1 // 0), CPU)
    from_host(lambda: torch.ones(1), CPU)
    host.renew()
    with host.noted():
        one = from_host(lambda: torch.ones(1), CPU)
    with host.given():
        assert from_host(lambda: torch.zeros(1), CPU) is one
