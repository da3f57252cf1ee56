// The base class of calibration algorithms.
#pragma once

#include "Database.h"

#include <TDirectory.h>
#include <TH1.h>
#include <TNamed.h>
#include <TROOT.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

namespace Belle2 {

class CalibrationAlgorithm {
public:
  enum EResult { c_OK, c_Iterate, c_NotEnoughData, c_Failure, c_Undefined };
  typedef Calibration::ExpRun ExpRun;

  explicit CalibrationAlgorithm(const std::string &collectorName) : m_collector(collectorName), m_prefix(collectorName) {}
  virtual ~CalibrationAlgorithm() {}

  void setInputFileNames(std::vector<std::string> names) { m_files = names; }
  std::vector<std::string> getInputFileNames() const { return m_files; }
  std::vector<std::string> getVecInputFileNames() const { return m_files; }
  std::string getCollectorName() const { return m_collector; }
  std::string getPrefix() const { return m_prefix; }
  void setPrefix(const std::string &prefix) { m_prefix = prefix; }
  std::string getDescription() const { return m_description; }
  void setDescription(const std::string &text) { m_description = text; }

  // All runs that were collected, sorted.
  std::vector<ExpRun> getRunListFromAllData() const {
    std::set<ExpRun> runs;
    for (const auto &path : m_files) {
      const std::string title = readRunRange(path);
      for (size_t at = title.find('('); at != std::string::npos; at = title.find('(', at + 1)) {
        int exp, run;
        if (std::sscanf(title.c_str() + at, "(%d,%d)", &exp, &run) == 2) runs.insert({exp, run});
      }
    }
    return {runs.begin(), runs.end()};
  }
  IntervalOfValidity getIovFromAllData() const { return span(getRunListFromAllData()); }
  std::string getGranularityFromData() const {
    return m_files.empty() ? "run" : readRunRange(m_files[0]).substr(0, 3) == "all" ? "all" : "run";
  }
  std::string getGranularity() const { return getGranularityFromData(); }

  EResult execute(std::vector<ExpRun> runs = {}, int iteration = 0, IntervalOfValidity iov = IntervalOfValidity()) {
    m_payloads.clear();
    m_output.clear();
    m_runs = runs.empty() ? getRunListFromAllData() : runs;
    if (m_runs.empty()) return c_Failure;
    m_iteration = iteration;
    m_iov = iov.unspecified() ? span(m_runs) : iov;
    return calibrate();
  }

  std::vector<ExpRun> getRunList() const { return m_runs; }
  int getIteration() const { return m_iteration; }
  IntervalOfValidity getIov() const { return m_iov; }
  std::list<Database::DBImportQuery> &getPayloads() { return m_payloads; }
  std::list<Database::DBImportQuery> getPayloadValues() { return m_payloads; }
  bool commit() { return commit(m_payloads); }
  bool commit(std::list<Database::DBImportQuery> payloads) {
    return !payloads.empty() && Database::Instance().storeData(payloads);
  }

  std::vector<ExpRun> findPayloadBoundaries(std::vector<ExpRun> runs, int iteration = 0) {
    if (runs.empty()) runs = getRunListFromAllData();
    boundaryFindingSetup(runs, iteration);
    std::vector<ExpRun> found;
    for (const auto &run : runs) {
      m_runs = {run};
      if (isBoundaryRequired(run)) found.push_back(run);
    }
    boundaryFindingTearDown();
    return found;
  }

  std::string dumpOutputJson() const {
    std::string text = "{";
    for (const auto &[key, value] : m_output) text += (text.size() > 1 ? ", \"" : "\"") + key + "\": " + value;
    return text + "}";
  }
  std::string dumpInputJson() const { return m_input; }
  bool loadInputJson(const std::string &text) {
    if (text.size() < 2 || text.front() != '{' || text.back() != '}') return false;
    m_input = text;
    return true;
  }

protected:
  virtual EResult calibrate() = 0;
  virtual bool isBoundaryRequired(const ExpRun &) { return false; }
  virtual void boundaryFindingSetup(std::vector<ExpRun>, int) {}
  virtual void boundaryFindingTearDown() {}

  void setOutputJsonValue(const std::string &key, double value) {
    std::ostringstream out;
    out.precision(17);
    out << value;
    m_output[key] = out.str();
  }
  bool inputJsonKeyExists(const std::string &key) const { return m_input.find("\"" + key + "\":") != std::string::npos; }
  double getInputJsonValue(const std::string &key) const {
    return std::strtod(m_input.c_str() + m_input.find("\"" + key + "\":") + key.size() + 3, nullptr);
  }

  void saveCalibration(TObject *object, const std::string &name) { saveCalibration(object, name, m_iov); }
  void saveCalibration(TObject *object, const std::string &name, const IntervalOfValidity &iov) {
    m_payloads.push_back({name, object, iov});
  }

  // An object merged over runs and files; it belongs to the caller. A null pointer where nothing was collected.
  std::unique_ptr<TH1> getHistogram(const std::string &name, const std::vector<ExpRun> &runs) const {
    std::unique_ptr<TH1> merged;
    for (const auto &path : m_files) {
      std::unique_ptr<TFile> file(TFile::Open(path.c_str()));
      if (!file || file->IsZombie()) continue;
      for (const auto &key : listKeys(name, runs)) {
        auto *found = file->Get<TH1>((m_prefix + "/" + name + "/" + key).c_str());
        if (!found) continue;
        if (merged) {
          merged->Add(found);
        } else {
          merged.reset(static_cast<TH1 *>(found->Clone(name.c_str())));
          merged->SetDirectory(nullptr);
        }
      }
      gROOT->cd();
    }
    return merged;
  }

private:
  std::vector<std::string> listKeys(const std::string &name, const std::vector<ExpRun> &runs) const {
    if (getGranularityFromData() == "all") return {name + "_-1.-1"};
    std::vector<std::string> keys;
    for (const auto &run : runs) keys.push_back(name + "_" + std::to_string(run.first) + "." + std::to_string(run.second));
    return keys;
  }
  static IntervalOfValidity span(const std::vector<ExpRun> &runs) {
    if (runs.empty()) return {};
    return {runs.front().first, runs.front().second, runs.back().first, runs.back().second};
  }
  std::string readRunRange(const std::string &path) const {
    std::unique_ptr<TFile> file(TFile::Open(path.c_str()));
    if (!file || file->IsZombie()) return "";
    auto *range = file->Get<TNamed>((m_prefix + "/RunRange").c_str());
    const std::string title = range ? range->GetTitle() : "";
    gROOT->cd();
    return title;
  }

  std::string m_collector, m_prefix, m_description, m_input = "{}";
  std::vector<std::string> m_files;
  std::vector<ExpRun> m_runs;
  int m_iteration = 0;
  IntervalOfValidity m_iov;
  std::list<Database::DBImportQuery> m_payloads;
  std::map<std::string, std::string> m_output;
};

} // namespace Belle2
