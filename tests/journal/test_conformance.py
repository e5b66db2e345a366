"""What every journal does, on both databases."""

from __future__ import annotations

import multiprocessing
import string
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from adaptkit.errors import ConfigError, JournalError
from adaptkit.journal import Journal, LeaseLost, Stage, Transition, open_journal
from adaptkit.types import Status
from tests.journal.steps import accepted, adopt, begin, deploy, said, submitting

Client = Callable[[], Journal]


def test_a_new_run_holds_what_was_given(journal: Journal) -> None:
    run, created = begin(journal, now=1_790_000_000.25)
    assert created
    assert msgspec.structs.asdict(run) | {"id": "", "tag": ""} == {
        "id": "",
        "identity": "one",
        "attempt": 1,
        "tag": "",
        "target": "small",
        "backend": "scripted",
        "account": "acc0",
        "config": '{"epochs":3}',
        "fingerprint": "f" * 64,
        "stage": Stage.INTENT,
        "status": Status.QUEUED,
        "raw_status": "",
        "job_id": None,
        "message": None,
        "created_at": 1_790_000_000.25,
        "updated_at": 1_790_000_000.25,
        "uncertain": False,
    }
    assert journal.get(run.id) == run


def test_ids_and_tags_fit_where_services_put_them(journal: Journal) -> None:
    runs = [begin(journal, fresh=True, now=float(10**k))[0] for k in range(12)]
    assert all(len(run.id) == 26 and len(run.tag) == 26 for run in runs)
    assert all(set(run.tag) <= set(string.ascii_lowercase + string.digits) and run.tag[0].isalpha() for run in runs)
    assert [run.id for run in runs] == sorted(run.id for run in runs)
    assert len({run.tag for run in runs}) == len({run.id for run in runs}) == 12


@pytest.mark.parametrize("status", list(Status))
def test_begin_goes_on_with_a_live_or_finished_run_and_starts_anew_after_a_bad_end(
    journal: Journal, status: Status
) -> None:
    first = accepted(journal)
    journal.observe(first.id, status, "x", None, 101.0)
    second, created = begin(journal, now=102.0)
    ended_badly = status in (Status.FAILED, Status.CANCELLED)
    assert created is ended_badly
    assert second.attempt == (2 if ended_badly else 1)
    assert (second.id == first.id) is not ended_badly


def test_fresh_starts_another_attempt_and_later_calls_get_that_one(journal: Journal) -> None:
    first, _ = begin(journal)
    second, created = begin(journal, fresh=True, now=101.0)
    assert created
    assert (second.attempt, second.tag != first.tag) == (2, True)
    assert begin(journal, now=102.0) == (second, False)


def test_two_clients_see_one_another_at_once(client: Client) -> None:
    here, there = client(), client()
    run, _ = begin(here)
    assert begin(there) == (run, False)
    assert there.lease(run.id, "there", 100.0, 10.0)
    assert not here.lease(run.id, "here", 100.0, 10.0)
    there.advance(run.id, "there", Stage.UPLOADING, now=101.0)
    assert here.get(run.id) == there.get(run.id)
    assert here.runs() == there.runs()


def test_a_lease_is_one_owner_s_until_it_runs_out_or_is_given_back(journal: Journal) -> None:
    run, _ = begin(journal)
    assert journal.holder(run.id) is None
    assert journal.lease(run.id, "a", 100.0, 10.0)
    assert journal.lease(run.id, "a", 105.0, 10.0)  # renewed: until 115
    assert not journal.lease(run.id, "b", 114.9, 10.0)
    assert journal.holder(run.id) == "a"
    assert journal.lease(run.id, "b", 115.0, 10.0)
    journal.release(run.id, "a")  # not a's any more: nothing happens
    assert not journal.lease(run.id, "a", 116.0, 10.0)
    journal.release(run.id, "b")
    assert journal.holder(run.id) is None
    assert journal.lease(run.id, "a", 116.0, 10.0)


