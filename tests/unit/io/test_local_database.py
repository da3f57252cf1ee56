"""The local database on disk: the format, and that no crash, no full disk and no second writer harms it."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DatabaseError, DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import PayloadEntry, find_payload
from airflow_provider_caf.io import local_database
from airflow_provider_caf.io.local_database import LocalDatabase, _add_entries
from tests.unit.io.databases import WIDE, A, B, find_md5, list_names, snapshot, write_source


class TestCommit:
    def test_files_and_text_have_the_form_that_basf2_reads(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "outputdb"
        entries = LocalDatabase(folder).commit(
            [
                ("BeamSpot", write_source(tmp_path, "one"), A),
                ("BeamSpot", write_source(tmp_path, "two"), B),
                ("My_weights.xml", write_source(tmp_path, "one"), WIDE),
            ]
        )
        one, two = find_md5("one"), find_md5("two")
        assert (folder / "database.txt").read_text() == (
            f"dbstore/BeamSpot {one} 1,0,1,9\n"
            f"dbstore/BeamSpot {two} 1,10,1,-1\n"
            f"dbstore/My_weights.xml {one} 0,0,-1,-1\n"
        )
        assert list_names(folder) == {
            "database.txt",
            f"dbstore_BeamSpot_rev_{one}.root",
            f"dbstore_BeamSpot_rev_{two}.root",
            f"dbstore_My_weights.xml_rev_{one}.root",
        }
        assert (folder / f"dbstore_BeamSpot_rev_{two}.root").read_text() == "two"
        assert entries == LocalDatabase(folder).entries()
        assert [entry.revision for entry in entries] == [one, two, one]

    def test_payload_files_are_read_only(self, database: LocalDatabase) -> None:
        (entry,) = database.entries()
        assert database.get_file(entry).stat().st_mode & 0o222 == 0

    def test_the_same_again_changes_nothing(self, database: LocalDatabase, tmp_path: Path) -> None:
        payloads = [("X", write_source(tmp_path, "x"), A), ("X", write_source(tmp_path, "y"), WIDE)]
        first = database.commit(payloads)
        before = {path: path.stat().st_mtime_ns for path in database.folder.iterdir()}
        again = LocalDatabase(database.folder)
        assert again.commit(payloads) == first
        assert {path: path.stat().st_mtime_ns for path in database.folder.iterdir()} == before

    def test_a_replayed_sequence_ends_as_it_was(self, database: LocalDatabase, tmp_path: Path) -> None:
        steps = [[("X", write_source(tmp_path, text), iov)] for text, iov in [("a", A), ("b", WIDE), ("c", B)]]
        for step in steps:
            database.commit(step)
        before = database.text_file.read_bytes()
        for step in steps:
            LocalDatabase(database.folder).commit(step)
        assert database.text_file.read_bytes() == before

    def test_a_new_payload_replaces_the_line_of_its_iov(self, database: LocalDatabase, tmp_path: Path) -> None:
        database.commit([("X", write_source(tmp_path, "a"), A)])
        database.commit([("X", write_source(tmp_path, "b"), A)])
        assert [(entry.name, entry.revision) for entry in database.entries()] == [
            ("Old", find_md5("old")),
            ("X", find_md5("b")),
        ]

    def test_what_is_committed_again_wins_again(self, database: LocalDatabase, tmp_path: Path) -> None:
        first = [("X", write_source(tmp_path, "a"), A)]
        database.commit(first)
        database.commit([("X", write_source(tmp_path, "b"), WIDE)])
        database.commit(first)
        found = find_payload(database.entries(), "X", ExpRun(1, 5))
        assert found is not None
        assert found.revision == find_md5("a")

    def test_nothing_to_commit_makes_the_database(self, tmp_path: Path) -> None:
        database = LocalDatabase(tmp_path / "db")
        assert not database.exists()
        assert database.commit([]) == ()
        assert database.exists()
        assert database.entries() == ()

    def test_create_leaves_what_is_there(self, database: LocalDatabase) -> None:
        before = snapshot(database.folder)
        LocalDatabase(database.folder).create()
        assert snapshot(database.folder) == before
        fresh = LocalDatabase(database.folder.parent / "fresh")
        fresh.create()
        assert fresh.entries() == ()

    @pytest.mark.parametrize("name", ["a/b", "../a", "..", "a..b", "a b", "a\nb", "", "#a", "$(id)", "ä", ".a"])
    def test_a_name_that_breaks_the_format_is_refused(self, database: LocalDatabase, tmp_path: Path, name: str) -> None:
        before = snapshot(database.folder)
        good = write_source(tmp_path, "x")
        with pytest.raises(DefinitionError) as caught:
            database.commit([("Good", good, A), (name, good, A)])
        assert f"{name!r} cannot be the name of a payload" in str(caught.value)
        assert snapshot(database.folder) == before

    def test_an_impossible_iov_is_refused(self, database: LocalDatabase, tmp_path: Path) -> None:
        with pytest.raises(DefinitionError, match=r"\[5, 0, 1, 0\] ends before it starts"):
            database.commit([("X", write_source(tmp_path, "x"), IoV(5, 0, 1, 0))])

    def test_a_missing_or_empty_file_is_refused(self, database: LocalDatabase, tmp_path: Path) -> None:
        before = snapshot(database.folder)
        good = write_source(tmp_path, "x")
        with pytest.raises(DatabaseError, match=r"gone of payload 'X' could not be read: No such file"):
            database.commit([("Good", good, A), ("X", tmp_path / "gone", A)])
        with pytest.raises(DatabaseError, match=r"of payload 'X' is empty\.\n  hint: Run the task"):
            database.commit([("Good", good, A), ("X", write_source(tmp_path, ""), A)])
        assert snapshot(database.folder) == before

    @pytest.mark.parametrize("digits", [6, 32])
    def test_a_staged_file_that_is_not_what_its_name_says_is_refused(
        self, database: LocalDatabase, tmp_path: Path, digits: int
    ) -> None:
        staged = tmp_path / f"dbstore_X_rev_{find_md5('whole')[:digits]}.root"
        staged.write_text("whole")
        database.commit([("X", staged, A)])
        staged.write_text("who")
        with pytest.raises(DatabaseError, match=f"was changed or cut off: its MD5 is {find_md5('who')}"):
            database.commit([("X", staged, B)])

    def test_a_damaged_file_that_is_there_already_is_mended(self, database: LocalDatabase, tmp_path: Path) -> None:
        (entry,) = database.entries()
        damaged = database.get_file(entry)
        damaged.chmod(0o644)
        damaged.write_text("ol")
        database.commit([("Old", write_source(tmp_path, "old"), WIDE)])
        assert damaged.read_text() == "old"
        assert database.verify() == 1

    def test_temporary_files_of_a_killed_writer_are_removed(self, database: LocalDatabase) -> None:
        left = database.folder / ".0123456789abcdef.tmp"
        left.write_text("half")
        other = database.folder / ".keep"
        other.touch()
        LocalDatabase(database.folder).commit([])
        assert not left.exists()
        assert other.exists()

    def test_another_process_is_seen_at_once(self, database: LocalDatabase, tmp_path: Path) -> None:
        assert len(database.entries()) == 1
        LocalDatabase(database.folder).commit([("X", write_source(tmp_path, "x"), A)])
        assert len(database.entries()) == 2


class TestAddEntries:
    entries = st.builds(
        PayloadEntry,
        name=st.sampled_from(["X", "Y"]),
        revision=st.sampled_from("abc"),
        iov=st.sampled_from([A, B, WIDE, IoV(1, 5, 1, 15), IoV(2, 0, 2, 3)]),
    )
    runs = tuple(ExpRun(exp, run) for exp in (0, 1, 2, 3) for run in (0, 4, 5, 9, 10, 16))

    def find_all(self, entries: tuple[PayloadEntry, ...]) -> list[str | None]:
        found = [find_payload(entries, name, run) for name in "XY" for run in self.runs]
        return [None if entry is None else entry.revision for entry in found]

    @given(st.lists(entries, max_size=8), st.lists(entries, max_size=5))
    def test_it_reads_as_if_all_lines_had_been_appended(self, old: list[PayloadEntry], new: list[PayloadEntry]) -> None:
        before = _add_entries((), old)
        after = _add_entries(before, new)
        assert self.find_all(after) == self.find_all((*old, *new))
        assert len({(entry.name, entry.iov) for entry in after}) == len(after)

    @given(st.lists(entries, max_size=8), st.lists(entries, max_size=5))
    def test_the_same_again_changes_nothing(self, old: list[PayloadEntry], new: list[PayloadEntry]) -> None:
        after = _add_entries(_add_entries((), old), new)
        assert _add_entries(after, new) == after

    @given(st.lists(entries, max_size=6))
    def test_what_is_written_twice_in_another_order_wins_anew(self, old: list[PayloadEntry]) -> None:
        before = _add_entries((), old)
        new = before[::-1]
        assert self.find_all(_add_entries(before, new)) == self.find_all(new)


class TestRead:
    def test_a_missing_database_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError) as caught:
            LocalDatabase(tmp_path / "nowhere").entries()
        assert f"There is no local database in {tmp_path}/nowhere: it has no database.txt" in str(caught.value)
        assert "hint: Check the path in the database chain" in str(caught.value)

    def test_a_text_of_basf2_with_comments_and_short_revisions(self, tmp_path: Path) -> None:
        digits = find_md5("x")[:6]
        (tmp_path / "database.txt").write_text(f"# made by hand\n\nother/X {digits} 0,0,-1,-1 # always\n")
        (tmp_path / f"dbstore_X_rev_{digits}.root").write_text("x")
        database = LocalDatabase(tmp_path)
        assert database.entries() == (PayloadEntry(name="X", revision=digits, iov=WIDE),)
        assert database.verify() == 1

    def test_a_wrong_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "database.txt").write_text("dbstore/X 1 0,0,-1,-1\nwhat is this thing\n")
        with pytest.raises(DatabaseError, match=r"database\.txt:2: "):
            LocalDatabase(tmp_path).entries()

    def test_bytes_that_are_no_text_are_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "database.txt").write_bytes(b"dbstore/X \xff")
        with pytest.raises(DatabaseError, match=r"could not be read: 'utf-8' codec[^$]*hint: Check"):
            LocalDatabase(tmp_path).entries()

    def test_a_folder_in_place_of_the_text_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "database.txt").mkdir()
        with pytest.raises(DatabaseError, match="could not be read: Is a directory"):
            LocalDatabase(tmp_path).entries()

    def test_repr_names_the_folder(self, tmp_path: Path) -> None:
        assert repr(LocalDatabase(tmp_path)) == f"LocalDatabase('{tmp_path}')"


class TestVerifyAndGaps:
    def test_every_damage_is_named(self, database: LocalDatabase, tmp_path: Path) -> None:
        entries = database.commit(
            [(name, write_source(tmp_path, name), A) for name in ("Cut", "Empty", "Gone", "Whole")]
        )
        cut, empty, gone, _ = (database.get_file(entry) for entry in entries)
        for path, content in [(cut, "Cu"), (empty, "")]:
            path.unlink()
            path.write_text(content)
        gone.unlink()
        with pytest.raises(DatabaseError) as caught:
            database.verify()
        text = str(caught.value)
        assert text.startswith(f"3 of 5 payloads of {database.folder} are damaged:")
        assert f"{cut} of payload 'Cut' was changed or cut off" in text
        assert f"{empty} of payload 'Empty' is empty" in text
        assert f"{gone} of payload 'Gone' could not be read: No such file" in text
        assert "hint: Run the tasks that made them again" in text

    def test_at_most_twenty_are_shown(self, tmp_path: Path) -> None:
        (tmp_path / "database.txt").write_text("".join(f"dbstore/P{n} 1 0,0,-1,-1\n" for n in range(25)))
        with pytest.raises(DatabaseError, match=r"25 of 25 payloads[^$]*P19[^$]*and 5 more"):
            LocalDatabase(tmp_path).verify()

    def test_a_file_of_several_lines_is_read_once(self, database: LocalDatabase, tmp_path: Path) -> None:
        source = write_source(tmp_path, "x")
        database.commit([("X", source, A), ("X", source, B)])
        assert database.verify() == 2

    def test_a_number_as_revision_says_nothing_about_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "database.txt").write_text("dbstore/X 3 0,0,-1,-1\n")
        (tmp_path / "dbstore_X_rev_3.root").write_text("x")
        assert LocalDatabase(tmp_path).verify() == 1

    def test_gaps_are_told_by_payload(self, database: LocalDatabase, tmp_path: Path) -> None:
        source = write_source(tmp_path, "x")
        database.commit([("X", source, IoV(1, 0, 1, 3)), ("X", source, IoV(1, 6, 1, 9)), ("W", source, WIDE)])
        report = database.check_gaps([ExpRun(1, run) for run in range(11)])
        assert list(report) == ["X"]
        assert report["X"].uncovered == (ExpRun(1, 4), ExpRun(1, 5), ExpRun(1, 10))


class TestMergeAndCopy:
    def test_a_later_database_wins(self, database: LocalDatabase, tmp_path: Path) -> None:
        one, two = LocalDatabase(tmp_path / "one"), LocalDatabase(tmp_path / "two")
        one.commit([("X", write_source(tmp_path, "1"), A), ("Y", write_source(tmp_path, "y"), A)])
        two.commit([("X", write_source(tmp_path, "2"), A)])
        database.merge([one, two])
        assert [(entry.name, entry.revision) for entry in database.entries()] == [
            ("Old", find_md5("old")),
            ("Y", find_md5("y")),
            ("X", find_md5("2")),
        ]
        assert database.verify() == 3
        before = snapshot(database.folder)
        database.merge([one, two])
        assert snapshot(database.folder) == before

    def test_a_database_of_basf2_gets_whole_revisions(self, database: LocalDatabase, tmp_path: Path) -> None:
        foreign = tmp_path / "foreign"
        foreign.mkdir()
        (foreign / "database.txt").write_text("dbstore/X 3 0,0,-1,-1 # old\n")
        (foreign / "dbstore_X_rev_3.root").write_text("x")
        database.merge([LocalDatabase(foreign)])
        assert database.entries()[-1] == PayloadEntry(name="X", revision=find_md5("x"), iov=WIDE)
        assert database.verify() == 2

    def test_a_source_that_is_missing_or_damaged_changes_nothing(self, database: LocalDatabase, tmp_path: Path) -> None:
        good, bad = LocalDatabase(tmp_path / "good"), LocalDatabase(tmp_path / "bad")
        good.commit([("X", write_source(tmp_path, "1"), A)])
        before = snapshot(database.folder)
        with pytest.raises(DatabaseError, match=r"There is no local database in .*/bad"):
            database.merge([good, bad])
        (entry,) = bad.commit([("Y", write_source(tmp_path, "2"), A)])
        bad.get_file(entry).unlink()
        with pytest.raises(DatabaseError, match="payload 'Y' could not be read"):
            database.merge([good, bad])
        assert snapshot(database.folder) == before

    @pytest.mark.parametrize("is_there", [False, True])
    def test_a_database_is_made_anew_from_others(self, database: LocalDatabase, tmp_path: Path, is_there: bool) -> None:
        one, two = LocalDatabase(tmp_path / "one"), LocalDatabase(tmp_path / "two")
        one.commit([("X", write_source(tmp_path, "1"), A), ("Y", write_source(tmp_path, "y"), A)])
        two.commit([("X", write_source(tmp_path, "2"), A)])
        target = database if is_there else LocalDatabase(tmp_path / "made")
        entries = target.replace_with([one, two])
        assert [(entry.name, entry.revision) for entry in entries] == [
            ("Y", find_md5("y")),
            ("X", find_md5("2")),
        ]
        assert target.entries() == entries
        assert target.verify() == 2
        assert f"dbstore_Old_rev_{find_md5('old')}.root" not in list_names(target.folder)

    def test_a_database_of_no_others_is_empty(self, tmp_path: Path) -> None:
        assert LocalDatabase(tmp_path / "made").replace_with([]) == ()
        assert LocalDatabase(tmp_path / "made").exists()

    def test_a_copy_holds_the_same(self, database: LocalDatabase, tmp_path: Path) -> None:
        (database.folder / "dbstore_Unnamed_rev_1.root").write_text("not in the text")
        copy = database.copy_to(tmp_path / "deep" / "copy")
        assert copy.entries() == database.entries()
        assert copy.verify() == 1
        assert list_names(copy.folder) == {"database.txt", f"dbstore_Old_rev_{find_md5('old')}.root"}
        assert list_names(tmp_path / "deep") == {"copy", ".copy.lock"}

    def test_a_copy_is_a_file_of_its_own(self, database: LocalDatabase, tmp_path: Path) -> None:
        copy = database.copy_to(tmp_path / "copy")
        (entry,) = copy.entries()
        assert copy.get_file(entry).stat().st_ino != database.get_file(entry).stat().st_ino

    def test_a_second_copy_replaces_the_first(self, database: LocalDatabase, tmp_path: Path) -> None:
        database.copy_to(tmp_path / "copy")
        (tmp_path / "copy" / "notes.txt").write_text("mine")
        other = LocalDatabase(tmp_path / "other")
        other.commit([("X", write_source(tmp_path, "x"), A)])
        copy = other.copy_to(tmp_path / "copy")
        assert copy.entries() == other.entries()
        assert list_names(copy.folder) == {"database.txt", f"dbstore_X_rev_{find_md5('x')}.root", "notes.txt"}

    def test_the_same_copy_again_changes_nothing(self, database: LocalDatabase, tmp_path: Path) -> None:
        copy = database.copy_to(tmp_path / "copy")
        before = {path: path.stat().st_mtime_ns for path in copy.folder.iterdir()}
        database.copy_to(tmp_path / "copy")
        assert {path: path.stat().st_mtime_ns for path in copy.folder.iterdir()} == before

    def test_a_copy_onto_itself_changes_nothing(self, database: LocalDatabase) -> None:
        before = snapshot(database.folder)
        database.copy_to(database.folder)
        assert snapshot(database.folder) == before

    def test_a_copy_into_an_existing_folder(self, database: LocalDatabase, tmp_path: Path) -> None:
        (tmp_path / "copy").mkdir()
        assert database.copy_to(tmp_path / "copy").entries() == database.entries()

    def test_a_half_made_copy_of_a_killed_process_is_removed(self, database: LocalDatabase, tmp_path: Path) -> None:
        stale = tmp_path / ".copy.0123456789abcdef.tmp"
        stale.mkdir()
        (stale / "database.txt").write_text("half")
        database.copy_to(tmp_path / "copy")
        assert not stale.exists()

    def test_a_file_in_the_place_of_the_copy_is_an_error(self, database: LocalDatabase, tmp_path: Path) -> None:
        (tmp_path / "copy").write_text("a file")
        with pytest.raises(DatabaseError, match=r"/copy could not be written: File exists[^$]*hint: Check that"):
            database.copy_to(tmp_path / "copy")
        assert (tmp_path / "copy").read_text() == "a file"

    def test_a_broken_source_leaves_no_copy(self, database: LocalDatabase, tmp_path: Path) -> None:
        (entry,) = database.entries()
        database.get_file(entry).unlink()
        with pytest.raises(DatabaseError, match="could not be read: No such file"):
            database.copy_to(tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        assert not list(tmp_path.glob(".copy.*.tmp"))


class TestLock:
    def test_a_lock_that_is_never_given_back_is_an_error(
        self, database: LocalDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local_database, "_LOCK_SECONDS", 0.05)
        lock = database.folder.parent / ".outputdb.lock"
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with pytest.raises(DatabaseError) as caught:
                database.commit([])
        assert f"{database.folder} was locked by another process for 0.05 s" in str(caught.value)
        assert f"hint: Find who holds {lock}" in str(caught.value)
        database.commit([])

    def test_a_file_system_without_locks_is_an_error(
        self, database: LocalDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(DatabaseError, match="could not be locked: No locks available"):
            database.commit([])

    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DatabaseError, match=r"could not be locked: (Not a directory|File exists)"):
            LocalDatabase(tmp_path / "file" / "db").create()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["X", "Y"]), st.sampled_from(["a", "b"]), st.sampled_from([A, B, WIDE])),
        max_size=6,
    )
)
def test_any_sequence_gives_a_sound_database(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, IoV]]
) -> None:
    base = tmp_path_factory.mktemp("db")
    database = LocalDatabase(base / "db")
    database.create()
    for name, content, iov in steps:
        database.commit([(name, write_source(base, content), iov)])
    database.verify()
    copy = database.copy_to(base / "copy")
    assert copy.entries() == database.entries()
    for name in "XY":
        for run in [ExpRun(0, 0), ExpRun(1, 5), ExpRun(1, 50)]:
            expected = [content for got, content, iov in steps if got == name and iov.contains(run)]
            found = find_payload(copy.entries(), name, run)
            assert (None if found is None else found.revision) == (find_md5(expected[-1]) if expected else None)
