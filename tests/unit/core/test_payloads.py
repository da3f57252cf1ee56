from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DatabaseError, DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import (
    PayloadEntry,
    build_database,
    build_payload_file_name,
    check_payload_name,
    fill_gaps,
    find_gaps,
    find_payload,
    merge_entries,
    parse_database,
)

runs = st.builds(ExpRun, st.integers(0, 3), st.integers(0, 3))
words = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]{0,20}", fullmatch=True).filter(lambda w: ".." not in w)


@st.composite
def iovs(draw: st.DrawFn) -> IoV:
    low, high = sorted((draw(runs), draw(runs)))
    return draw(st.sampled_from([IoV.between(low, high), IoV(*low, high.exp, -1), IoV(*low, -1, -1)]))


any_entry = st.builds(PayloadEntry, name=words, revision=words, iov=iovs())
few_names = st.builds(PayloadEntry, name=st.sampled_from("ab"), revision=st.sampled_from(["1", "2"]), iov=iovs())


def entry(name: str, revision: str, *iov: int) -> PayloadEntry:
    return PayloadEntry(name=name, revision=revision, iov=IoV(*iov))


class TestText:
    @given(st.lists(any_entry))
    def test_round_trip(self, entries: list[PayloadEntry]) -> None:
        assert parse_database(build_database(entries), "database.txt") == tuple(entries)

    def test_form(self) -> None:
        text = build_database([entry("BeamSpot", "abc123", 0, 0, -1, -1), entry("ECL", "7", 5, 1, 5, 9)])
        assert text == "dbstore/BeamSpot abc123 0,0,-1,-1\ndbstore/ECL 7 5,1,5,9\n"
        assert build_database([]) == ""

    def test_comments_and_blanks_as_in_basf2(self) -> None:
        text = "# all\n\n   \ndbstore/A head 0,0,-1,-1 # why\r\n\tother/B\t12  5,1,5,9\n#dbstore/C 1 0,0,0,0"
        assert parse_database(text, "x") == (entry("A", "head", 0, 0, -1, -1), entry("B", "12", 5, 1, 5, 9))

    @pytest.mark.parametrize(
        ("iov", "read"),
        [
            ("3,-1,3,-1", (3, 0, 3, -1)),
            ("3,-1,4,7", (3, 0, 4, 7)),
            ("-1,-1,4,7", (0, 0, 4, 7)),
            ("-1,5,4,-1", (0, 0, 4, -1)),
            ("0,-1,-1,-1", (0, 0, -1, -1)),
            ("5,0,-1,3", (5, 0, -1, -1)),
        ],
    )
    def test_an_end_without_a_bound_is_read_as_basf2_does(self, iov: str, read: tuple[int, ...]) -> None:
        assert parse_database(f"dbstore/A 1 {iov}\n", "x") == (entry("A", "1", *read),)

    @pytest.mark.parametrize("iov", ["-1,-1,-1,-1", "-1,5,-1,-1", "-1,-1,-1,5", "-2,0,1,1", "3,-2,3,4", "-1", "-1,-1"])
    def test_what_holds_no_run_is_refused(self, iov: str) -> None:
        with pytest.raises(DatabaseError, match=f"x:1: '{iov}' is not an IoV"):
            parse_database(f"dbstore/A 1 {iov}\n", "x")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("dbstore/A 1", "The line has 2 words instead of 3"),
            ("dbstore/A 1 0,0, 1,1", "The line has 4 words instead of 3"),
            ("A 1 0,0,1,1", "'A' is not 'dbstore/<name>'"),
            ("/A 1 0,0,1,1", "'/A' is not 'dbstore/<name>'"),
            ("dbstore/ 1 0,0,1,1", "'' cannot be the name of a payload"),
            ("dbstore/../A 1 0,0,1,1", "'../A' cannot be the name of a payload"),
            ("dbstore/A ../1 0,0,1,1", "The revision '../1' of payload 'A'"),
            ("dbstore/A 1 0,0,1", "'0,0,1' is not an IoV"),
            ("dbstore/A 1 3,0,1,1", "The IoV '3,0,1,1' ends before it starts"),
        ],
    )
    def test_bad_lines(self, line: str, message: str) -> None:
        with pytest.raises(DatabaseError) as caught:
            parse_database(f"# first\n{line}\n", "/db/database.txt")
        assert str(caught.value).startswith(f"/db/database.txt:2: {message}")
        assert "dbstore/<name> <revision> <exp_low>,<run_low>,<exp_high>,<run_high>" in str(caught.value)

    def test_file_name(self) -> None:
        assert build_payload_file_name("A", "12ab") == "dbstore_A_rev_12ab.root"
        assert entry("A", "12ab", 0, 0, 0, 0).file_name == "dbstore_A_rev_12ab.root"


class TestNames:
    @pytest.mark.parametrize("name", ["A", "_x", "9", "B+:generic", "v1.2-x=3@y", "x" * 200])
    def test_good(self, name: str) -> None:
        check_payload_name(name)

    @pytest.mark.parametrize(
        "name",
        ["", "a/b", "..", "a..b", ".a", "-a", "a b", "a;b", "$(id)", "a'b", 'a"b', "a\n", "a#b", "x" * 201],
    )
    def test_bad(self, name: str) -> None:
        with pytest.raises(DefinitionError) as caught:
            PayloadEntry(name=name, revision="1", iov=IoV(0, 0, -1, -1))
        assert f"{name!r} cannot be the name of a payload." in str(caught.value)
        assert "letters, digits" in str(caught.value)

    @pytest.mark.parametrize("revision", ["", "a/b", "a b", "x" * 201, "1\n"])
    def test_bad_revision(self, revision: str) -> None:
        with pytest.raises(DefinitionError, match="of payload 'A' cannot be part of a file name"):
            entry("A", revision, 0, 0, 1, 1)