def test_renewing_keeps_a_lease_and_never_takes_one(client: Client) -> None:
    here, there = client(), client()
    run, _ = begin(here)
    assert not here.renew(run.id, "a", 100.0, 10.0)  # never taken
    assert here.holder(run.id) is None
    assert here.lease(run.id, "a", 100.0, 10.0)
    trail = here.history(run.id)
    assert there.renew(run.id, "a", 105.0, 10.0)  # until 115
    assert not there.lease(run.id, "b", 114.9, 10.0)
    assert here.renew(run.id, "a", 500.0, 10.0)  # it had run out, and nobody took it: until 510
    assert not there.lease(run.id, "b", 509.9, 10.0)
    assert here.history(run.id) == trail

    assert there.lease(run.id, "b", 510.0, 10.0)
    assert not here.renew(run.id, "a", 511.0, 10.0)  # another has it
    assert not here.renew(run.id, "a", 900.0, 10.0)  # or had it last
    there.release(run.id, "b")
    assert not here.renew(run.id, "a", 901.0, 10.0)  # or gave it back
    assert here.lease(run.id, "c", 901.0, 10.0)
    assert here.holder(run.id) == "c"


def test_only_the_holder_of_a_lease_advances(journal: Journal) -> None:
    run, _ = begin(journal)
    with pytest.raises(LeaseLost):
        journal.advance(run.id, "a", Stage.UPLOADING, now=100.0)
    journal.lease(run.id, "a", 100.0, 10.0)
    with pytest.raises(LeaseLost, match="another process"):
        journal.advance(run.id, "b", Stage.UPLOADING, now=101.0)
    with pytest.raises(LeaseLost, match="ran out"):
        journal.advance(run.id, "a", Stage.UPLOADING, now=110.0)
    assert journal.get(run.id) == run


ALLOWED = {
    (Stage.INTENT, Stage.INTENT),
    (Stage.INTENT, Stage.UPLOADING),
    (Stage.UPLOADING, Stage.UPLOADING),
    (Stage.UPLOADING, Stage.SUBMITTING),
    (Stage.SUBMITTING, Stage.SUBMITTING),
    (Stage.SUBMITTING, Stage.UPLOADING),
}


@pytest.mark.parametrize("start", list(Stage))
def test_stages_follow_the_table(journal: Journal, start: Stage) -> None:
    for goal in Stage:
        run = accepted(journal) if start is Stage.ACCEPTED else submitting(journal)
        if start is Stage.UPLOADING:
            run = journal.advance(run.id, "me", start, now=100.0)
        if start is Stage.INTENT:
            run, _ = begin(journal, fresh=True)
            journal.lease(run.id, "me", 100.0, 50.0)
        if (start, goal) in ALLOWED:
            assert journal.advance(run.id, "me", goal, now=101.0).stage is goal
        else:
            with pytest.raises(JournalError, match=f"from {start} to {goal}"):
                journal.advance(run.id, "me", goal, now=101.0)
            assert journal.get(run.id) == run


def test_uncertain_stays_until_said_otherwise_or_the_job_is_found(journal: Journal) -> None:
    run = submitting(journal)
    assert journal.advance(run.id, "me", Stage.SUBMITTING, now=101.0, uncertain=True).uncertain
    assert journal.advance(run.id, "me", Stage.SUBMITTING, now=102.0).uncertain
    assert not journal.advance(run.id, "me", Stage.UPLOADING, now=103.0, uncertain=False).uncertain
    journal.advance(run.id, "me", Stage.SUBMITTING, now=104.0, uncertain=True)
    found = journal.accept(run.id, job_id="j", status=Status.RUNNING, raw_status="running", now=105.0)
    assert not found.uncertain
    assert journal.get(run.id) == found


def test_nothing_more_is_sent_for_a_run_that_has_ended(journal: Journal) -> None:
    run, _ = begin(journal)
    journal.lease(run.id, "me", 100.0, 50.0)
    journal.observe(run.id, Status.CANCELLED, "cancelled by its user", None, 101.0)
    with pytest.raises(JournalError, match="has ended"):
        journal.advance(run.id, "me", Stage.UPLOADING, now=102.0)


