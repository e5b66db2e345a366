"""The journal against a model in plain Python, through any sequence of calls by two clients."""

from __future__ import annotations

import secrets
from typing import Any, get_args

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from adaptkit.errors import JournalError
from adaptkit.journal import DeploymentRecord, LeaseLost, Run, Stage, open_journal
from adaptkit.types import DeploymentStatus, Status
from tests.journal.steps import adopt, begin, deploy, said
from tests.journal.test_conformance import ALLOWED

TERMINAL = {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}
WHICH = st.integers(0, 1)
OWNERS = st.sampled_from(["ann", "bob"])
IDENTITIES = st.sampled_from(["x", "y"])


class Machine(RuleBasedStateMachine):
    runs = Bundle("runs")
    records = Bundle("records")

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.clients = [open_journal(url), open_journal(url)]
        self.own = secrets.token_hex(8)  # the database serves all examples
        self.now = 1000.0
        self.model: dict[str, dict[str, Any]] = {}
        self.leases: dict[str, tuple[str | None, float]] = {}
        self.lines: dict[str, int] = {}
        self.notes: set[tuple[str, str]] = set()
        self.uses: dict[str, set[str]] = {}
        self.deployed: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        for client in self.clients:
            client.close()

    def attempts(self, identity: str) -> list[dict[str, Any]]:
        return [run for run in self.model.values() if run["identity"] == f"{self.own}{identity}"]

    def changed(self, run_id: str, **values: Any) -> None:
        self.model[run_id] |= {**values, "updated_at": self.now}
        self.lines[run_id] += 1

    def matches(self, run: Run) -> None:
        assert {name: getattr(run, name) for name in self.model[run.id]} == self.model[run.id]

    @initialize(target=runs, identity=IDENTITIES)
    def first(self, identity: str) -> str:
        return self.begin(0, identity, fresh=False)

    @rule(target=runs, which=WHICH, identity=IDENTITIES, fresh=st.booleans())
    def begin(self, which: int, identity: str, fresh: bool) -> str:
        before = self.attempts(identity)
        live = bool(before) and before[-1]["status"] not in (Status.FAILED, Status.CANCELLED)
        run, created = begin(self.clients[which], f"{self.own}{identity}", fresh=fresh, now=self.now)
        assert created == (fresh or not live)
        if created:
            assert run.id not in self.model
            self.model[run.id] = {
                "identity": run.identity,
                "attempt": len(before) + 1,
                "tag": run.tag,
                "stage": Stage.INTENT,
                "status": Status.QUEUED,
                "raw_status": "",
                "job_id": None,
                "message": None,
                "uncertain": False,
                "created_at": self.now,
                "updated_at": self.now,
            }
            self.leases[run.id] = (None, 0.0)
            self.lines[run.id] = 1
        else:
            assert run.tag == before[-1]["tag"]
        self.matches(run)
        return run.id

    @rule(target=runs, which=WHICH, identity=IDENTITIES, status=st.sampled_from(Status))
    def adopt(self, which: int, identity: str, status: Status) -> str:
        name = f"{self.own}their-{identity}"
        before = [run_id for run_id, run in self.model.items() if run["identity"] == name]
        run = adopt(self.clients[which], name, job_id="j1", status=status, created_at=self.now - 1, now=self.now)
        assert before in ([], [run.id])
        if not before:
            self.model[run.id] = {
                "identity": name,
                "attempt": 1,
                "tag": run.tag,
                "stage": Stage.ACCEPTED,
                "status": status,
                "raw_status": "word",
                "job_id": "j1",
                "message": None,
                "uncertain": False,
                "created_at": self.now - 1,
                "updated_at": self.now,
            }
            self.leases[run.id] = (None, 0.0)
            self.lines[run.id] = 1
        self.matches(run)
        return run.id

    @rule(which=WHICH, run_id=runs, owner=OWNERS, seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def lease(self, which: int, run_id: str, owner: str, seconds: float) -> None:
        holder, until = self.leases[run_id]
        free = holder in (None, owner) or until <= self.now
        assert self.clients[which].lease(run_id, owner, self.now, seconds) is free
        if free:
            self.leases[run_id] = (owner, self.now + seconds)
            self.lines[run_id] += holder != owner

    @rule(which=WHICH, run_id=runs, owner=OWNERS, seconds=st.sampled_from([1.0, 30.0]))
    def renew(self, which: int, run_id: str, owner: str, seconds: float) -> None:
        holds = self.leases[run_id][0] == owner
        assert self.clients[which].renew(run_id, owner, self.now, seconds) is holds
        if holds:
            self.leases[run_id] = (owner, self.now + seconds)

    @rule(which=WHICH, run_id=runs, owner=OWNERS)
    def release(self, which: int, run_id: str, owner: str) -> None:
        self.clients[which].release(run_id, owner)
        if self.leases[run_id][0] == owner:
            self.leases[run_id] = (None, 0.0)

    @rule(
        which=WHICH,
        run_id=runs,
        owner=OWNERS,
        goal=st.sampled_from(Stage),
        doubt=st.sampled_from([None, True, False]),
        lease_first=st.booleans(),
    )
    def advance(self, which: int, run_id: str, owner: str, goal: Stage, doubt: bool | None, lease_first: bool) -> None:
        if lease_first:
            self.lease(which, run_id, owner, 5.0)
        holder, until = self.leases[run_id]
        known = self.model[run_id]
        try:
            run = self.clients[which].advance(run_id, owner, goal, now=self.now, uncertain=doubt)
        except LeaseLost:
            assert holder != owner or until <= self.now
        except JournalError:
            assert holder == owner
            assert (known["stage"], goal) not in ALLOWED or known["status"] in TERMINAL
        else:
            assert holder == owner
            assert until > self.now
            assert (known["stage"], goal) in ALLOWED
            assert known["status"] not in TERMINAL
            self.changed(run_id, stage=goal, uncertain=known["uncertain"] if doubt is None else doubt)
            self.matches(run)

    @rule(which=WHICH, run_id=runs, job=st.sampled_from(["j1", "j2"]), status=st.sampled_from(Status))
    def accept(self, which: int, run_id: str, job: str, status: Status) -> None:
        known = self.model[run_id]
        try:
            run = self.clients[which].accept(run_id, job_id=job, status=status, raw_status="yes", now=self.now)
        except JournalError:
            assert known["job_id"] not in (None, job)
            return
        assert known["job_id"] in (None, job)
        if known["job_id"] is None:
            if known["status"] not in TERMINAL:
                known |= {"status": status, "raw_status": "yes"}
            self.changed(run_id, stage=Stage.ACCEPTED, job_id=job, uncertain=False)
        self.matches(run)

    @rule(
        which=WHICH,
        run_id=runs,
        status=st.sampled_from(Status),
        word=st.sampled_from(["", "training", "done"]),
        message=st.sampled_from([None, "why"]),
    )
    def observe(self, which: int, run_id: str, status: Status, word: str, message: str | None) -> None:
        known = self.model[run_id]
        run = self.clients[which].observe(run_id, status, word, message, self.now)
        news = (known["status"], known["raw_status"], known["message"]) != (status, word, message)
        if known["status"] not in TERMINAL and news:
            self.changed(run_id, status=status, raw_status=word, message=message)
        self.matches(run)

    @rule(which=WHICH, run_id=runs, text=st.sampled_from(["one", "two"]))
    def note(self, which: int, run_id: str, text: str) -> None:
        new = (run_id, text) not in self.notes
        assert self.clients[which].note(run_id, text, self.now) is new
        self.notes.add((run_id, text))
        self.lines[run_id] += new

    @rule(which=WHICH, run_id=runs, content=st.sampled_from(["a", "b"]))
    def upload(self, which: int, run_id: str, content: str) -> None:
        sha256 = f"{self.own}{content}"
        self.clients[which].record_upload(sha256, "acc", "train", f"file-{content}", self.now)
        self.clients[which].use_upload(run_id, sha256, "acc", "train")
        self.uses.setdefault(sha256, set()).add(run_id)

    @rule(which=WHICH, content=st.sampled_from(["a", "b"]))
    def forget(self, which: int, content: str) -> None:
        self.clients[which].forget_upload(f"{self.own}{content}", "acc", "train")
        self.uses.pop(f"{self.own}{content}", None)

    # deployments --------------------------------------------------------------------------------------------------

    @rule(target=records, which=WHICH, identity=IDENTITIES)
    def deploy(self, which: int, identity: str) -> str:
        before = [known for known in self.deployed.values() if known["identity"] == f"{self.own}{identity}"]
        over = not before or before[-1]["status"] in ("stopping", "stopped", "failed")
        record, created = deploy(self.clients[which], f"{self.own}{identity}", now=self.now)
        assert created is over
        if created:
            assert record.id not in self.deployed
            self.deployed[record.id] = {
                "identity": record.identity,
                "attempt": len(before) + 1,
                "tag": record.tag,
                "status": "requested",
                "raw_status": "",
                "deployment_id": None,
                "created_at": self.now,
            }
        self.is_deployed(record)
        return record.id

    def is_deployed(self, record: DeploymentRecord) -> None:
        known = self.deployed[record.id]
        assert {name: getattr(record, name) for name in known} == known

    @rule(
        which=WHICH,
        record_id=records,
        host=st.sampled_from(["d1", "d2"]),
        status=st.sampled_from(get_args(DeploymentStatus)),
    )
    def hear(self, which: int, record_id: str, host: str, status: DeploymentStatus) -> None:
        known = self.deployed[record_id]
        try:
            record = self.clients[which].deployments.hear(record_id, said(host, status), self.now)
        except JournalError:
            assert known["deployment_id"] not in (None, host)
            return
        assert known["deployment_id"] in (None, host)
        if (known["deployment_id"], known["status"]) != (host, "stopped"):
            known |= {"deployment_id": host, "status": status, "raw_status": status}
        self.is_deployed(record)

    @rule(which=WHICH, record_id=records, lost=st.booleans())
    def nothing_there(self, which: int, record_id: str, lost: bool) -> None:
        known, deployments = self.deployed[record_id], self.clients[which].deployments
        if lost:
            record = deployments.doubt(record_id, self.now)
        else:
            record = deployments.end(record_id, "refused", None, self.now)
        if known["status"] == "requested":
            known |= {"raw_status": "answer lost"} if lost else {"status": "stopped", "raw_status": "refused"}
        self.is_deployed(record)

    @invariant()
    def both_clients_see_what_may_cost_money(self) -> None:
        for client in self.clients:
            live = [record for record in client.deployments.live() if record.identity.startswith(self.own)]
            for record in live:
                self.is_deployed(record)
            assert {record.id for record in live} == {
                record_id for record_id, known in self.deployed.items() if known["status"] != "stopped"
            }

    @invariant()
    def uploads_are_offered_once_nothing_uses_them(self) -> None:
        for client in self.clients:
            offered = {upload.sha256 for upload in client.unused_uploads() if upload.sha256.startswith(self.own)}
            ended = {run_id for run_id, run in self.model.items() if run["status"] in TERMINAL}
            assert offered == {sha256 for sha256, users in self.uses.items() if users <= ended}

    @rule(seconds=st.sampled_from([0.5, 4.0, 29.0, 30.0, 1000.0, -3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds  # a clock may also be set back

    @rule(which=WHICH)
    def restart(self, which: int) -> None:
        self.clients[which].close()
        self.clients[which] = open_journal(self.url)

    @invariant()
    def both_clients_see_the_model(self) -> None:
        for client in self.clients:
            stored = [run for run in client.runs() if run.identity.startswith(self.own)]
            for run in stored:
                self.matches(run)
            assert {run.id for run in stored} == set(self.model)
            order = [(run.created_at, run.attempt, run.id) for run in stored]
            assert order == sorted(order, reverse=True)

    @invariant()
    def the_trail_is_complete(self) -> None:
        for run_id, lines in self.lines.items():
            assert len(self.clients[0].history(run_id)) == lines
            assert self.clients[1].holder(run_id) == self.leases[run_id][0]


def test_the_journal_does_what_the_model_does(url: str) -> None:
    run_state_machine_as_test(
        lambda: Machine(url),
        settings=settings(
            max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
