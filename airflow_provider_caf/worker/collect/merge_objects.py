"""Merge the objects of files, folder by folder, as ROOT's `TFileMerger` does it, and read each object once.

What is added is described on the way: ROOT's own merger would read all that was read for the description once more. An
object is added by its class's own `Merge`, a tree by copying its baskets as they are. What has no `Merge` is copied
with all its cycles, but for process ids, which ROOT writes anew where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collect.describe_object import load_describer, read_description
from airflow_provider_caf.worker.collect.signature import FileTally, Tally
from airflow_provider_caf.worker.root import keep_directory, load_root, record_errors

_MERGER = r"""
#include <string>
#include <TClass.h>
#include <TDirectory.h>
#include <TError.h>
#include <TFile.h>
#include <TFileMergeInfo.h>
#include <TKey.h>
#include <TList.h>
#include <TObjArray.h>
#include <TProcessID.h>

namespace airflow_provider_caf {

TClass *get_class(TKey *key) { return TClass::GetClass(key->GetClassName(), true, true); }

const char *find_kind(TKey *key) {
  TClass *type = get_class(key);
  if (clean(key->GetName()) != key->GetName() || strchr(key->GetName(), '/')) return "nameless";
  if (type == TProcessID::Class()) return "process";
  if (type && type->InheritsFrom(TDirectory::Class())) return "folder";
  if (!type || !type->GetMerge()) return "kept";
  return type->IsTObject() ? "added" : "foreign";
}

std::string list_keys(TDirectory *folder, const std::string &path) {
  std::string text;
  for (TObject *each : *folder->GetListOfKeys()) {
    auto key = static_cast<TKey *>(each);
    const std::string place = path + clean(key->GetName()), kind = find_kind(key);
    text += place + '\x1f' + key->GetClassName() + '\x1f' + kind + '\x1f' + clean(key->GetTitle()) + '\x1e';
    const bool newest = kind == "folder" && folder->GetKey(key->GetName()) == key;
    TDirectory *inside = newest ? folder->GetDirectory(key->GetName()) : nullptr;
    if (inside) text += list_keys(inside, place + "/");
  }
  return text;
}

// The key of the newest cycle.
TKey *find_key(TObject *folder, const std::string &name) {
  return folder ? static_cast<TDirectory *>(folder)->GetKey(name.c_str()) : nullptr;
}

TObject *read(TKey *key) {
  key->GetMotherDir()->cd();
  TObject *object = key->ReadObj();
  if (auto items = dynamic_cast<TCollection *>(object)) items->SetOwner();
  return object;
}

// The newest cycle counts. That of a tree replaces what was saved of it before; it cannot have less.
void blame_cycles(TKey *newest, Description &to) {
  for (TObject *each : *newest->GetMotherDir()->GetListOfKeys()) {
    auto key = static_cast<TKey *>(each);
    if (key == newest || strcmp(key->GetName(), newest->GetName()) || get_class(key) != get_class(newest)) continue;
    const std::string cycle = "its cycle " + std::to_string(key->GetCycle());
    TObject *old = read(key);
    Description whole;
    if (old) describe_whole(old, whole);
    const double before = whole.content;
    if (!old) to.blame(cycle + " cannot be read");
    if (before > to.content)
      to.blame(cycle + " has " + show(before) + " entries, the newest, " + std::to_string(newest->GetCycle()) +
               ", has " + show(to.content));
    delete old;
  }
}

class Merger {
  TFile &output;
  const bool counts, fast;
  TObjArray files, folders;  // the folders are those of the files; null where a file has none of this name
  TDirectory *target = nullptr;
  std::vector<std::string> paths;
  std::string path, place, name;
  Int_t next = 0;                           // the number of the next file
  TObject *sum = nullptr, *item = nullptr;  // the item is what was read last
  TFileMergeInfo *info = nullptr;

  void go_to(const std::string &to) {
    const size_t slash = to.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : to.substr(0, slash);
    place = to;
    name = slash == std::string::npos ? to : to.substr(slash + 1);
    next = 0;
    if (target && folder == path) return;
    path = folder;
    target = output.GetDirectory(path.c_str());
    for (Int_t file = 0; file < files.GetEntriesFast(); ++file)
      folders.AddAtAndExpand(static_cast<TFile *>(files[file])->GetDirectory(path.c_str()), file);
  }