def test_accept_records_the_job_once(journal: Journal) -> None:
    run = submitting(journal)
    first = journal.accept(run.id, job_id="ftjob-1", status=Status.QUEUED, raw_status="validating", now=101.0)
    assert (first.stage, first.job_id, first.status) == (Stage.ACCEPTED, "ftjob-1", Status.QUEUED)
    assert (first.raw_status, first.updated_at) == ("validating", 101.0)
    again = journal.accept(run.id, job_id="ftjob-1", status=Status.RUNNING, raw_status="running", now=105.0)
    assert again == first
    with pytest.raises(JournalError, match="ftjob-2"):
        journal.accept(run.id, job_id="ftjob-2", status=Status.QUEUED, raw_status="x", now=106.0)
    assert journal.get(run.id) == first


def test_a_job_that_answers_late_is_kept_whatever_happened_meanwhile(journal: Journal) -> None:
    run = submitting(journal)
    assert journal.lease(run.id, "other", 200.0, 50.0)
    journal.advance(run.id, "other", Stage.UPLOADING, now=200.0)
    late = journal.accept(run.id, job_id="late", status=Status.RUNNING, raw_status="running", now=201.0)
    assert (late.stage, late.job_id) == (Stage.ACCEPTED, "late")
    with pytest.raises(JournalError, match="from accepted"):  # so the other does not pay a second time
        journal.advance(run.id, "other", Stage.SUBMITTING, now=202.0)

    run = submitting(journal, now=300.0)
    journal.observe(run.id, Status.FAILED, "refused", "no", 301.0)
    late = journal.accept(run.id, job_id="later", status=Status.RUNNING, raw_status="running", now=302.0)
    assert (late.job_id, late.status, late.raw_status) == ("later", Status.FAILED, "refused")


@pytest.mark.parametrize("end", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED])
def test_a_terminal_status_is_never_left(client: Client, end: Status) -> None:
    here, there = client(), client()
    run = accepted(here)
    assert there.observe(run.id, Status.UNKNOWN, "sharding", None, 101.0).status is Status.UNKNOWN
    ended = here.observe(run.id, end, "the end", "why", 102.0)
    for status in Status:
        assert there.observe(run.id, status, "late news", "other", 103.0) == ended
    assert here.get(run.id) == ended


def test_observe_replaces_what_was_known_and_writes_only_news(journal: Journal) -> None:
    run = accepted(journal)
    seen = journal.observe(run.id, Status.RUNNING, "training", "warming up", 101.0)
    assert (seen.status, seen.raw_status, seen.message, seen.updated_at) == (
        Status.RUNNING,
        "training",
        "warming up",
        101.0,
    )
    lines = len(journal.history(run.id))
    assert journal.observe(run.id, Status.RUNNING, "training", "warming up", 110.0) == seen
    assert len(journal.history(run.id)) == lines
    assert journal.observe(run.id, Status.RUNNING, "training", None, 111.0).message is None


def test_the_words_of_a_service_may_hold_anything(journal: Journal) -> None:
    run = accepted(journal)
    words = "Zug fällt aus 🚆 100% ? %s ?? 'x' \"y\" \\ \n\t"
    assert journal.observe(run.id, Status.RUNNING, words, words, 101.0).message == words
    odd = journal.observe(run.id, Status.RUNNING, "a\0b", "c\ud800d\0", 102.0)
    assert (odd.raw_status, odd.message) == ("a�b", "c?d�")
    assert journal.get(run.id) == odd
    assert journal.observe(run.id, Status.RUNNING, "a\0b", "c\ud800d\0", 103.0) == odd


def test_a_job_is_found_by_its_backend_s_id(journal: Journal) -> None:
    run = accepted(journal, job_id="j1")
    assert journal.by_job("scripted", "j1") == run
    assert journal.by_job("other", "j1") is None
    assert journal.by_job("scripted", "j2") is None
    newer = accepted(journal, job_id="j1", now=200.0)
    assert journal.by_job("scripted", "j1") == newer


