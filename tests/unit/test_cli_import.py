"""`extauthz tenant import` and `export`: what is sent, what is tried again, how far it came, and what is left behind."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from extauthz.admin.forms import ImportForm, ReasonForm
from extauthz.cli.admin_http import NoAnswer, Refused
from extauthz.cli.app import Stop, cli
from extauthz.cli.files import written_whole
from extauthz.cli.meter import LINE_EVERY, meter
from extauthz.cli.patience import DELAYS, patiently
from extauthz.cli.screen import Json
from extauthz.cli.tenant_rows import Row
from extauthz.cli.tenant_send import MAX_TENANTS, Batch, batches, halted
from extauthz.model.lifecycle import MAX_REASON
from extauthz.testing import in_virtual_time
from tests.fake_admin import FakeAdmin, fake_admin

CONFIG: dict[str, object] = {"plans": {"free": {}, "pro": {}}}


@pytest.fixture(name="admin")
def an_admin_port() -> Iterator[FakeAdmin]:
    with fake_admin() as admin:
        admin.answer = all_new
        yield admin


def all_new(_method: str, path: str, body: object) -> tuple[int, object]:
    if path == "/config":
        return 200, CONFIG
    assert isinstance(body, dict)
    return 200, {"created": len(body["tenants"]), "existing": 0}


def run(admin: FakeAdmin, *args: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, ["tenant", *args, "--admin", admin.url], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def sent(admin: FakeAdmin) -> list[object]:
    """The bodies of the imports."""
    return [body for _, path, body, _ in admin.asked if path == "/tenants/import"]


def many(count: int) -> bytes:
    return b"id\n" + b"".join(b"t%d\n" % number for number in range(count))


# Import


def test_a_file_is_sent_with_its_reason_and_the_outcome_told(admin: FakeAdmin, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('id,name,plan\na,"A, B",pro\nb,,\n')
    result = run(admin, "import", str(file), "--reason", 'old "system"')
    assert (result.exit_code, result.stdout) == (0, "2 created, 0 there already\n")
    assert sent(admin) == [
        {"reason": 'old "system"', "tenants": [{"id": "a", "name": "A, B", "plan": "pro"}, {"id": "b"}]}
    ]
    as_json = run(admin, "import", str(file), "--output", "json")
    assert json.loads(as_json.stdout) == {"created": 2, "existing": 0, "kept": 0}
    assert sent(admin)[1]["reason"] == f"import of {file}"  # type: ignore[index]  # a body of ours


@pytest.mark.parametrize(
    ("raw", "more"),
    [
        (b'{"id": "a"}\n', []),
        (b"id\na\n", []),
        (b'{"id": "a"}\n', ["--format", "jsonl"]),
        (b"id\na\n", ["--format", "csv"]),
    ],
)
def test_standard_input_is_read_in_either_form(admin: FakeAdmin, raw: bytes, more: list[str]) -> None:
    assert run(admin, "import", "-", *more, stdin=raw).exit_code == 0
    assert sent(admin) == [{"reason": "import of -", "tenants": [{"id": "a"}]}]


def test_a_pipe_that_has_a_name_is_read_too(admin: FakeAdmin, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/sh", "-c", f'echo id > "{pipe}"; echo a >> "{pipe}"'], stderr=subprocess.PIPE):
        result = run(admin, "import", str(pipe))
    assert result.exit_code == 0


@pytest.mark.parametrize(("form", "raw"), [("jsonl", b""), ("csv", b"id\n")])
def test_a_file_without_tenants_is_told(admin: FakeAdmin, form: str, raw: bytes) -> None:
    result = run(admin, "import", "-", "--format", form, stdin=raw)
    assert (result.exit_code, result.stdout) == (0, "0 created, 0 there already\n")
    assert result.stderr == "warning: - has no tenants\n"
    assert sent(admin) == []


def test_dry_run_says_what_is_wrong_and_sends_nothing(admin: FakeAdmin) -> None:
    fine = run(admin, "import", "-", "--dry-run", stdin=b"id,plan\na,pro\n")
    assert (fine.exit_code, fine.stdout) == (0, "1 tenant, all in order\n")
    wrong = run(admin, "import", "-", "--dry-run", stdin=b"id,plan\na,gold\n")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert sent(admin) == []


def test_where_one_line_is_wrong_nothing_is_sent_and_every_fault_is_told(admin: FakeAdmin) -> None:
    result = run(admin, "import", "-", stdin=b"id,plan\na,pro\nb c,\nd,gold\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "error: - is not in order, nothing was imported:",
        "  line 3: id: must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit",
        "  line 4: plan: the configuration has no plan 'gold'; it has free, pro",
    ]
    assert sent(admin) == []


@pytest.mark.parametrize(("name", "said"), [("nowhere.csv", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read(admin: FakeAdmin, tmp_path: Path, name: str, said: str) -> None:
    result = run(admin, "import", str(tmp_path / name))
    assert result.exit_code == 1
    assert said in result.stderr
    assert admin.asked == []


def test_a_large_file_goes_in_batches_that_the_port_takes(admin: FakeAdmin) -> None:
    result = run(admin, "import", "-", stdin=many(2500))
    assert result.stdout == "2500 created, 0 there already\n"
    bodies = [body["tenants"] for body in sent(admin)]  # type: ignore[index]  # a body of ours
    assert sorted(len(tenants) for tenants in bodies) == [500, MAX_TENANTS, MAX_TENANTS]
    assert len({tenant["id"] for tenants in bodies for tenant in tenants}) == 2500


@given(st.lists(st.text('é"\\\n a', min_size=1, max_size=200), min_size=1, max_size=400), st.text(max_size=1000))
def test_no_batch_is_larger_than_the_port_takes_and_none_is_left_out(names: list[str], reason: str) -> None:
    rows = [Row(line=number, fields={"id": f"t{number}", "name": name}) for number, name in enumerate(names, 1)]
    made = list(batches(rows, reason))
    bodies = [json.loads(batch.body) for batch in made]
    assert all(len(batch.body) <= 64 * 1024 for batch in made)
    assert all(body["reason"] == reason for body in bodies)
    assert [tenant["name"] for body in bodies for tenant in body["tenants"]] == names
    assert [line for batch in made for line in batch.lines.values()] == list(range(1, len(names) + 1))


def test_who_is_there_and_differs_is_told_by_line_with_how_far_it_came(admin: FakeAdmin) -> None:
    def conflict(_method: str, path: str, body: object) -> tuple[int, object]:
        if path == "/config":
            return 200, CONFIG
        ids = [tenant["id"] for tenant in body["tenants"]]  # type: ignore[index]  # a body of ours
        if "t1700" in ids:
            return 409, {"error": "already_exists", "detail": "d", "ids": ["t1700", "t1800"]}
        return 200, {"created": 990, "existing": len(ids) - 990}

    admin.answer = conflict
    result = run(admin, "import", "-", stdin=many(2000))
    assert result.exit_code == 1
    assert "line 1702: tenant 't1700' is there already and is not the same" in result.stderr
    assert "line 1802: tenant 't1800'" in result.stderr
    assert (
        "; 1000 of 2000 tenants are in (990 created by this run) and nothing of this batch: --on-conflict keep leaves those"
        " that are there as they are and adds the others" in result.stderr
    )
    assert "again" not in result.stderr  # it would stop at the same line


def test_many_conflicts_are_told_in_part(admin: FakeAdmin) -> None:
    ids = [f"t{number}" for number in range(100)]
    admin.answer = lambda _method, path, _body: (
        (200, CONFIG) if path == "/config" else (409, {"error": "e", "ids": ids})
    )
    told = run(admin, "import", "-", stdin=many(100)).stderr
    assert told.count("is there already") == 20
    assert "and 80 more of these" in told


def test_a_batch_that_is_refused_is_told_with_its_lines(admin: FakeAdmin) -> None:
    admin.answer = lambda _method, path, _body: (
        (200, CONFIG) if path == "/config" else (501, {"error": "not_supported", "detail": "not from here"})
    )
    result = run(admin, "import", "-", stdin=many(3))
    assert "lines 2 to 4: not_supported: not from here; 0 of 3 tenants are in" in result.stderr
    assert "; once that is put right, the same command goes on" in result.stderr


def test_keep_leaves_out_who_is_there_and_differs_and_tells_them_by_line(admin: FakeAdmin) -> None:
    def keeping(_method: str, path: str, body: object) -> tuple[int, object]:
        if path == "/config":
            return 200, CONFIG
        ids = [tenant["id"] for tenant in body["tenants"]]  # type: ignore[index]  # a body of ours
        return 200, {"created": len(ids) - 25, "existing": 0, "kept": ids[:25]}

    admin.answer = keeping
    result = run(admin, "import", "-", "--on-conflict", "keep", stdin=many(30))
    assert (result.exit_code, result.stdout) == (
        0,
        "5 created, 0 there already, 25 there otherwise and kept as they are\n",
    )
    told = result.stderr.splitlines()
    assert told[0] == "line 2: tenant 't0' is there already and is not the same: kept as it is"
    assert told[20:] == ["and 5 more of these"]
    assert [body["on_conflict"] for body in sent(admin)] == ["keep"]  # type: ignore[index]  # a body of ours
    as_json = run(admin, "import", "-", "--on-conflict", "keep", "--output", "json", stdin=many(30))
    assert json.loads(as_json.stdout) == {"created": 5, "existing": 0, "kept": 25}


def test_a_service_that_stays_away_is_worth_the_same_command_again() -> None:
    batch = Batch(body=b"", lines={"a": 2})
    assert "run the same command again" in halted(Refused("busy", 503, {}), batch).advice
    assert "run the same command again" not in halted(Refused("no", 400, {}), batch).advice
    assert "--on-conflict keep" in halted(Refused("no", 409, {"ids": ["a"]}), batch).advice


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("reason", "said"), [("x" * 1001, "1001 characters; 1000 are the most"), (" \n", "must say why")]
)
def test_a_reason_that_the_service_would_refuse_is_told_before_anything_is_sent(
    admin: FakeAdmin, reason: str, said: str, more: list[str]
) -> None:
    result = run(admin, "import", "-", "--reason", reason, *more, stdin=many(1))
    assert (result.exit_code, admin.asked) == (2, [])
    assert said in " ".join(result.stderr.split())


def test_the_longest_reason_is_taken_by_both_sides(admin: FakeAdmin) -> None:
    assert run(admin, "import", "-", "--reason", "é" * MAX_REASON, stdin=many(1)).exit_code == 0
    (body,) = sent(admin)
    assert ImportForm.model_validate(body).reason == "é" * MAX_REASON
    with pytest.raises(ValidationError, match="reason"):
        ReasonForm(reason="é" * (MAX_REASON + 1))


def test_a_file_whose_name_is_no_text_or_very_long_is_a_reason_all_the_same(admin: FakeAdmin, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv"))
    folder = tmp_path.joinpath(*["d" * 200] * 6)
    folder.mkdir(parents=True)
    for file in (odd, folder / "t.csv"):
        file.write_bytes(many(1))
        assert run(admin, "import", str(file)).exit_code == 0
    first, second = (ImportForm.model_validate(body).reason for body in sent(admin))
    assert first == f"import of {tmp_path}/\ufffd.csv"
    assert len(second) == MAX_REASON


def test_an_argument_that_is_not_utf8_is_told(admin: FakeAdmin) -> None:
    result = run(admin, "create", "acme", "--name", "caf\udce9", "--reason", "new")
    assert (result.exit_code, admin.asked) == (2, [])
    assert "an argument is not UTF-8" in result.stderr


def test_an_answer_that_says_nothing_of_the_tenants_is_not_taken_for_one(admin: FakeAdmin) -> None:
    admin.answer = lambda _method, path, _body: (200, CONFIG if path == "/config" else {"created": 1})
    assert "does not say what became of the tenants" in run(admin, "import", "-", stdin=many(1)).stderr


def test_a_service_that_cannot_just_now_is_asked_again(admin: FakeAdmin) -> None:
    refusals = iter([503])

    def busy_once(method: str, path: str, body: object) -> tuple[int, object]:
        if path != "/config" and (status := next(refusals, None)):
            return status, {"error": "provider_unavailable"}
        return all_new(method, path, body)

    admin.answer = busy_once
    assert run(admin, "import", "-", stdin=many(3)).stdout == "3 created, 0 there already\n"
    assert len(sent(admin)) == 2


def test_ctrl_c_says_how_far_it_came(admin: FakeAdmin, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(many(5))

    def then_hang(method: str, path: str, body: object) -> tuple[int, object]:
        admin.hangs = path != "/config"
        return all_new(method, path, body)

    admin.answer = then_hang
    args = [sys.executable, "-m", "extauthz", "tenant", "import", str(file), "--admin", admin.url]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not sent(admin):
            admin.was_asked.clear()
            assert admin.was_asked.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err == (
        "error: interrupted; 0 of 5 tenants are in (0 created by this run): run the same command again to go on\n"
    )


def test_a_file_that_changes_while_it_is_read_is_noticed() -> None:
    with pytest.raises(Stop, match=r"line 2: oh; the file was changed while it was being read"):
        list(batches([Row(line=1, fields={"id": "a"}), Row(line=2, fields={}, fault="oh")], "r"))


# Trying again


class Flaky:
    """Fails as it is told to, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> Json:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return {"fine": True}


