"""Files of tenants: what is written is read as the same, whatever stands in it, and what is wrong is told with its line."""

from collections.abc import Mapping
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.cli.tenant_check import MAX_TOLD, check_file, plans_of
from extauthz.cli.tenant_rows import FIELDS, Row, RowFormat, Unreadable, guess_format, read_rows, write_head, write_rows

CSV, JSONL = RowFormat.CSV, RowFormat.JSONL
HEAD = ",".join(FIELDS).encode() + b"\r\n"
NASTY = [
    '"',
    '""',
    ",",
    "\n",
    "\r",
    "\r\n",
    "=1+1",
    "+1",
    "-1",
    "@x",
    " a ",
    "\ufeff",
    "\u2028",
    "\x1c",
    "é",
    "\U0001f600",
    "'",
]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
names = st.lists(st.sampled_from(NASTY) | text, min_size=1, max_size=4).map("".join)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,12}", fullmatch=True)
tenants = st.fixed_dictionaries(
    {"id": ids, "name": names, "onboarding": st.sampled_from(["PENDING", "COMPLETE"])},
    optional={
        "plan": ids,
        "lifecycle": st.sampled_from(["ACTIVE", "ARCHIVED"]),
        "billing_state": st.just("TRIAL"),
        "created_at": st.just("2026-01-01T12:00:00.000001Z"),
    },
)


def rows_of(raw: bytes, form: RowFormat) -> list[Row]:
    return list(read_rows(BytesIO(raw), form))


def read(raw: bytes, form: RowFormat) -> list[Mapping[str, object]]:
    rows = rows_of(raw, form)
    assert [row.fault for row in rows] == [""] * len(rows)
    return [row.fields for row in rows]


def written(rows: list[Mapping[str, object]], form: RowFormat) -> bytes:
    return write_head(form) + write_rows(rows, form)


def faults(raw: bytes, form: RowFormat = CSV, plans: set[str] | None = None) -> list[str]:
    return list(check_file(BytesIO(raw), form, plans).faults)


# There and back


@pytest.mark.parametrize("form", RowFormat)
@given(rows=st.lists(tenants, max_size=5))
@example(rows=[{"id": "a", "name": name, "onboarding": "PENDING"} for name in NASTY])
def test_what_is_written_is_read_as_the_same(form: RowFormat, rows: list[Mapping[str, object]]) -> None:
    assert read(written(rows, form), form) == rows


@pytest.mark.parametrize("form", RowFormat)
@given(rows=st.lists(tenants, min_size=1, max_size=5))
def test_a_mark_of_utf8_at_the_begin_is_no_part_of_it(form: RowFormat, rows: list[Mapping[str, object]]) -> None:
    raw = written(rows, form)
    assert read(b"\xef\xbb\xbf" + raw, form) == read(raw, form)


@given(rows=st.lists(tenants.filter(lambda row: not set(row["name"]) & set("\r\n")), max_size=5))
def test_lines_may_end_with_lf_or_cr_lf_or_the_file(rows: list[Mapping[str, object]]) -> None:
    csv, jsonl = written(rows, CSV), written(rows, JSONL)
    assert read(csv.replace(b"\r\n", b"\n"), CSV) == read(csv.removesuffix(b"\r\n"), CSV) == rows
    assert read(jsonl.replace(b"\n", b"\r\n"), JSONL) == read(jsonl.removesuffix(b"\n"), JSONL) == rows


@given(st.lists(tenants, max_size=5, unique_by=lambda row: row["id"]))
def test_every_line_that_is_written_is_in_order(rows: list[Mapping[str, object]]) -> None:
    for form in RowFormat:
        checked = check_file(BytesIO(written(rows, form)), form, None)
        assert (checked.count, checked.faults) == (len(rows), ())


def test_what_a_tenant_does_not_have_is_an_empty_cell_or_left_out() -> None:
    assert written([{"id": "a", "plan": None}], CSV) == HEAD + b"a,,,,,,\r\n"
    assert written([{"id": "a", "plan": None, "more": 1}], JSONL) == b'{"id":"a","plan":null}\n'
    assert read(HEAD + b"a,,,,,,\r\n", CSV) == [{"id": "a"}]


def test_columns_may_come_in_any_order_and_lines_may_be_empty() -> None:
    rows = rows_of(b"name,id\n\nx,a\n\n\ny,b\n", CSV)
    assert [(row.line, row.fields) for row in rows] == [(3, {"name": "x", "id": "a"}), (6, {"name": "y", "id": "b"})]
    assert [row.line for row in rows_of(b'\n{"id":"a"}\n  \n{"id":"b"}', JSONL)] == [2, 4]


def test_a_cell_of_several_lines_counts_them() -> None:
    rows = rows_of(b'id,name\na,"1\n2\r\n3"\nb,x\n', CSV)
    assert [(row.line, row.fields["name"]) for row in rows] == [(2, "1\n2\r\n3"), (5, "x")]


@pytest.mark.parametrize(
    ("name", "begin", "form"),
    [
        ("t.csv", b"{", CSV),
        ("T.CSV", b"", CSV),
        ("t.jsonl", b"id", JSONL),
        ("t.ndjson", b"", JSONL),
        ("t.json", b"", JSONL),
        ("-", b' \n{"id"', JSONL),
        ("-", b'\xef\xbb\xbf{"id"', JSONL),
        ("-", b'\n [\n{"id"', JSONL),
        ("t.txt", b"id,name", CSV),
        ("-", b"", CSV),
    ],
)
def test_the_form_is_told_by_the_name_or_the_begin(name: str, begin: bytes, form: RowFormat) -> None:
    assert guess_format(name, begin) is form


