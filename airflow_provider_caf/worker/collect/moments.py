"""Keep the moments of histograms whose weights cancel when they are added.

`TH1::GetStats`, by which ROOT adds, takes a histogram whose weights add up to 0 for one whose moments were not kept,
and makes them up from the middles of its bins. What was summed up while it was filled is right.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.worker.root import load_root

_MOMENTS = r"""
#include <algorithm>
#include <array>
#include <vector>
#include <TCollection.h>
#include <TH1.h>
#include <THStack.h>
#include <TList.h>

namespace airflow_provider_caf {

struct Inside : public TH1D {
  static double get_filled(TH1 *item) { return item->*(&Inside::fTsumw); }

  // What was filled adds up to nothing, and is not nothing.
  static bool cancels(TH1 *item) { return get_filled(item) == 0 && item->*(&Inside::fTsumw2) > 0; }

  static void get_stats(TH1 *item, double *stats) {
    const bool odd = cancels(item);
    if (odd) item->*(&Inside::fTsumw) = 1;
    item->GetStats(stats);
    if (odd) item->*(&Inside::fTsumw) = stats[0] = 0;
  }
};

class Moments {
  struct Kept {
    std::array<double, TH1::kNstat> sums{};
    bool odd = false, open = false;  // not all is in the bins yet: a look would decide the range
  };
  TObject *const sum;
  std::vector<Kept> all;

  template <class Do> static void visit(TObject *item, const Do &act) {
    if (auto histogram = dynamic_cast<TH1 *>(item)) act(histogram);
    else if (auto stack = dynamic_cast<THStack *>(item)) visit(stack->GetHists(), act);
    else if (auto items = dynamic_cast<TSeqCollection *>(item))
      for (TObject *each : *items) visit(each, act);
  }

  void add(TObject *item) {
    size_t at = 0;
    visit(item, [&](TH1 *histogram) {
      if (at == all.size()) all.emplace_back();
      Kept &kept = all[at++];
      kept.odd |= Inside::cancels(histogram);
      kept.open |= histogram->GetBuffer() && histogram->GetBufferLength() > 0;
      if (kept.open) return;
      double stats[TH1::kNstat] = {0};
      Inside::get_stats(histogram, stats);
      for (int number = 0; number < TH1::kNstat; ++number) kept.sums[number] += stats[number];
    });
  }

public:
  // Before the items are added to the sum.
  Moments(TObject *sum, const TCollection &items) : sum(sum) {
    bool odd = false;
    const auto look = [&](TH1 *histogram) { odd |= Inside::cancels(histogram); };
    visit(sum, look);
    for (TObject *each : items) visit(each, look);
    if (!odd) return;
    add(sum);
    for (TObject *each : items) add(each);
  }

  // After that.
  void put() {
    size_t at = 0;
    visit(sum, [&](TH1 *histogram) {
      if (at == all.size()) return;
      Kept &kept = all[at++];
      if (kept.odd && !kept.open) histogram->PutStats(kept.sums.data());
    });
  }
};

}  // namespace airflow_provider_caf
"""


@cache
def load_moments() -> Any:
    """Compile what keeps moments, once for this process and those that it forks."""
    root = load_root()
    if not root.gInterpreter.Declare(_MOMENTS):
        raise CafError("ROOT cannot compile what keeps moments.", hint="What ROOT says is in the log above.")
    return root.airflow_provider_caf