@in_virtual_time
async def test_what_passes_is_tried_again_and_again() -> None:
    call = Flaky(
        NoAnswer("gone"), Refused("busy", 503, {}), Refused("slow", 408, {}), Refused("", 502, {}), NoAnswer("")
    )
    assert await patiently(call) == {"fine": True}
    assert call.calls == len(DELAYS) + 1


@in_virtual_time
async def test_what_does_not_pass_is_told_in_the_end() -> None:
    call = Flaky(*(NoAnswer(f"gone {number}") for number in range(10)))
    with pytest.raises(NoAnswer, match="gone 5"):
        await patiently(call)


@pytest.mark.parametrize("error", [Refused("no", 409, {}), Refused("no", 400, {}), Refused("no", 500, {}), Stop("no")])
async def test_an_answer_that_will_not_change_is_told_at_once(error: Stop) -> None:
    call = Flaky(error)
    with pytest.raises(Stop, match="no"):
        await patiently(call)
    assert call.calls == 1


# Export


def pages(_method: str, path: str, _body: object) -> tuple[int, object]:
    first = [{"id": "a", "name": '=A,"B"', "plan": None, "billing_state": "TRIAL", "created_at": "x", "more": 1}]
    after = "&after=a.b" in path
    return 200, {"tenants": [{"id": "c"}] if after else first, "next": None if after else "a.b"}