  void add_to_sum(TList &items) {
    Moments moments(sum, items);
    const Long64_t result = sum->IsA()->GetMerge()(sum, &items, info);
    moments.put();
    if (result < 0 && !items.IsEmpty()) Error("Merge", "%s cannot be merged", place.c_str());
    info->fIsFirst = false;
  }

  std::string read_next(Tally &tally) {
    TKey *key = find_key(folders[next++], name);
    if (!key) return "";
    item = read(key);
    if (!item) return "unreadable";
    std::string said = counts ? tally.add(item, paths[next - 1]) : "";
    if (counts && key->GetCycle() > 1) {
      Description newest;
      describe_whole(item, newest);
      blame_cycles(key, newest);
      if (!newest.faults.empty()) said = newest.text();
    }
    return said;
  }

  // What was read last fits.
  void put_in() {
    if (sum) {
      TList items;
      items.Add(item);
      add_to_sum(items);
      items.Delete();
    } else {
      sum = item;
    }
    item = nullptr;
  }

  std::string finish(Tally &tally) {
    TList nothing;
    if (info->fIsFirst) add_to_sum(nothing);
    const std::string said = tally.check(sum);
    target->cd();
    if (sum->Write(name.c_str(), TObject::kSingleKey | TObject::kOverwrite) <= 0)
      Error("Write", "%s cannot be written", place.c_str());
    delete sum;
    delete info;
    sum = nullptr;
    info = nullptr;
    place.clear();
    return said;
  }

public:
  // Without `counts`, the tallies have all that is in the files already.
  Merger(TFile &output, bool counts, bool fast) : output(output), counts(counts), fast(fast) {
    // A tree that gets large does not go on in another file.
    output.SetBit(TFile::kCancelTTreeChangeRequest);
  }

  // `shown` is what messages call it.
  void add_file(TFile &file, const std::string &shown) {
    files.Add(&file);
    paths.push_back(clean(shown));
  }

  void make_folder(const std::string &to, const std::string &title) {
    go_to(to);
    target->mkdir(name.c_str(), title.c_str());
  }

  // Copy all cycles of what cannot be merged; false if a file has one that cannot be read.
  bool copy(const std::string &to, Int_t file) {
    go_to(to);
    if (!folders[file]) return true;
    TIter keys(static_cast<TDirectory *>(folders[file])->GetListOfKeys(), kIterBackward);
    while (auto key = static_cast<TKey *>(keys())) {
      if (name != key->GetName()) continue;
      TClass *type = get_class(key);
      void *object = type ? key->ReadObjectAny(nullptr) : nullptr;
      if (!object) return false;
      if (target->WriteObjectAny(object, type, name.c_str()) <= 0)
        Error("Write", "%s cannot be written", place.c_str());
      type->Destructor(object);
    }
    return true;
  }

  // Add the objects of all files under a name and write the sum, until there is something to say of an object, or in
  // the end of the sum. Who calls again says that it may go on.
  std::string add(const std::string &to, Tally &tally) {
    TDirectory::TContext here;
    const bool before = TH1::AddDirectoryStatus();
    TH1::AddDirectory(false);
    if (!info) {
      go_to(to);
      info = new TFileMergeInfo(target);
      if (fast) info->fOptions = "fast";
    }
    std::string said;
    while (said.empty() && info) {
      if (item) put_in();
      else if (next < files.GetEntriesFast()) said = read_next(tally);
      else said = finish(tally);
    }
    TH1::AddDirectory(before);
    return said;
  }