def test_runs_come_newest_first(journal: Journal) -> None:
    assert journal.runs() == []
    made = [begin(journal, f"i{k}", now=100.0 + k)[0] for k in range(5)]
    made += [begin(journal, "i4", fresh=True, now=104.0)[0]]  # the same instant: the later attempt first
    assert journal.runs() == made[::-1]
    assert journal.runs(limit=2) == made[:-3:-1]
    assert journal.runs(limit=0) == []


def test_uploads_are_known_by_content_account_and_purpose(journal: Journal) -> None:
    assert journal.upload("sha", "acc", "train") is None
    journal.record_upload("sha", "acc", "train", "file-1", 100.0)
    assert journal.upload("sha", "acc", "train") == "file-1"
    assert journal.upload("sha", "acc", "validation") is None
    assert journal.upload("sha", "acc2", "train") is None
    journal.record_upload("sha", "acc", "train", "file-2", 101.0)
    assert journal.upload("sha", "acc", "train") == "file-2"
    journal.forget_upload("sha", "acc", "train")
    journal.forget_upload("sha", "acc", "train")
    assert journal.upload("sha", "acc", "train") is None


def test_an_upload_is_used_until_all_that_it_was_uploaded_for_have_ended(journal: Journal) -> None:
    first, second = accepted(journal, "a", job_id="a"), accepted(journal, "b", job_id="b", now=101.0)
    journal.record_upload("sha", "acc", "train", "file-1", 100.0)
    journal.record_upload("sha2", "acc", "train", "file-2", 101.0)
    journal.record_upload("sha3", "acc", "train", "nobody's", 101.0)
    for run in (first, second):
        journal.use_upload(run.id, "sha", "acc", "train")
        journal.use_upload(run.id, "sha", "acc", "train")
    journal.use_upload(second.id, "sha2", "acc", "train")
    assert [upload.file_id for upload in journal.uploads_of(second.id)] == ["file-1", "file-2"]
    journal.observe(first.id, Status.SUCCEEDED, "done", None, 102.0)
    assert journal.unused_uploads() == []
    journal.observe(second.id, Status.FAILED, "no", None, 103.0)
    unused = journal.unused_uploads()
    assert [(upload.file_id, upload.run_id) for upload in unused] == [("file-1", second.id), ("file-2", second.id)]
    journal.forget_upload("sha", "acc", "train")
    assert journal.unused_uploads() == unused[1:]
    journal.record_upload("sha", "acc", "train", "file-3", 104.0)
    assert journal.uploads_of(first.id) == [], "a file that was deleted is nobody's, even if its bytes come back"


def test_a_note_is_written_once(client: Client) -> None:
    here, there = client(), client()
    run = accepted(here)
    assert here.note(run.id, "epochs = 3 was asked for\0", 101.0)
    assert not there.note(run.id, "epochs = 3 was asked for\0", 102.0)
    assert there.note(run.id, "another", 103.0)
    noted = [(entry.at, entry.detail) for entry in here.history(run.id) if entry.what == "noted"]
    assert noted == [(101.0, "epochs = 3 was asked for�"), (103.0, "another")]
    assert here.get(run.id) == run


def test_a_deployment_is_begun_once_until_it_is_over(client: Client) -> None:
    here, there = client(), client()
    record, created = deploy(here)
    assert (created, record.status, record.attempt, record.deployment_id) == (True, "requested", 1, None)
    assert deploy(there, now=101.0) == (record, False)
    for status in ("starting", "ready", "unknown"):
        heard = there.deployments.hear(record.id, said("d1", status), 102.0)
        assert (heard.status, heard.deployment_id) == (status, "d1")
        assert deploy(here, now=103.0) == (heard, False)
    for number, status in enumerate(("failed", "stopping", "stopped"), start=2):
        here.deployments.hear(record.id, said(f"d{number - 1}", status), 104.0)
        record, created = deploy(there, now=104.0 + number)
        assert (created, record.attempt) == (True, number)
        here.deployments.hear(record.id, said(f"d{number}", "ready"), 105.0)
    live = {known.deployment_id: known.status for known in here.deployments.live()}
    assert live == {"d4": "ready", "d2": "stopping", "d1": "failed"}, "what has failed may still cost something"