def test_pages_are_written_one_after_the_other(admin: FakeAdmin, tmp_path: Path) -> None:
    admin.answer = pages
    file = tmp_path / "out.jsonl"
    result = run(admin, "export", "--output-file", str(file))
    assert (result.exit_code, result.stdout) == (0, f"2 tenants in {file}\n")
    assert [path for _, path, _, _ in admin.asked] == [
        "/tenants?billing=1&limit=1000",
        "/tenants?billing=1&limit=1000&after=a.b",
    ]
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["a", "c"]


def test_standard_output_has_the_tenants_and_nothing_else(admin: FakeAdmin) -> None:
    admin.answer = pages
    result = run(admin, "export")
    assert result.stdout_bytes == (
        b'id,name,plan,onboarding,lifecycle,billing_state,created_at\r\na,"=A,""B""",,,,TRIAL,x\r\nc,,,,,,\r\n'
    )
    assert run(admin, "export", "--format", "jsonl").stdout.splitlines()[1] == '{"id":"c"}'


def test_after_an_error_there_is_no_half_of_a_file_and_the_old_one_stays(admin: FakeAdmin, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old")
    admin.answer = lambda method, path, body: (404, {"error": "x"}) if "after" in path else pages(method, path, body)
    assert run(admin, "export", "--output-file", str(file)).exit_code == 1
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_standard_output_that_ends_early_is_told_by_the_exit_code(admin: FakeAdmin) -> None:
    admin.answer = lambda method, path, body: (404, {"error": "x"}) if "after" in path else pages(method, path, body)
    result = run(admin, "export", "--format", "jsonl")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)  # whole lines: nobody can see it in them


