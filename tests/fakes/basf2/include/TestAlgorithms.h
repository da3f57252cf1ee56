// Algorithms for tests.
#pragma once

#include "CalibrationAlgorithm.h"

#include <TParameter.h>

namespace Belle2 {

// The mean of the collected histogram.
class TestCalibrationAlgorithm : public CalibrationAlgorithm {
public:
  class Results {
  public:
    Results(double mean = 0, double error = 0, double entries = 0) : m_mean(mean), m_error(error), m_entries(entries) {}
    Results(const Results &) = default;
    double getMean() const { return m_mean; }
    double getMeanError() const { return m_error; }
    double getEntries() const { return m_entries; }

  private:
    double m_mean, m_error, m_entries;
  };

  TestCalibrationAlgorithm() : CalibrationAlgorithm("CaTest") {}
  void setMinEntries(int entries) { m_minEntries = entries; }
  void setIterations(int iterations) { m_iterations = iterations; }
  void setAwfulCalibration(bool awful) { m_awful = awful; }
  void setPayloadName(const std::string &name) { m_name = name; }
  double getMean() const { return m_results.getMean(); }
  double getMeanError() const { return m_results.getMeanError(); }
  double getEntries() const { return m_results.getEntries(); }
  Results getResults() const { return m_results; }

protected:
  EResult calibrate() override {
    if (m_awful) return c_Failure;
    auto histogram = getObjectPtr<TH1>("MyHisto", getRunList());
    double offset = 0;
    if (inputJsonKeyExists("offset")) offset = getInputJsonValue("offset");
    m_results = histogram ? Results(histogram->GetMean() + offset, histogram->GetMeanError(), histogram->GetSumOfWeights())
                          : Results();
    const double mean = getMean();
    setOutputJsonValue("mean", mean);
    setOutputJsonValue("entries", getEntries());
    if (getEntries() < m_minEntries) return c_NotEnoughData;
    saveCalibration(new TParameter<double>(m_name.c_str(), mean), m_name);
    return getIteration() < m_iterations ? c_Iterate : c_OK;
  }

private:
  int m_minEntries = 1, m_iterations = 0;
  bool m_awful = false;
  std::string m_name = "TestCalibMean";
  Results m_results;
};

// The same, with boundaries that were set.
class TestBoundarySettingAlgorithm : public CalibrationAlgorithm {
public:
  TestBoundarySettingAlgorithm() : CalibrationAlgorithm("CaTest") {}
  void setBoundaries(const std::vector<ExpRun> &boundaries) { m_boundaries = {boundaries.begin(), boundaries.end()}; }

protected:
  EResult calibrate() override {
    auto histogram = getObjectPtr<TH1>("MyHisto", getRunList());
    if (!histogram || histogram->GetSumOfWeights() < 1) return c_NotEnoughData;
    saveCalibration(new TParameter<double>("TestBoundaryMean", histogram->GetMean()), "TestBoundaryMean");
    return c_OK;
  }
  bool isBoundaryRequired(const ExpRun &run) override {
    const bool first = m_isFirst;
    m_isFirst = false;
    return first || m_boundaries.count(run);
  }
  void boundaryFindingSetup(std::vector<ExpRun>, int) override { m_isFirst = true; }

private:
  std::set<ExpRun> m_boundaries;
  bool m_isFirst = true;
};

// One more than the constant of the algorithm before.
class ChainAlgorithm : public CalibrationAlgorithm {
public:
  ChainAlgorithm() : CalibrationAlgorithm("CaTest") {}
  void setNames(const std::string &name, const std::string &previous) {
    m_name = name;
    m_previous = previous;
  }

protected:
  EResult calibrate() override {
    double value = 0;
    if (!m_previous.empty()) {
      const ExpRun run = getRunList().front();
      std::unique_ptr<TObject> found(Database::Instance().getData(m_previous, run.first, run.second));
      auto *number = dynamic_cast<TParameter<double> *>(found.get());
      if (!number) return c_Failure;
      value = number->GetVal();
    }
    saveCalibration(new TParameter<double>(m_name.c_str(), value + 1), m_name);
    return c_OK;
  }

private:
  std::string m_name = "TestChain", m_previous;
};

} // namespace Belle2