# What is wrong


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "line 1: the head must name the columns, id at least; there are id, name, plan"),
        (b"name\nx\n", "line 1: the head must name the columns"),
        (b"id,nme\n", "line 1: unknown column 'nme'; did you mean name?"),
        (b"id,banana\n", "line 1: unknown column 'banana'; there are id, name, plan, onboarding, lifecycle"),
        (b"id,name,id\n", "line 1: column id is there more than once"),
        (b"id;name\na;b\n", "line 1: columns must be separated by commas"),
        (b"id\tname\n", "line 1: columns must be separated by commas"),
        (b"\n\nid,name,\n", "line 3: unknown column ''"),
        (b"id,name\na,b\nc\n", "line 3: has 1 cells where the head has 2"),
        (b"id,name\na,b,c\n", "line 2: has 3 cells where the head has 2"),
        (b'id,name\na,b\nc,"d\ne\n', "line 3: a quote that is opened here is never closed"),
        (b'id,name\na,"b"c\n', "line 2: is no CSV:"),
        (b"id,name\ra,b\r", "line 1: lines must end with LF or CR LF"),
        (b"id,name\na," + b"x" * 200_000 + b"\n", "line 2: a cell is too long"),
        (b"id,name\na,\xff\n", "line 2: is not UTF-8"),
        ("id,name\na,b\n".encode("utf-16"), "line 1: is not UTF-8"),
        (b"id\n" + b"x" * (1 << 20) + b"\n", "line 2: is longer than 1 MiB"),
        (b"id,name\n,b\n", "line 2: id: Field required"),
        (b"id\na/b\n", "line 2: id: must be 1 to 128 of A-Z"),
        (b"id\n_system\n", "line 2: id: must be 1 to 128 of A-Z"),
        (b"id,lifecycle\na,active\n", "line 2: lifecycle: Input should be 'ACTIVE'"),
        (b"id,created_at\na,yesterday\n", "line 2: created_at: must be a time such as 2026"),
        (b"id,name\na," + b"x" * 201 + b"\n", "line 2: name: String should have at most 200"),
        (b"id\na\nb\na\n", "line 4: id: 'a' stands in line 2 already"),
    ],
)
def test_a_csv_that_is_wrong(raw: bytes, said: str) -> None:
    (fault,) = faults(raw)
    assert fault.startswith(said)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"id": "a"}\n{"id": \n', "line 2: is not JSON: "),
        (b"1\n", 'line 1: is no JSON object such as {"id": "acme"}'),
        (b'{"id": "a"}\n["b"]\n', "line 2: is no JSON object such as"),
        (b'{"id": "a"}\n{', "line 2: is not JSON: "),
        (b'{"id": "a", "plna": "x"}\n', "line 1: unknown field 'plna'; did you mean plan?"),
        (b'{"id": 5}\n', "line 1: id: Input should be a valid string"),
        (b'{"id": "a", "name": "\xff"}\n', "line 1: is not JSON: "),
        (b'{"id": "a", "name": "\\ud800"}\n', "line 1: is not JSON: "),
        (b'{"id": "a", "name": "\\u0000"}\n', "line 1: name: must not hold the character NUL"),
        (b'{"id": ' + b"[" * 100_000 + b"\n", "line 1: is not JSON: "),
        (b'{"id": "a"}\n\n{"id": "a"}\n', "line 3: id: 'a' stands in line 1 already"),
    ],
)
def test_json_lines_that_are_wrong(raw: bytes, said: str) -> None:
    (fault,) = faults(raw, JSONL)
    assert fault.startswith(said)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b'[{"id": "a"},\n {"id": "b"}]\n', 1),
        (b'[\n  {\n    "id": "a"\n  }\n]\n', 1),
        (b'{\n  "id": "a"\n}\n{\n  "id": "b"\n}\n', 1),
        (b'\n{\r\n  "id": "a"\r\n}\r\n', 2),
        (b"\xef\xbb\xbf[]", 1),
        (b"[" * 100_000, 1),
    ],
)
def test_json_that_is_not_in_lines_is_told_once_with_what_makes_lines_of_it(raw: bytes, line: int) -> None:
    for form in (guess_format("-", raw), guess_format("t.json", raw)):
        (fault,) = faults(raw, form)
        assert fault.startswith(f"line {line}: begins as a JSON array or as an object over several lines")
        assert "one object per line (JSON lines)" in fault


def test_all_faults_are_told_at_once_up_to_fifty() -> None:
    assert [fault.split(":")[0] for fault in faults(b"id\na b\nc\nd e\n")] == ["line 2", "line 4"]
    assert len(faults(b"id\n" + b"a b\n" * 100)) == MAX_TOLD == 50


def test_several_faults_of_a_line_are_all_told() -> None:
    assert len(faults(b"id,plan,onboarding\na b,c d,x\n")) == 3


def test_plans_are_those_of_the_service_where_they_are_known() -> None:
    raw = b"id,plan\na,gold\nb,\nc,free\n"
    assert faults(raw, plans={"free", "pro"}) == [
        "line 2: plan: the configuration has no plan 'gold'; it has free, pro"
    ]
    assert faults(raw, plans=None) == []
    assert plans_of({"plans": {"free": {}, "pro": {}}}) == {"free", "pro"}
    assert plans_of({}) is None


def test_whoever_waits_hears_how_far_it_is() -> None:
    heard: list[int] = []
    check_file(BytesIO(b"id\n" + b"".join(b"%d\n" % number for number in range(2500))), CSV, None, heard.append)
    assert heard == [1000, 2000]


def test_reading_stops_where_nothing_more_can_be_made_of_it() -> None:
    rows = read_rows(BytesIO(b'id\na\n"b\n'), CSV)
    assert next(rows).line == 2
    with pytest.raises(Unreadable):
        next(rows)