def test_what_is_known_of_a_deployment(journal: Journal) -> None:
    record, _ = deploy(journal)
    ready = said("d1", "ready", "RUNNING", answers_as="m@d1", hourly_usd=9.5, message="warm")
    heard = journal.deployments.hear(record.id, ready, 101.0)
    assert (heard.answers_as, heard.hourly_usd, heard.message, heard.raw_status) == ("m@d1", 9.5, "warm", "RUNNING")
    assert journal.deployments.hear(record.id, said("d1", "ready", "RUNNING", message="warm"), 102.0) == heard
    assert journal.deployments.find("scripted", "d1") == heard == journal.deployments.find("scripted", record.tag)
    assert journal.deployments.find("other", "d1") is None
    with pytest.raises(JournalError, match="d2"):
        journal.deployments.hear(record.id, said("d2", "ready"), 103.0)
    assert journal.deployments.end(record.id, "given up", None, 103.0) == heard, "the host has one"
    assert journal.deployments.doubt(record.id, 103.0) == heard
    gone = journal.deployments.hear(record.id, said("d1", "stopped", "gone"), 104.0)
    assert journal.deployments.hear(record.id, said("d1", "ready"), 105.0) == gone, "what is stopped stays so"
    assert [entry.what for entry in journal.history(record.id)] == ["requested", "observed", "observed"]
    assert journal.deployments.get("nope") is None
    with pytest.raises(JournalError, match="no deployment"):
        journal.deployments.doubt("nope", 1.0)


def test_a_deployment_that_answers_late_is_kept(journal: Journal) -> None:
    record, _ = deploy(journal)
    assert journal.deployments.doubt(record.id, 101.0).raw_status == "answer lost"
    assert journal.deployments.end(record.id, "refused", "no room", 102.0).status == "stopped"
    assert journal.deployments.live() == []
    late = journal.deployments.hear(record.id, said("late", "starting"), 103.0)
    assert journal.deployments.live() == [late]


def test_an_adopted_job_is_an_accepted_run(journal: Journal) -> None:
    run = adopt(journal)
    assert (run.stage, run.status, run.raw_status, run.attempt) == (Stage.ACCEPTED, Status.RUNNING, "word", 1)
    assert (run.job_id, run.fingerprint, run.created_at, run.updated_at) == ("job-9", "", 50.0, 100.0)
    assert journal.get(run.id) == journal.by_job("scripted", "job-9") == run
    assert [entry.what for entry in journal.history(run.id)] == ["adopted"]
    assert adopt(journal, status=Status.FAILED, now=200.0) == run, "it is there already"
    journal.observe(run.id, Status.SUCCEEDED, "done", None, 300.0)
    assert adopt(journal).status is Status.SUCCEEDED
    assert [entry.what for entry in journal.history(run.id)] == ["adopted", "observed"]


def test_many_adopt_one_run(client: Client) -> None:
    journals = [client() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(adopt, journals))
    assert len({run.id for run in found}) == 1


def test_an_adopted_file_is_the_upload_that_is_known(journal: Journal) -> None:
    ours, theirs = accepted(journal), adopt(journal)
    journal.record_upload("sha", "acc", "train", "file-1", 100.0)
    journal.use_upload(ours.id, "sha", "acc", "train")
    for _ in range(2):
        journal.adopt_upload(theirs.id, "acc", "validation", "file-1", 101.0)
        journal.adopt_upload(theirs.id, "acc", "train", "file-2", 102.0)
    assert {upload.sha256 for upload in journal.uploads_of(theirs.id)} == {"sha", "file:file-2"}
    journal.observe(ours.id, Status.SUCCEEDED, "done", None, 103.0)
    assert journal.unused_uploads() == [], "the other job runs"
    journal.observe(theirs.id, Status.SUCCEEDED, "done", None, 104.0)
    assert [upload.file_id for upload in journal.unused_uploads()] == ["file-1", "file-2"]