def test_a_file_keeps_its_mode_and_a_new_one_is_for_its_owner_alone(tmp_path: Path) -> None:
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "link"
    old.touch()
    old.chmod(0o640)
    link.symlink_to(old)
    for target in (link, new):
        with written_whole(target) as file:
            file.write(b"x")
    assert link.is_symlink()
    assert (old.read_bytes(), stat.S_IMODE(old.stat().st_mode)) == (b"x", 0o640)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600


def test_what_is_no_file_is_written_as_it_is() -> None:
    with written_whole(Path(os.devnull)) as file:
        file.write(b"x")
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("name", ["no/such/folder/out.csv", "."])
def test_where_nothing_can_be_written(admin: FakeAdmin, tmp_path: Path, name: str) -> None:
    result = run(admin, "export", "--output-file", str(tmp_path / name))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert admin.asked == []


def test_whoever_reads_only_the_first_lines_leaves_no_traceback(admin: FakeAdmin) -> None:
    admin.answer = lambda _method, _path, _body: (
        200,
        {"tenants": [{"id": "a", "name": "x" * 150}] * 1000, "next": "a"},
    )
    command = f'"{sys.executable}" -m extauthz tenant export --admin {admin.url} | head -n 1'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.startswith("id,name")
    assert done.stderr == ""


# The bar


def test_where_nobody_watches_there_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with meter("imported", 250_000) as tell:
        for done in (1, LINE_EVERY - 1, LINE_EVERY + 5, LINE_EVERY + 6, 2 * LINE_EVERY, 250_000):
            tell(done)
    assert capsys.readouterr().err.splitlines() == ["imported: 100005 of 250000", "imported: 200000 of 250000"]


def test_on_a_terminal_there_is_a_bar(admin: FakeAdmin, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(many(3))
    ours, theirs = os.openpty()
    args = [sys.executable, "-m", "extauthz", "tenant", "import", str(file), "--admin", admin.url]
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=theirs, text=True, check=False)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (0, "3 created, 0 there already\n")
    assert "imported" in shown
    assert "3/3" in shown
