"""Describe an object of ROOT: what has to be equal where it is added to others, and what a sum has to keep.

What is read is what is in memory once the object is: the header of a tree, not its baskets; the cells of a histogram.
It is written in C++, because there are thousands of objects in each of hundreds of files. The table of what is said of
which class is in `signature`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collect.describe_histogram import HISTOGRAMS
from airflow_provider_caf.worker.collect.describe_tally import TALLY
from airflow_provider_caf.worker.collect.moments import load_moments
from airflow_provider_caf.worker.root import load_root

_START = r"""
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>
#include <TArray.h>
#include <TArrayC.h>
#include <TArrayD.h>
#include <TArrayF.h>
#include <TArrayI.h>
#include <TArrayS.h>
#include <TAxis.h>
#include <TBranchElement.h>
#include <TBufferFile.h>
#include <TClass.h>
#include <TDirectory.h>
#include <TEfficiency.h>
#include <TExMap.h>
#include <TF1.h>
#include <TFriendElement.h>
#include <TGraphMultiErrors.h>
#include <TH2Poly.h>
#include <TH3.h>
#include <THStack.h>
#include <THashList.h>
#include <THnBase.h>
#include <THnSparse.h>
#include <THnSparse_Internal.h>
#include <TLeaf.h>
#include <TMD5.h>
#include <TObjString.h>
#include <TParameter.h>
#include <TProfile.h>
#include <TProfile2D.h>
#include <TProfile2Poly.h>
#include <TProfile3D.h>
#include <TStatistic.h>
#include <TTree.h>
#include <TVirtualIndex.h>

namespace airflow_provider_caf {

const double kFloatLimit = 16777216;  // 2^24: a float does not count further

bool is_control(char letter) { return (unsigned char)letter < 32 || letter == 127; }

std::string clean(const std::string &text) {
  std::string result = text;
  std::replace_if(result.begin(), result.end(), is_control, '?');
  return result;
}

std::string show(double value, const char *format = "%.17g") {
  char text[40];
  snprintf(text, sizeof text, format, value);
  return text;
}

// A sum, and that of the absolute values.
struct Sum {
  long double value = 0, size = 0;
  void add(long double term) {
    value += term;
    size += std::fabs(term);
  }
  void add(const Sum &sum, int factor) {
    value += sum.value * factor;
    size += sum.size * factor;
  }
};

// Rules of how quantities add up. The first do, from strict to lax: of one quantity the laxest that was met counts.
enum Rule { kTotal, kSum, kFloatSum, kNearSum, kUnknown, kLargest, kSmallest, kProduct, kFloatProduct, kFirst, kLast };
const char *kRules[] = {"total",    "sum",     "float sum",     "near sum", "unknown", "largest",
                        "smallest", "product", "float product", "first",    "last"};

// Names of quantities last: equal ones are mostly the same pointer.
const char *keep_name(const std::string &name) {
  static THashList names;
  TObject *found = names.FindObject(name.c_str());
  if (!found) names.Add(found = new TObjString(name.c_str()));
  return found->GetName();
}

// A rule, a name, a value, and the sum of the absolute values of what was added up.
struct Quantity {
  Rule rule;
  const char *name;
  double value, size;
  std::string text() const {
    return std::string(kRules[rule]) + '\t' + clean(name) + '\t' + show(value, "%a") + '\t' + show(size, "%a") + '\n';
  }
};

// Numbers in a form are as they are in memory, behind a mark: that is quick, and enough to tell whether two are equal.
// A person sees them in so many digits.
const char kNumber = 1, kExact = 2;

std::string render(const std::string &form) {
  std::string text;
  for (size_t at = 0; at < form.size(); ++at) {
    double number = 0;
    if (form[at] != kNumber && form[at] != kExact) {
      text += form[at];
      continue;
    }
    memcpy(&number, &form[at + 1], sizeof number);
    text += show(number, form[at] == kExact ? "%.17g" : "%.12g");
    at += sizeof number;
  }
  return text;
}

class Description {
public:
  std::string form, faults, alone, part;
  std::vector<Quantity> sums;
  double content = 0;
  bool known = true;