def test_history_tells_what_happened_and_nothing_more(journal: Journal) -> None:
    run = accepted(journal)
    journal.observe(run.id, Status.FAILED, "error", "row 3: my secret data", 102.0)
    history = journal.history(run.id)
    assert [entry.what for entry in history] == ["begun", "leased", "uploading", "submitting", "accepted", "observed"]
    assert history[-1] == Transition(at=102.0, what="observed", detail="queued to failed (error)")
    assert run.tag in history[0].detail
    assert "secret" not in repr(history)
    assert journal.history("no such run") == []


def test_what_is_not_there_is_said(journal: Journal) -> None:
    assert journal.get("nope") is None
    assert journal.holder("nope") is None
    journal.release("nope", "me")
    for use in (
        lambda: journal.lease("nope", "me", 1.0, 1.0),
        lambda: journal.renew("nope", "me", 1.0, 1.0),
        lambda: journal.advance("nope", "me", Stage.UPLOADING, now=1.0),
        lambda: journal.accept("nope", job_id="j", status=Status.QUEUED, raw_status="", now=1.0),
        lambda: journal.observe("nope", Status.RUNNING, "", None, 1.0),
    ):
        with pytest.raises(JournalError, match="no run 'nope'"):
            use()


def test_a_refused_step_leaves_no_trace(journal: Journal) -> None:
    run = submitting(journal)
    before = journal.history(run.id)
    with pytest.raises(JournalError):
        journal.advance(run.id, "me", Stage.ACCEPTED, now=101.0)
    with pytest.raises(LeaseLost):
        journal.advance(run.id, "you", Stage.UPLOADING, now=101.0)
    assert journal.history(run.id) == before


def test_everything_is_there_after_opening_again(client: Client) -> None:
    journal = client()
    run = accepted(journal)
    journal.record_upload("sha", "acc", "train", "file-1", 100.0)
    journal.close()
    journal.close()
    again = client()
    assert again.runs() == [run]
    assert again.upload("sha", "acc", "train") == "file-1"


def test_a_closed_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.runs()
    with pytest.raises(JournalError, match="closed"):
        begin(journal)


def test_one_journal_serves_many_threads(journal: Journal) -> None:
    barrier = threading.Barrier(8)

    def work(owner: int) -> tuple[list[str], int]:
        barrier.wait()
        begun = [begin(journal, f"i{k}") for k in range(20)]
        return [run.id for run, _ in begun], sum(created for _, created in begun)

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, range(8)))
    assert len({tuple(ids) for ids, _ in results}) == 1
    assert sum(created for _, created in results) == 20


def _in_the_child(journal: Journal, run_id: str) -> None:
    begin(journal, "child's")
    journal.observe(run_id, Status.RUNNING, "seen by the child", None, 101.0)


def test_a_forked_child_has_a_connection_of_its_own(journal: Journal) -> None:
    run = accepted(journal)
    child = multiprocessing.get_context("fork").Process(target=_in_the_child, args=(journal, run.id))
    child.start()
    for k in range(20):
        begin(journal, f"parent's {k}")
    child.join(60)
    assert child.exitcode == 0
    seen = journal.get(run.id)
    assert seen is not None
    assert seen.raw_status == "seen by the child"
    assert begin(journal, "child's")[1] is False


@pytest.mark.parametrize("wrong", ["mysql://u:hunter2@host/db", "sqlite://relative.db", "http://hunter2", "://hunter2"])
def test_other_urls_are_refused_without_being_repeated(wrong: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://") as caught:
        open_journal(wrong)
    assert "hunter2" not in str(caught.value)
