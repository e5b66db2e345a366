"""Ray, by its Jobs API: a launch of a job is a Ray job, and its number is part of the Ray job's id.

Ray takes an id once. So however often a launch is asked for, by a client whose answer was lost or by several, there is
one Ray job. What it runs is `adaptkit.backends.engines.ray_driver`, which has to be installed on the cluster; neither
files nor data go through Ray.

The API is three requests of JSON, sent here under the egress policy. Ray's own client would send them to wherever
``RAY_ADDRESS`` points, whatever is configured, and need all of Ray on the user's machine.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

import msgspec

from adaptkit.backends.engines.config import RunConfig
from adaptkit.backends.engines.objects import is_address
from adaptkit.backends.engines.ray_driver import Launch
from adaptkit.backends.engines.site import Shared, Site
from adaptkit.backends.engines.storage import Stored
from adaptkit.backends.local_jobs import OFFLINE, QUIET, Job
from adaptkit.errors import BackendError, ConfigError, NotFoundError, ServiceError
from adaptkit.http import Egress, client, raise_for, translating
from adaptkit.types import Snapshot, Status

__all__ = ["RayEngine"]

#: Seconds between two questions.
POLL_AFTER = 2.0
#: Statuses of Ray jobs that go on.
_LIVE = ("PENDING", "RUNNING")
#: For the job's processes: which of Ray Train's interfaces, and no word to anybody outside.
_OF_RAY = {"RAY_TRAIN_V2_ENABLED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


class RayEngine:
    """Jobs on a Ray cluster, which may be one of KubeRay.

    Args:
        run: Its ``address`` is the head's dashboard; ``folder`` where jobs lie, if that is object storage.
        egress: Where this process may send to.

    Raises:
        ConfigError: there is no address, or something is set that Ray has not.
    """

    def __init__(self, run: RunConfig, egress: Egress | None = None) -> None:
        wrong = [f"run.{name} is for Slurm" for name in ("time", "partition", "options") if getattr(run, name)]
        if run.address is None:
            wrong.append('run.address is missing, the head\'s dashboard: address = "http://HOST:8265"')
        if run.nodes > 1 and is_address(run.folder):
            wrong.append(f"nodes = {run.nodes} need a folder that all of them see, and run.folder is object storage")
        if wrong:
            raise ConfigError(f'engine = "ray": {"; ".join(wrong)}')
        self._run, self._url = run, str(run.address).rstrip("/")
        self._egress = egress or Egress()

    def start(self, job: Job) -> None:
        """Launch the job unless a launch of it lives or it has ended.

        Raises:
            BackendError: Ray refuses, or does not answer.
        """
        site = self._site(job)
        site.offer()
        site.refresh()
        if job.state.status.is_terminal or job.cancelling:
            return
        number = site.launched()
        if number and self._asked(job, number, site)[1]:
            return
        while not self._submit(job, number := number + 1):
            if self._asked(job, number, site)[1]:  # somebody else's, or ours, whose answer was lost
                break
        site.claim(number)

    def cancel(self, job: Job) -> None:
        """Leave the wish, and have Ray end the processes: nothing of a cancelled job has to be kept."""
        site = self._site(job)
        site.refresh()
        if job.state.status.is_terminal:
            return
        site.cancel()
        if number := site.launched():
            try:
                self._ask("POST", f"{_id(job, number)}/stop")
            except NotFoundError:
                return

    def snapshot(self, job: Job) -> Snapshot:
        """How the job stands: one request to Ray unless it has ended.

        Raises:
            NotFoundError: there is no such job.
            BackendError: Ray or object storage does not answer.
        """
        site, said, lives = self._site(job), None, False
        site.refresh()
        if job.state.status.is_terminal:
            return job.standing(lives=False)
        if number := site.launched():
            said, lives = self._asked(job, number, site)
        if not lives:
            site.refresh()  # a driver that ended after the first look has written its end
        seen = job.standing(lives=lives)
        if seen.status.is_terminal:
            return seen
        if job.cancelling and not lives:
            over = {"status": Status.CANCELLED, "raw_status": "cancelled", "message": None, "poll_after": None}
            return msgspec.structs.replace(seen, **over)
        if said == "PENDING" or (lives and seen.status is Status.PAUSED):  # its driver has not begun yet
            seen = msgspec.structs.replace(seen, status=Status.QUEUED, raw_status="pending", message=None)
        return msgspec.structs.replace(seen, poll_after=POLL_AFTER)

    def _site(self, job: Job) -> Site:
        return Stored(str(self._run.folder), job) if is_address(self._run.folder) else Shared(job)

    def _asked(self, job: Job, number: int, site: Site) -> tuple[str | None, bool]:
        """What Ray says of a launch, and whether that lives; of one that Ray knows nothing of, the job's place says."""
        said = self._status(job, number)
        return said, said in _LIVE or (said is None and site.heard())

    def _status(self, job: Job, number: int) -> str | None:
        """What Ray says of a launch; ``None`` where it knows of none."""
        try:
            return str(self._ask("GET", _id(job, number)).get("status"))
        except NotFoundError:
            return None

    def _submit(self, job: Job, number: int) -> bool:
        """Whether this launch is new to Ray.

        Raises:
            BackendError: it is, and Ray does not take it.
        """
        folder = str(self._run.folder) if is_address(self._run.folder) else str(job.home.absolute())
        launch = Launch(folder, job.home.name, job.id, number, self._run.model_dump(mode="json", exclude_defaults=True))
        command = ["python", "-m", "adaptkit.backends.engines.ray_driver", msgspec.json.encode(launch).decode()]
        variables = {**QUIET, **(OFFLINE if job.spec.offline else {}), **_OF_RAY}
        body = {
            "entrypoint": shlex.join(command),
            "submission_id": _id(job, number),
            "runtime_env": {"env_vars": variables},
        }
        try:
            self._ask("POST", "", body)
        except ServiceError:  # the answer was lost, or it says in prose that there is one
            if self._status(job, number) is None:
                raise
            return False
        return True

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        token = os.environ.get("RAY_AUTH_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with translating("ray"), client(self._egress) as http:
            response = http.request(method, f"{self._url}/api/jobs/{path}", json=body, headers=headers)
        raise_for(response, "ray")
        try:
            return msgspec.json.decode(response.content, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise BackendError(f"{self._url} is not the dashboard of a Ray head", backend="ray") from None


def _id(job: Job, number: int) -> str:
    return f"{job.id}-{number}"
