"""Files that the host looks at, and limits that it names, before anything is paid."""

import pytest

from adaptkit import DataError, ServiceError, UnsupportedError
from adaptkit.clearance import LONGEST
from tests.core.conftest import data


@pytest.fixture
def looking(open_client):
    """A client whose host says of files what it is told to, one answer after the other, and then yes."""

    def opened(*answers):
        client, left, asked = open_client(), list(answers), []

        def data_ready(file_id):
            asked.append(file_id)
            answer = left.pop(0) if left else True
            if isinstance(answer, Exception):
                raise answer
            return answer

        client._target("t").data_ready = data_ready
        return client, asked

    return opened


def test_a_file_is_waited_for(looking, service, clock):
    client, asked = looking(False, ServiceError("busy"), False, True)
    began = clock.time()
    client.submit("t", data())
    assert asked == list(service.uploads()) * 4
    assert clock.time() > began
    assert len(service.jobs()) == 1


def test_a_file_that_the_host_refuses_pays_for_nothing(looking, service):
    client, _ = looking(DataError("row 3 has no messages"))
    with pytest.raises(DataError, match="row 3"):
        client.submit("t", data())
    assert service.jobs() == []
    client.submit("t", data())
    assert service.requests()["upload"] == 1


def test_a_file_that_is_never_ready_is_given_up(looking, service, clock):
    client, _ = looking(*[False] * 1000)
    began = clock.time()
    with pytest.raises(ServiceError, match="nothing was paid"):
        client.submit("t", data())
    assert LONGEST <= clock.time() - began < 2 * LONGEST
    assert service.jobs() == []


def test_a_plan_that_the_host_would_refuse_is_not_sent(open_client, service):
    heard = []

    def preflight(plan, uploads):
        heard.append((plan.config.epochs, sorted(uploads)))
        if plan.config.epochs > 3:
            raise UnsupportedError("epochs: at most 3")

    for epochs in (4, 3):
        client = open_client(epochs=epochs)
        client._target("t").preflight = preflight
        if epochs == 4:
            with pytest.raises(UnsupportedError, match="at most 3"):
                client.submit("t", data())
            assert service.jobs() == []
        else:
            client.submit("t", data())
    assert heard == [(4, ["train"]), (3, ["train"])]
    assert len(service.jobs()) == 1
