"""Any order of submitting, losing answers, crashing, coming back, polling and cancelling: one job a run."""

import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adaptkit import BackendError, Client, JobTimeout, JournalError, SpendError, Status
from adaptkit.testing import FakeClock, ScriptedConfig, ScriptedService
from tests.core.conftest import data

RUNS = st.sampled_from(["a", "b"])
WHO = st.integers(0, 1)
FAULTS = st.sampled_from(
    [("submit", name) for name in ("lost", "broken", "unreachable", "rate_limited", "refused")]
    + [("upload", "lost"), ("estimate", "broken"), ("find", "broken"), ("poll", "broken"), ("cancel", "broken")]
)
COSTS = 2.0
BUDGETS = st.sampled_from([None, None, COSTS, COSTS / 2])


class Lifecycle(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="adaptkit-machine-"))
        self.service, self.clock = ScriptedService(), FakeClock()
        self.clients = [None, None]
        self.abandoned = []  # submissions whose process is gone: nothing of them is cleaned up
        self.handles = {}  # job id -> reference, and the statuses that it has shown
        self.fresh = Counter()

    @initialize(
        guarantee=st.sampled_from(["exactly_once", "reconcilable", "at_most_once_manual"]),
        hidden=st.integers(0, 8),
        ignore=st.booleans(),
    )
    def begin(self, guarantee, hidden, ignore):
        self.config = ScriptedConfig(
            service=self.service.name,
            guarantee=guarantee,
            hidden_finds=hidden,
            ignore_filter=ignore,
            states=("queued", "running"),
            usd=COSTS,
        )
        for who in (0, 1):
            self.restart(who)

    @rule(who=WHO)
    def restart(self, who):
        if self.clients[who] is not None:
            self.clients[who].close()
        self.clients[who] = Client(targets={"t": self.config}, home=self.folder, clock=self.clock)

    @rule(fault=FAULTS, times=st.integers(1, 3))
    def fault(self, fault, times):
        self.service.next(*fault, times=times)

    @rule(
        run=RUNS,
        who=WHO,
        fresh=st.booleans(),
        answer=st.sampled_from(["heard", "lost", "lost", "broken"]),
        budget=BUDGETS,
    )
    def submit(self, run, who, fresh, answer, budget):
        self.fresh[run] += fresh
        if answer != "heard":
            self.service.next("submit", answer)
        before = len(self.service.jobs())
        try:
            job = self.clients[who].submit("t", data(run), fresh=fresh, budget=budget)
        except BackendError:
            return
        except SpendError:
            assert budget is not None
            assert budget < COSTS
            return
        finally:
            if budget is not None and budget < COSTS:
                assert len(self.service.jobs()) == before, "paid for above the budget"
        assert self.service.jobs_per_tag(), "a handle of nothing"
        self.handles.setdefault(job.id, (str(job.ref), []))

    @rule(run=RUNS, who=WHO, steps=st.integers(1, 16), fresh=st.booleans(), budget=BUDGETS)
    def crash_while_submitting(self, run, who, steps, fresh, budget):
        """Do some of the steps and vanish; the lease stays with the dead until it runs out, as time passes."""
        self.fresh[run] += fresh
        submission = self.clients[who]._submit("t", data(run), fresh=fresh, budget=budget)
        self.abandoned.append(submission)
        try:
            step = next(submission)
            for _ in range(steps):
                answer = None
                if callable(step):
                    try:
                        answer = step()
                    except BackendError as error:
                        step = submission.throw(error)
                        continue
                else:
                    self.clock.advance(step.seconds)
                step = submission.send(answer)
        except (StopIteration, BackendError, SpendError):
            pass
        self.clock.advance(31)

    @precondition(lambda self: self.handles)
    @rule(who=WHO, pick=st.randoms(use_true_random=False), verb=st.sampled_from(["refresh", "cancel", "wait"]))
    def follow(self, who, pick, verb):
        ref, shown = self.handles[pick.choice(sorted(self.handles))]
        job = self.clients[who].attach(ref)
        with suppress(BackendError, JobTimeout):
            if verb == "wait":
                job.wait(5)
            else:
                getattr(job, verb)()
        shown.append(job.status)

    @precondition(lambda self: self.service.jobs())
    @rule(pick=st.randoms(use_true_random=False), word=st.sampled_from(["succeeded", "failed", "puzzled", "running"]))
    def the_service_goes_on(self, pick, word):
        job = self.service.jobs()[pick.randrange(len(self.service.jobs()))]
        if job.live:
            self.service.tell(job.id, word)

    @invariant()
    def a_tag_is_one_job(self):
        assert set(self.service.jobs_per_tag().values()) <= {1}

    @invariant()
    def a_run_is_one_live_job(self):
        files = self.service.uploads()
        live = Counter("ab"[b"? b" in files[job.uploads["train"]]] for job in self.service.jobs() if job.live)
        for run, count in live.items():
            assert count <= 1 + self.fresh[run], f"{count} jobs of run {run} at once"

    @invariant()
    def an_end_is_an_end(self):
        for _, shown in self.handles.values():
            ended = [status for status in shown if status.is_terminal]
            assert ended == shown[len(shown) - len(ended) :], shown
            assert len(set(ended)) <= 1
            assert Status.UNKNOWN not in ended

    def teardown(self):
        for submission in self.abandoned:
            with suppress(JournalError):  # its client has been closed
                submission.close()
        for client in filter(None, self.clients):
            client.close()
        self.service.close()
        shutil.rmtree(self.folder, ignore_errors=True)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(
    max_examples=20, stateful_step_count=16, deadline=None, suppress_health_check=list(HealthCheck)
)
