// Intervals of validity, and the runs that were collected.
#pragma once

#include <TNamed.h>

#include <algorithm>
#include <cstdio>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <utility>

namespace Belle2 {

class IntervalOfValidity {
public:
  IntervalOfValidity(int expLow = -1, int runLow = -1, int expHigh = -1, int runHigh = -1)
    : m_expLow(expLow), m_runLow(expLow < 0 ? -1 : runLow), m_expHigh(expHigh), m_runHigh(expHigh < 0 ? -1 : runHigh) {
    if (low() > high()) {
      std::swap(m_expLow, m_expHigh);
      std::swap(m_runLow, m_runHigh);
    }
  }
  static IntervalOfValidity always() { return {0, 0, -1, -1}; }
  int getExperimentLow() const { return m_expLow; }
  int getRunLow() const { return m_runLow; }
  int getExperimentHigh() const { return m_expHigh; }
  int getRunHigh() const { return m_runHigh; }
  bool empty() const { return m_expLow < 0 && m_expHigh < 0; }
  bool unspecified() const { return m_expLow == -1 && m_runLow == -1 && m_expHigh == -1 && m_runHigh == -1; }
  // The empty one holds nothing but the empty one, which everything holds.
  bool contains(int exp, int run) const { return contains({exp, run, exp, run}); }
  bool contains(const IntervalOfValidity &other) const {
    return other.empty() || (!empty() && low() <= other.low() && other.high() <= high());
  }
  bool overlaps(const IntervalOfValidity &other) const {
    return !empty() && !other.empty() && low() <= other.high() && other.low() <= high();
  }
  bool operator==(const IntervalOfValidity &other) const {
    return low() == other.low() && m_expHigh == other.m_expHigh && m_runHigh == other.m_runHigh;
  }
  bool operator!=(const IntervalOfValidity &other) const { return !(*this == other); }
  std::string text() const {
    std::ostringstream out;
    out << m_expLow << "," << m_runLow << "," << m_expHigh << "," << m_runHigh;
    return out.str();
  }
  friend std::ostream &operator<<(std::ostream &out, const IntervalOfValidity &iov) { return out << iov.text(); }

private:
  static constexpr int c_end = 1 << 30;
  std::pair<int, int> low() const { return {m_expLow, m_runLow}; }
  std::pair<int, int> high() const { return {m_expHigh < 0 ? c_end : m_expHigh, m_runHigh < 0 ? c_end : m_runHigh}; }
  int m_expLow, m_runLow, m_expHigh, m_runHigh;
};

namespace Calibration {
typedef std::pair<int, int> ExpRun;
}

// The runs of a collector's output. A class that is interpreted has no dictionary, so in a file it is a plain TNamed;
// the title says everything: `run (1,1)(1,2)`.
class RunRange : public TNamed {
public:
  RunRange() : TNamed("RunRange", "") { update(); }
  explicit RunRange(const TNamed &read) : TNamed("RunRange", "") { readTitle(read.GetTitle()); }

  void add(int exp, int run) {
    m_runs.insert({exp, run});
    update();
  }
  void merge(const RunRange &other) {
    m_runs.insert(other.m_runs.begin(), other.m_runs.end());
    update();
  }
  std::set<Calibration::ExpRun> getExpRunSet() const { return m_runs; }
  std::string getGranularity() const { return m_granularity; }
  void setGranularity(const std::string &granularity) {
    m_granularity = granularity;
    update();
  }
  IntervalOfValidity getIntervalOfValidity() const {
    if (m_runs.empty()) return {};
    return {m_runs.begin()->first, m_runs.begin()->second, m_runs.rbegin()->first, m_runs.rbegin()->second};
  }

private:
  void update() {
    std::ostringstream out;
    out << m_granularity << " ";
    for (const auto &run : m_runs) out << "(" << run.first << "," << run.second << ")";
    SetTitle(out.str().c_str());
  }
  void readTitle(const std::string &title) {
    m_granularity = title.substr(0, title.find(' '));
    for (size_t at = title.find('('); at != std::string::npos; at = title.find('(', at + 1)) {
      int exp, run;
      if (std::sscanf(title.c_str() + at, "(%d,%d)", &exp, &run) == 2) m_runs.insert({exp, run});
    }
    update();
  }

  std::set<Calibration::ExpRun> m_runs;
  std::string m_granularity = "run";
};

} // namespace Belle2
