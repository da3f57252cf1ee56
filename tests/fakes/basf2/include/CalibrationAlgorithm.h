// The base class of calibration algorithms.
#pragma once

#include "Database.h"
#include "Json.h"

#include <TChain.h>
#include <TClass.h>
#include <TList.h>
#include <TTree.h>

#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <type_traits>

namespace Belle2 {

class CalibrationAlgorithm {
public:
  enum EResult { c_OK, c_Iterate, c_NotEnoughData, c_Failure, c_Undefined };
  typedef Calibration::ExpRun ExpRun;

  explicit CalibrationAlgorithm(const std::string &collectorName) : m_collector(collectorName), m_prefix(collectorName) {}
  virtual ~CalibrationAlgorithm() {}

  // What Python's setInputFileNames has found: files that are there, each once, sorted.
  void setFoundFiles(std::vector<std::string> files) {
    m_files = files;
    m_granularity = getGranularityFromData();
  }
  bool hasRunRange(const std::string &path) const {
    TDirectory::TContext here;
    std::unique_ptr<TFile> file(TFile::Open(path.c_str()));
    return file && !file->IsZombie() && file->GetKey(m_prefix.c_str()) && file->GetDirectory(m_prefix.c_str())->GetKey("RunRange");
  }
  std::vector<std::string> getInputFileNames() const { return m_files; }
  std::vector<std::string> getVecInputFileNames() const { return m_files; }
  std::string getCollectorName() const { return m_collector; }
  std::string getPrefix() const { return m_prefix; }
  void setPrefix(const std::string &prefix) { m_prefix = prefix; }
  std::string getDescription() const { return m_description; }
  void setDescription(const std::string &text) { m_description = text; }

  // All runs that were collected, sorted.
  std::vector<ExpRun> getRunListFromAllData() const {
    const auto runs = getRunRangeFromAllData().getExpRunSet();
    return {runs.begin(), runs.end()};
  }
  RunRange getRunRangeFromAllData() const {
    RunRange all;
    all.setGranularity(getGranularityFromData());
    for (const auto &path : m_files) all.merge(readRunRange(path));
    return all;
  }
  IntervalOfValidity getIovFromAllData() const { return span(getRunListFromAllData()); }
  std::string getGranularityFromData() const { return m_files.empty() ? "run" : readRunRange(m_files[0]).getGranularity(); }
  // That of the first file when the files were set.
  std::string getGranularity() const { return m_granularity; }

  EResult execute(std::vector<ExpRun> runs = {}, int iteration = 0, IntervalOfValidity iov = IntervalOfValidity()) {
    m_payloads.clear();
    m_output.clear();
    m_runs = runs.empty() ? getRunListFromAllData() : runs;
    if (m_runs.empty()) return c_Failure;
    m_iteration = iteration;
    m_iov = iov.empty() ? span(m_runs) : iov;
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
    m_iteration = iteration;
    boundaryFindingSetup(runs, iteration);
    std::vector<ExpRun> found;
    for (const auto &run : runs) {
      m_runs = {run};
      if (isBoundaryRequired(run)) found.push_back(run);
    }
    boundaryFindingTearDown();
    m_runs.clear();
    return found;
  }

  std::string dumpOutputJson() const {
    std::string text = "{";
    for (const auto &[key, value] : m_output) text += (text.size() > 1 ? ", " : "") + FakeJson::write(key) + ": " + value;
    return text + "}";
  }
  void clearOutputJson() { m_output.clear(); }
  std::string dumpInputJson() const { return m_input; }
  bool loadInputJson(const std::string &text) {
    std::map<std::string, std::string> values;
    if (!FakeJson::Reader(text).read(values)) return false;
    m_input = text;
    m_inputValues = values;
    return true;
  }

protected:
  virtual EResult calibrate() = 0;
  virtual bool isBoundaryRequired(const ExpRun &) { return false; }
  virtual void boundaryFindingSetup(std::vector<ExpRun>, int) {}
  virtual void boundaryFindingTearDown() {}

  template <class T> void setOutputJsonValue(const std::string &key, const T &value) { m_output[key] = FakeJson::write(value); }
  bool inputJsonKeyExists(const std::string &key) const { return m_inputValues.count(key); }
  FakeJson::Value getInputJsonValue(const std::string &key) const { return FakeJson::Value(m_inputValues.at(key)); }

  void saveCalibration(TObject *object, const std::string &name) { saveCalibration(object, name, m_iov); }
  void saveCalibration(TObject *object, const std::string &name, const IntervalOfValidity &iov) {
    m_payloads.push_back({name, object, iov});
  }

  // What was collected under a name, merged over runs and files. A null pointer where nothing was.
  template <class T> std::shared_ptr<T> getObjectPtr(const std::string &name) const { return getObjectPtr<T>(name, m_runs); }
  template <class T> std::shared_ptr<T> getObjectPtr(const std::string &name, const std::vector<ExpRun> &runs) const {
    TDirectory::TContext here;
    std::shared_ptr<T> merged;
    const auto keys = listKeys(name, runs);
    for (const auto &path : m_files) {
      std::unique_ptr<TFile> file(TFile::Open(path.c_str()));
      if (!file || file->IsZombie()) throw std::runtime_error("Couldn't open input file " + path);
      for (const auto &key : keys) {
        auto *found = file->Get<T>(key.c_str());
        if (found) merge(merged, found, name, path + "?#" + key);
      }
    }
    return merged;
  }

private:
  template <class T> static void merge(std::shared_ptr<T> &merged, T *found, const std::string &name, const std::string &place) {
    gROOT->cd();
    if constexpr (std::is_same_v<T, TTree>) {
      // Trees stay where they are.
      if (!merged) merged = std::make_shared<TChain>(name.c_str());
      static_cast<TChain *>(merged.get())->Add(place.c_str());
    } else if (!merged) {
      merged.reset(static_cast<T *>(found->Clone(name.c_str())));
      if constexpr (std::is_base_of_v<TH1, T>) merged->SetDirectory(nullptr);
    } else {
      TList others;
      others.Add(found);
      auto function = found->IsA()->GetMerge();
      if (!function) throw std::runtime_error(std::string(found->ClassName()) + " cannot be merged");
      function(merged.get(), &others, nullptr);
    }
  }
  std::vector<std::string> listKeys(const std::string &name, const std::vector<ExpRun> &runs) const {
    const std::string front = m_prefix + "/" + name + "/" + name + "_";
    if (getGranularity() == "all") return {front + "-1.-1"};
    std::vector<std::string> keys;
    for (const auto &run : runs) keys.push_back(front + std::to_string(run.first) + "." + std::to_string(run.second));
    return keys;
  }
  static IntervalOfValidity span(const std::vector<ExpRun> &runs) {
    if (runs.empty()) return {};
    return {runs.front().first, runs.front().second, runs.back().first, runs.back().second};
  }
  RunRange readRunRange(const std::string &path) const {
    TDirectory::TContext here;
    std::unique_ptr<TFile> file(TFile::Open(path.c_str()));
    if (!file || file->IsZombie()) return {};
    std::unique_ptr<TNamed> range(file->Get<TNamed>((m_prefix + "/RunRange").c_str()));
    return range ? RunRange(*range) : RunRange();
  }

  std::string m_collector, m_prefix, m_description, m_input = "{}";
  std::vector<std::string> m_files;
  std::string m_granularity = "run";
  std::vector<ExpRun> m_runs;
  int m_iteration = 0;
  IntervalOfValidity m_iov;
  std::list<Database::DBImportQuery> m_payloads;
  std::map<std::string, std::string> m_output, m_inputValues;
};

} // namespace Belle2