  // An aspect is a name, what its value is put together of, and an end.
  void start(std::string_view name, std::string_view rest = "") {
    if (!part.empty()) put(part);
    put(name);
    put(rest);
    form += '\t';
  }
  void put(std::string_view text) {
    for (char letter : text) form += is_control(letter) ? '?' : letter;
  }
  void put(double value, char mark = kNumber) {
    form += mark;
    form.append(reinterpret_cast<const char *>(&value), sizeof value);
  }
  void end() { form += '\n'; }
  void is(std::string_view name, std::string_view value) {
    start(name);
    put(value);
    end();
  }
  void is(std::string_view name, double value) {
    start(name);
    put(value, kExact);
    end();
  }
  void keep(Rule rule, const char *name, double value, double size) {
    sums.push_back({rule, part.empty() ? name : keep_name(part + name), value, size});
  }
  void keep(Rule rule, const char *name, double value) { keep(rule, name, value, std::fabs(value)); }
  void keep(Rule rule, const char *name, const Sum &sum) { keep(rule, name, sum.value, sum.size); }
  void keep(Rule rule, const std::string &name, double value) { keep(rule, keep_name(name), value); }
  void keep(Rule rule, const std::string &name, const Sum &sum) { keep(rule, keep_name(name), sum); }
  void clear() {
    for (std::string *text : {&form, &faults, &alone, &part}) text->clear();
    sums.clear();
    content = 0;
    known = true;
  }
  void refuse(const std::string &reason) { alone += clean(part + reason) + '\n'; }
  void blame(const std::string &text) { faults += clean(part + text) + '\n'; }
  std::string text() const { return render(form) + '\x1f' + faults + '\x1f' + alone; }
};

void describe(TObject *item, Description &to);

void describe_part(TObject *item, const std::string &name, Description &to) {
  const std::string before = to.part;
  to.part += name + ": ";
  to.is("class", item ? item->ClassName() : "none");
  if (item) describe(item, to);
  to.part = before;
}

// ---- trees

std::string describe_leaves(TBranch *branch) {
  auto element = dynamic_cast<TBranchElement *>(branch);
  TClass *type = element ? TClass::GetClass(element->GetClassName(), true, true) : nullptr;
  // The title of a plain branch has what was declared, ranges of Double32_t too.
  std::string text = element ? branch->GetClassName() : branch->GetTitle();
  if (element && !(type && type->GetCollectionProxy()))
    text += " version " + std::to_string(element->GetClassVersion()) + " checksum " +
            std::to_string(element->GetCheckSum());
  for (TObject *each : *branch->GetListOfLeaves()) {
    auto leaf = static_cast<TLeaf *>(each);
    text += (text.empty() ? "" : ", ") + std::string(leaf->GetTitle()) + " " + leaf->GetTypeName();
    if (leaf->GetLenStatic() != 1) text += " x " + std::to_string(leaf->GetLenStatic());
    if (leaf->GetLeafCount()) text += " x " + std::string(leaf->GetLeafCount()->GetName());
  }
  return text;
}

void describe_branches(TObjArray *branches, const std::string &above, Sum &entries, Description &to) {
  for (TObject *each : *branches) {
    auto branch = static_cast<TBranch *>(each);
    const std::string name = above + branch->GetName();
    to.is("branch " + name, describe_leaves(branch));
    entries.add(branch->GetEntries());
    for (TObject *one : *branch->GetListOfLeaves()) {
      auto leaf = static_cast<TLeaf *>(one);
      if (leaf->IsRange()) to.keep(kLargest, "counter " + name + "." + leaf->GetName(), leaf->GetMaximum());
    }
    describe_branches(branch->GetListOfBranches(), name + "/", entries, to);
  }
}

std::string digest(TObject *item) {
  TBufferFile buffer(TBuffer::kWrite);
  buffer.WriteObject(item);
  TMD5 sum;
  sum.Update((const UChar_t *)buffer.Buffer(), buffer.Length());
  sum.Final();
  return sum.AsString();
}

void describe_tree(TTree *tree, Description &to) {
  Sum entries;
  to.content = tree->GetEntries();
  to.keep(kTotal, "entries", tree->GetEntries());
  describe_branches(tree->GetListOfBranches(), "", entries, to);
  to.keep(kTotal, "entries of all branches", entries);
  if (tree->GetWeight() != 1) to.is("weight", tree->GetWeight());
  if (tree->GetListOfAliases())
    for (TObject *each : *tree->GetListOfAliases()) to.is(std::string("alias ") + each->GetName(), each->GetTitle());
  if (tree->GetListOfFriends() && tree->GetListOfFriends()->GetSize())
    to.refuse("the trees that are friends of a tree are not merged with it");
  if (tree->GetListOfFriends())
    for (TObject *each : *tree->GetListOfFriends()) to.is(std::string("friend ") + each->GetName(), each->GetTitle());
  if (TVirtualIndex *index = tree->GetTreeIndex()) {
    to.is("index", std::string(index->GetMajorName()) + ", " + index->GetMinorName());
    to.keep(kTotal, "entries of the index", index->GetN());
  }
  for (TObject *each : *tree->GetUserInfo())
    to.is(std::string("user info ") + each->GetName(),
          std::string(each->ClassName()) + " " + each->GetTitle() + " " + digest(each));
}
"""

_OTHERS = r"""
// ---- other classes

void keep_points(const char *name, const double *values, int count, Description &to) {
  if (!values) return;
  Sum sum;
  for (int number = 0; number < count; ++number) sum.add(values[number]);
  to.keep(kSum, std::string("sum of ") + name, sum);
}

void describe_graph(TGraph *graph, Description &to) {
  const int count = graph->GetN();
  to.content = count;
  to.keep(kTotal, "points", count);
  const std::pair<const char *, double *> arrays[] = {
      {"x", graph->GetX()}, {"y", graph->GetY()}, {"errors of x", graph->GetEX()}, {"errors of y", graph->GetEY()},
      {"low errors of x", graph->GetEXlow()}, {"high errors of x", graph->GetEXhigh()},
      {"low errors of y", graph->GetEYlow()}, {"high errors of y", graph->GetEYhigh()},
      {"low slopes of x", graph->GetEXlowd()}, {"high slopes of x", graph->GetEXhighd()},
      {"low slopes of y", graph->GetEYlowd()}, {"high slopes of y", graph->GetEYhighd()}};
  auto many = dynamic_cast<TGraphMultiErrors *>(graph);
  if (many) to.refuse("ROOT writes beyond the errors of a TGraphMultiErrors");
  for (const auto &[name, values] : arrays)
    if (!many || std::string(name).find(" of y") == std::string::npos) keep_points(name, values, count, to);
  if (many) {
    to.is("errors of y", std::to_string(many->GetNYErrors()));
    for (int number = 0; number < many->GetNYErrors(); ++number) {
      keep_points(("low errors of y " + std::to_string(number)).c_str(), many->GetEYlow(number), count, to);
      keep_points(("high errors of y " + std::to_string(number)).c_str(), many->GetEYhigh(number), count, to);
    }
  }
  describe_functions(graph->GetListOfFunctions(), to);
}

void describe_efficiency(TEfficiency *efficiency, Description &to) {
  to.is("statistic option", std::to_string(efficiency->GetStatisticOption()));
  to.is("confidence level", efficiency->GetConfidenceLevel());
  to.is("alpha", efficiency->GetBetaAlpha());
  to.is("beta", efficiency->GetBetaBeta());
  describe_functions(efficiency->GetListOfFunctions(), to);
  describe_part(const_cast<TH1 *>(efficiency->GetPassedHistogram()), "passed", to);
  describe_part(const_cast<TH1 *>(efficiency->GetTotalHistogram()), "total", to);
  to.content = efficiency->GetTotalHistogram()->GetEntries();
}

template <class Number> bool describe_parameter(TObject *item, Description &to) {
  using Parameter = TParameter<Number>;
  auto parameter = dynamic_cast<Parameter *>(item);
  if (!parameter) return false;
  const bool flag = std::is_same<Number, bool>::value, floating = std::is_floating_point<Number>::value;
  const bool small = floating && sizeof(Number) == sizeof(float);
  Rule rule = flag ? kLargest : small ? kFloatSum : floating ? kSum : kTotal;
  std::string mode = flag ? "any" : "total";
  if (parameter->TestBit(Parameter::kMultiply)) {
    rule = flag ? kSmallest : small ? kFloatProduct : kProduct;
    mode = flag ? "all" : "product";
  } else {
    const int bits[] = {Parameter::kMax, Parameter::kMin, Parameter::kFirst, Parameter::kLast};
    const Rule rules[] = {kLargest, kSmallest, kFirst, kLast};
    for (int number = 0; number < 4; ++number)
      if (parameter->TestBit(bits[number])) mode = kRules[rule = rules[number]];
  }
  to.is("merge mode", mode);
  to.keep(rule, "value", parameter->GetVal());
  return true;
}

void describe_statistic(TStatistic *statistic, Description &to) {
  to.content = statistic->GetN();
  to.keep(kTotal, "entries", statistic->GetN());
  to.keep(kSum, "sum of weights", statistic->GetW());
  to.keep(kSum, "sum of squared weights", statistic->GetW2());
  to.keep(kNearSum, "sum of weight times value", statistic->GetMean() * statistic->GetW());
  if (statistic->GetN() > 0) to.keep(kLargest, "largest value", statistic->GetMax());
  if (statistic->GetN() > 0) to.keep(kSmallest, "smallest value", statistic->GetMin());
}

void describe_collection(TCollection *items, Description &to) {
  int number = 0;
  for (TObject *each : *items) {
    describe_part(each, "item " + std::to_string(++number) + " " + (each ? each->GetName() : ""), to);
  }
  to.is("items", std::to_string(number));
}

void describe(TObject *item, Description &to) {
  if (auto tree = dynamic_cast<TTree *>(item)) return describe_tree(tree, to);
  if (auto histogram = dynamic_cast<TH1 *>(item)) return describe_histogram(histogram, to);
  if (auto histogram = dynamic_cast<THnBase *>(item)) return describe_thn(histogram, to);
  if (auto graph = dynamic_cast<TGraph *>(item)) return describe_graph(graph, to);
  if (auto efficiency = dynamic_cast<TEfficiency *>(item)) return describe_efficiency(efficiency, to);
  if (auto stack = dynamic_cast<THStack *>(item)) {
    if (stack->GetHists()) describe_collection(stack->GetHists(), to);
    return;
  }
  if (auto items = dynamic_cast<TSeqCollection *>(item)) return describe_collection(items, to);
  if (auto statistic = dynamic_cast<TStatistic *>(item)) return describe_statistic(statistic, to);
  to.known = describe_parameter<double>(item, to) || describe_parameter<float>(item, to) ||
             describe_parameter<int>(item, to) || describe_parameter<long>(item, to) ||
             describe_parameter<Long64_t>(item, to) || describe_parameter<bool>(item, to);
}

// ---- what is added

void describe_whole(TObject *item, Description &to) {
  to.is("class", item->ClassName());
  describe(item, to);
}

std::string describe_item(TObject *item) {
  Description all;
  describe_whole(item, all);
  return all.text();
}
"""


@cache
def load_describer() -> Any:
    """Compile what describes objects, once for this process and those that it forks."""
    root = load_root()
    load_moments()
    if not root.gInterpreter.Declare(_START + HISTOGRAMS + _OTHERS + TALLY):
        raise CafError("ROOT cannot compile what describes its objects.", hint="What ROOT says is in the log above.")
    return root.airflow_provider_caf


@record
class Description:
    """What is said of an object.

    :param form: lines `aspect<tab>value`: what has to be equal in all that are added. A value `any` fits all.
    :param faults: how the object shows that it has lost content already.
    :param alone: why it cannot be added to another.
    """

    form: str
    faults: tuple[str, ...]
    alone: tuple[str, ...]


def describe_item(item: Any) -> Description:
    """Describe an object in memory. It is left as it is."""
    return read_description(str(load_describer().describe_item(item)))


def read_description(text: str) -> Description:
    """Read what is said of an object."""
    form, faults, alone = text.split("\x1f")
    return Description(form=form, faults=tuple(faults.split("\n")[:-1]), alone=tuple(alone.split("\n")[:-1]))