class TestLookUp:
    def test_the_last_line_wins(self) -> None:
        entries = [entry("A", "1", 0, 0, -1, -1), entry("A", "2", 1, 0, 1, 5), entry("B", "3", 0, 0, -1, -1)]
        assert find_payload(entries, "A", ExpRun(1, 3)) == entries[1]
        assert find_payload(entries, "A", ExpRun(1, 6)) == entries[0]
        assert find_payload(reversed(entries), "A", ExpRun(1, 3)) == entries[0]
        assert find_payload(entries[1:], "A", ExpRun(2, 0)) is None

    @given(st.lists(few_names), st.lists(few_names))
    def test_merging_lets_the_later_database_win(self, older: list[PayloadEntry], newer: list[PayloadEntry]) -> None:
        merged = merge_entries(older, newer)
        assert len({(each.name, each.iov) for each in merged}) == len(merged)
        for name in "ab":
            for exp in range(5):
                for run in range(5):
                    here = ExpRun(exp, run)
                    first = find_payload(newer, name, here) or find_payload(older, name, here)
                    assert find_payload(merged, name, here) == first

    def test_merging_nothing(self) -> None:
        assert merge_entries() == ()


class TestGaps:
    def test_uncovered_and_gaps_of_one_name(self) -> None:
        entries = [
            entry("A", "1", 1, 0, 1, 4),
            entry("A", "1", 1, 8, 1, -1),
            entry("B", "1", 1, 5, 1, 7),
            entry("A", "1", 2, 3, 2, 9),
        ]
        report = find_gaps(entries, "A", [ExpRun(2, 1), ExpRun(1, 3), ExpRun(1, 6)])
        assert report.uncovered == (ExpRun(1, 6), ExpRun(2, 1))
        assert report.gaps == (IoV(1, 5, 1, 7),)
        assert not report.is_empty

    def test_nothing_open(self) -> None:
        assert find_gaps([entry("A", "1", 0, 0, -1, -1)], "A", [ExpRun(3, 3)]).is_empty
        assert not find_gaps([], "A", [ExpRun(3, 3)]).is_empty
        assert not find_gaps([entry("A", "1", 1, 0, 1, 1), entry("A", "1", 1, 3, 1, 3)], "A", []).is_empty

    @given(st.lists(few_names), st.lists(runs))
    def test_uncovered_are_the_runs_without_payload(self, entries: list[PayloadEntry], some: list[ExpRun]) -> None:
        report = find_gaps(entries, "a", some)
        assert report.uncovered == tuple(run for run in sorted(set(some)) if find_payload(entries, "a", run) is None)


class TestFillGaps:
    def test_the_payload_before_is_extended_inside_and_at_the_end_of_an_experiment(self) -> None:
        entries = [
            entry("A", "2", 1, 8, 1, 8),
            entry("A", "1", 1, 1, 1, 4),
            entry("B", "1", 1, 5, 1, 9),
            entry("A", "3", 2, 3, 2, 5),
        ]
        filled, gaps = fill_gaps(entries, [ExpRun(1, 1), ExpRun(1, 6), ExpRun(1, 9), ExpRun(2, 1), ExpRun(2, 5)])
        assert filled == (
            entry("A", "2", 1, 8, 1, 9),
            entry("A", "1", 1, 1, 1, 7),
            entry("B", "1", 1, 5, 1, 9),
            entry("A", "3", 2, 3, 2, 5),
        )
        assert [(gap.name, gap.before, gap.after) for gap in gaps] == [
            ("A", IoV(1, 8, 1, 8), IoV(1, 8, 1, 9)),
            ("A", IoV(1, 1, 1, 4), IoV(1, 1, 1, 7)),
        ]

    def test_where_two_end_together_the_one_that_wins_is_extended(self) -> None:
        entries = [entry("A", "1", 1, 1, 1, 4), entry("A", "2", 1, 3, 1, 4), entry("A", "3", 1, 9, 1, 9)]
        filled, _ = fill_gaps(entries, [])
        assert filled[1] == entry("A", "2", 1, 3, 1, 8)
        assert filled[0] == entries[0]

    def test_a_gap_with_nothing_before_it_stays(self) -> None:
        entries = [entry("A", "1", 2, 5, 2, 9)]
        assert fill_gaps(entries, [ExpRun(1, 3), ExpRun(2, 1)]) == (tuple(entries), ())

    @given(st.lists(few_names), st.lists(runs))
    def test_what_was_covered_keeps_its_payload_and_what_can_be_filled_is(
        self, entries: list[PayloadEntry], some: list[ExpRun]
    ) -> None:
        filled, gaps = fill_gaps(entries, some)
        assert [(each.name, each.revision) for each in filled] == [(each.name, each.revision) for each in entries]
        for name in {each.name for each in entries}:
            for run in (ExpRun(exp, number) for exp in range(4) for number in range(6)):
                before = find_payload(entries, name, run)
                after = find_payload(filled, name, run)
                if before is not None:
                    assert after is not None
                    assert after.revision == before.revision
            report = find_gaps(filled, name, some)
            assert report.gaps == ()
            ends = [each.iov.end for each in filled if each.name == name]
            assert not any(end.exp == run.exp and end < run for run in report.uncovered for end in ends)
        assert fill_gaps(filled, some) == (filled, ())
        assert len(gaps) == sum(one != other for one, other in zip(entries, filled, strict=True))
