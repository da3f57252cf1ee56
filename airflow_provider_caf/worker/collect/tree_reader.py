"""The functions that ROOT compiles to read trees: they find branches and leaves, and copy numbers and texts."""

from __future__ import annotations

from typing import Any

from airflow_provider_caf.worker.root import declare

_READER = """
#include <cstring>
#include <string>
#include <vector>
#include <TBranch.h>
#include <TBranchElement.h>
#include <TClass.h>
#include <TFriendElement.h>
#include <TList.h>
#include <TLeaf.h>
#include <TObjArray.h>
#include <TTree.h>
#include <TVirtualCollectionProxy.h>
namespace airflow_provider_caf {
enum State { kRead, kMissing, kDamaged };
// Find the branch and the leaf that a name stands for, as PyROOT does.
TBranch *find_branch(TTree *tree, const std::string &name) {
  auto *branch = tree->GetBranch(name.c_str());
  return branch ? branch : tree->GetBranch((name + '.').c_str());
}
TLeaf *find_leaf(TTree *tree, const std::string &name) {
  auto *leaf = tree->GetLeaf(name.c_str());
  auto *branch = find_branch(tree, name);
  if (leaf || !branch) return leaf;
  if ((leaf = branch->GetLeaf(name.c_str()))) return leaf;
  auto *leaves = branch->GetListOfLeaves();
  return leaves->GetEntries() == 1 ? static_cast<TLeaf *>(leaves->At(0)) : nullptr;
}
// Give the type of a branch that is one number and nothing else, or nothing.
std::string find_number_type(TTree *tree, const std::string &name) {
  auto *leaf = find_leaf(tree, name);
  if (!leaf || leaf->GetLenStatic() != 1 || leaf->GetLeafCount()) return "";
  if (!std::strcmp(leaf->ClassName(), "TLeafC")) return "";
  auto *branch = leaf->GetBranch();
  auto *named = find_branch(tree, name);
  // In a branch of several leaves the fetching ahead of one would move the others.
  const bool is_alone = branch->IsA() == TBranch::Class() && branch->GetListOfLeaves()->GetEntries() == 1;
  return is_alone && (!named || named == branch) ? leaf->GetTypeName() : "";
}
// PyROOT 6.40 ends the process at arrays with a counted and other dimensions, and at arrays of types without a
// converter; of numbers in a collection of split objects it gives what lies beside the first in memory.
bool is_in_collection(TBranch *branch) {
  auto *element = dynamic_cast<TBranchElement *>(branch);
  return element && (element->GetType() == 31 || element->GetType() == 41);
}
// Give the type of the numbers of an array that PyROOT cannot give, or nothing.
std::string find_table_type(TTree *tree, const std::string &name) {
  auto *leaf = find_leaf(tree, name);
  if (!leaf || (!leaf->GetLeafCount() && leaf->GetLenStatic() == 1)) return "";
  const std::string type = leaf->GetTypeName();
  auto *branch = leaf->GetBranch();
  const bool is_table = leaf->GetLeafCount() && leaf->GetLenStatic() != 1;
  const bool is_packed = type == "Double32_t" || type == "Float16_t";
  if (branch->IsA() == TBranch::Class()) return is_table || is_packed ? type : "";
  auto *element = dynamic_cast<TBranchElement *>(branch);
  if (!element || element->GetCurrentClass()) return "";
  if (is_in_collection(branch)) return is_table ? "an array in objects of a collection" : type;
  return is_table ? "an array in an object" : is_packed ? type : "";
}
void copy_table(TLeaf *leaf, void *numbers, bool is_real) {
  if (leaf->GetBranch()->IsA() == TBranch::Class()) {
    std::memcpy(numbers, leaf->GetValuePointer(), static_cast<std::size_t>(leaf->GetLen()) * leaf->GetLenType());
    return;
  }
  for (int at = 0, count = leaf->GetLen(); at < count; ++at)
    if (is_real) static_cast<double *>(numbers)[at] = leaf->GetValue(at);
    else static_cast<Long64_t *>(numbers)[at] = leaf->GetValueLong64(at);
}
// PyROOT gives the memory behind the text of a leaf, with what longer texts before it have left there.
bool is_text(TTree *tree, const std::string &name) {
  auto *leaf = find_leaf(tree, name);
  return leaf && !std::strcmp(leaf->ClassName(), "TLeafC");
}
std::size_t measure_text(TLeaf *leaf) { return std::strlen(static_cast<const char *>(leaf->GetValuePointer())); }
void copy_text(TLeaf *leaf, void *text, std::size_t size) { std::memcpy(text, leaf->GetValuePointer(), size); }
// A collection without a dictionary is kept as a vector of pairs, whatever its class is.
bool is_makeshift(TClass *type, int depth = 0) {
  auto *proxy = type ? type->GetCollectionProxy() : nullptr;
  if (!proxy || depth > 9) return false;
  const bool is_emulated = proxy->GetProperties() & TVirtualCollectionProxy::kIsEmulated;
  if (is_emulated && proxy->GetCollectionType() != ROOT::kSTLvector) return true;
  return is_makeshift(proxy->GetValueClass(), depth + 1);
}
// Say why PyROOT would end the process at a branch that has been read, or nothing.
std::string find_danger(TTree *tree, const std::string &name) {
  auto *element = dynamic_cast<TBranchElement *>(find_branch(tree, name));
  auto *leaf = find_leaf(tree, name);
  if (element) {
    auto *own = element->GetCurrentClass();
    if (own && own != element->GetTargetClass() && element->GetID() >= 0) {
      // PyROOT adds an offset to the address of the object that holds this one.
      if (is_in_collection(element)) return "a part of each object in a collection";
      if (!element->GetObject()) return "a part of an object whose class has no dictionary";
    } else {
      own = TClass::GetClass(element->GetClassName());
    }
    if (is_makeshift(own)) return std::string("of the class ") + own->GetName() + ", which has no dictionary";
  }
  if (!leaf) return "";
  auto *type = TClass::GetClass(leaf->GetTypeName(), true, true);
  if (is_makeshift(type)) return std::string("of the class ") + type->GetName() + ", which has no dictionary";
  return "";
}
// Reach what a branch keeps of its baskets: &Baskets::f… is a pointer to a member of TBranch.
struct Baskets : TBranch {
  static void drop_empty(TBranch *branch) {
    auto &last = branch->*(&Baskets::fWriteBasket);
    auto *entries = branch->*(&Baskets::fBasketEntry);
    auto *seeks = branch->*(&Baskets::fBasketSeek);
    auto *bytes = branch->*(&Baskets::fBasketBytes);
    auto *loaded = branch->GetListOfBaskets();
    int kept = 0;
    for (int number = 0; number <= last; ++number) {
      if (number < last && entries[number] == entries[number + 1]) continue;
      if (kept < number) {
        entries[kept] = entries[number], seeks[kept] = seeks[number], bytes[kept] = bytes[number];
        if (number < loaded->GetSize()) loaded->AddAt(loaded->RemoveAt(number), kept);
      }
      ++kept;
    }
    if (last >= 0) last = kept - 1;
  }
};
std::string find_empty_basket(TObjArray *branches) {
  for (auto *item : *branches) {
    auto *branch = static_cast<TBranch *>(item);
    const auto *entries = branch->GetBasketEntry();
    for (int number = 0; number < branch->GetWriteBasket(); ++number)
      if (entries[number] == entries[number + 1] && entries[number] < branch->GetEntryNumber())
        return branch->GetFullName().Data();
    const auto found = find_empty_basket(branch->GetListOfBranches());
    if (!found.empty()) return found;
  }
  return "";
}
std::string find_empty_basket(TTree *tree) {
  auto found = find_empty_basket(tree->GetListOfBranches());
  if (found.empty() && tree->GetListOfFriends())
    for (auto *item : *tree->GetListOfFriends())
      if (auto *other = static_cast<TFriendElement *>(item)->GetTree(); other && found.empty())
        found = find_empty_basket(other->GetListOfBranches());
  return found;
}
// uproot and others write baskets without entries. ROOT takes such a one for the first entry of the next, and gives
// what happens to be in memory: TBranch::GetBasketAndFirst finds the first of equal starts. So they are left out.
void drop_empty_baskets(TBranch *branch) {
  Baskets::drop_empty(branch);
  for (auto *leaf : *branch->GetListOfLeaves())
    if (auto *count = static_cast<TLeaf *>(leaf)->GetLeafCount())
      if (count->GetBranch()->GetReadEntry() < 0) Baskets::drop_empty(count->GetBranch());
  for (auto *part : *branch->GetListOfBranches()) drop_empty_baskets(static_cast<TBranch *>(part));
}
// Read a branch where its own tree stands: a friend stands at another entry than the tree, or at none.
int read_here(TBranch *branch) {
  const auto entry = branch->GetTree()->GetReadEntry();
  const bool is_split = branch->GetListOfBranches()->GetEntries() > 0;
  if (entry < 0 || (!is_split && entry >= branch->GetEntryNumber())) return kMissing;
  // All of a split object, as its parts may depend on each other.
  auto *top = branch->GetMother() ? branch->GetMother() : branch;
  if (top->GetReadEntry() < 0) drop_empty_baskets(top);
  return top->GetEntry(entry) < 0 ? kDamaged : kRead;
}
int read_event(TTree *tree, Long64_t entry, const std::string &name) {
  if (tree->LoadTree(entry) < 0) return kDamaged;
  auto *branch = find_branch(tree, name);
  auto *leaf = find_leaf(tree, name);
  const int state = branch ? read_here(branch) : kRead;
  if (state != kRead || !leaf || leaf->GetBranch() == branch) return state;
  return read_here(leaf->GetBranch());
}
// Give the places where a number is not the one before it, with the first.
std::vector<Long64_t> find_changes(const void *numbers, Long64_t count, int size) {
  const auto *at = static_cast<const char *>(numbers);
  std::vector<Long64_t> places;
  for (Long64_t place = 0; place < count; ++place, at += size)
    if (place == 0 || std::memcmp(at, at - size, size)) places.push_back(place);
  return places;
}
// Give how many numbers could be read.
Long64_t read_numbers(TTree *tree, const std::string &name, const std::string &type, Long64_t first, Long64_t count,
                      void *numbers) {
  auto *out = static_cast<char *>(numbers);
  TLeaf *leaf = nullptr;
  bool is_fixed = false;
  for (Long64_t done = 0; done < count; ++done) {
    if (tree->LoadTree(first + done) < 0) return done;
    // A chain, or one among the friends, deletes its branches with each change of file.
    if (!is_fixed) {
      if (find_number_type(tree, name) != type) return done;
      leaf = find_leaf(tree, name);
      is_fixed = leaf->GetBranch()->GetTree() == tree;
    }
    if (read_here(leaf->GetBranch()) != kRead) return done;
    std::memcpy(out, leaf->GetValuePointer(), leaf->GetLenType());
    out += leaf->GetLenType();
  }
  return count;
}
}
"""


def load_reader() -> Any:
    """Return the functions that read events, compiled once in a process."""
    return declare(_READER)