  // The number of the file that had the object of which something was said.
  Int_t get_file() const { return next - 1; }
};

}  // namespace airflow_provider_caf
"""

_REFUSED = {
    "foreign": ("it is a {}", "Collect a tree, a histogram, a graph or another class with Merge()."),
    "nameless": ("its name is no name of a file", "Take names without '/' and control characters."),
}


@record
class Key:
    """What a file has under a name.

    :param type: the class of the newest cycle.
    :param kind: `folder`; `added`, if ROOT can; `kept`, if not; `process`, a process id; `foreign`, an RNTuple;
        `nameless`, if it cannot be found by its path.
    :param cycles: how many cycles it has.
    """

    type: str
    kind: str
    title: str
    cycles: int


@cache
def load_merger() -> Any:
    """Compile what merges objects, once for this process and those that it forks."""
    root = load_root()
    load_describer()
    if not root.gInterpreter.Declare(_MERGER):
        raise CafError("ROOT cannot compile what merges its objects.", hint="What ROOT says is in the log above.")
    return root.airflow_provider_caf


def list_keys(file: Any) -> dict[str, Key]:
    """List what is in an open file by its path, folders before what is in them. No object is read."""
    keys: dict[str, Key] = {}
    for text in str(load_merger().list_keys(file, "")).split("\x1e")[:-1]:
        place, type_name, kind, title = text.split("\x1f")
        if place in keys:
            before = keys[place]
            keys[place] = Key(type=before.type, kind=before.kind, title=before.title, cycles=before.cycles + 1)
        else:
            keys[place] = Key(type=type_name, kind=kind, title=title, cycles=1)
    return keys


class ObjectMerger:
    """Merge all that is in some files.

    :param tally: what is in the files is counted in, and compared with what is written.
    :param counted: whether it has been counted in already.
    """

    def __init__(self, tally: FileTally, *, counted: bool = False) -> None:
        self.tally = tally
        self._counted = counted
        self._files: list[tuple[Any, str]] = []
        self._places: dict[str, tuple[Key, str]] = {}
        self._sums: list[tuple[Tally, str]] = []

    def add_file(self, file: Any, path: str, keys: Mapping[str, Key]) -> None:
        """Add a file that is open, and stays open until all is written.

        :param keys: what is in it.
        :raises InputError: if an object cannot be merged with that of this name in another file.
        """
        self._files.append((file, path))
        for place, key in keys.items():
            first, where = self._places.setdefault(place, (key, path))
            if key.kind != first.kind:
                raise InputError(
                    f"The object {place!r} cannot be merged: class is {first.type} in {where}, but {key.type} in "
                    f"{path}.",
                    hint="Objects of one name need one class, wherever they are made.",
                )
            if key.kind in _REFUSED:
                reason, hint = _REFUSED[key.kind]
                raise InputError(
                    f"The object {place!r} in {path} cannot be merged: {reason.format(key.type)}.", hint=hint
                )
            if key.kind == "kept" and not self._counted:
                self.tally.keep(place, key.type, key.cycles)

    def write(self, output: Any, *, fast: bool) -> None:
        """Write the sum of all that is in the files.

        :param output: the open file to write.
        :param fast: whether baskets of trees are copied as they are.
        :raises InputError: if an object cannot be read or does not fit those before. What else goes wrong, ROOT
            reports as an error.
        """
        merger = load_merger().Merger(output, not self._counted, fast)
        for file, path in self._files:
            merger.add_file(file, path)
        for place, (key, _) in self._places.items():
            if key.kind == "folder":
                merger.make_folder(place, key.title)
            elif key.kind == "added":
                self._add(merger, place, key)
            elif key.kind == "kept":
                for number, (_, path) in enumerate(self._files):
                    if not merger.copy(place, number):
                        raise _build_unreadable(place, key, path)

    def check(self) -> None:
        """Find out whether the sums that were written are what was added.

        :raises InputError: if one is not.
        """
        for tally, said in self._sums:
            tally.judge(said)

    def _add(self, merger: Any, place: str, key: Key) -> None:
        tally = self.tally[place]
        while said := str(merger.add(place, tally.content)):
            path = self._files[merger.get_file()][1]
            if said == "unreadable":
                raise _build_unreadable(place, key, path)
            if "\x1e" in said:
                self._sums.append((tally, said))
                return
            tally.fit(read_description(said), path)


def compile_merger() -> None:
    """Compile all that a merge takes, for this process and those that it forks: ROOT compiles what is used first."""
    root = load_root()
    file, output = root.TMemFile("file.root", "RECREATE"), root.TMemFile("output.root", "RECREATE")
    with keep_directory(file):
        root.TTree("tree", "").Write()
        root.TH1D().Write("histogram")
    merger = ObjectMerger(FileTally())
    merger.add_file(file, "", list_keys(file))
    with record_errors():
        merger.write(output, fast=True)
    merger.tally.to_json()


def _build_unreadable(place: str, key: Key, path: str) -> InputError:
    return InputError(
        f"The object {place!r}, a {key.type}, in the collector output {path} cannot be read.",
        hint="What ROOT says is in the log above. Make the file again.",
    )
