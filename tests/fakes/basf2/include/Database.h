// Where constants come from and go to.
#pragma once

#include "IntervalOfValidity.h"

#include <TDirectory.h>
#include <TFile.h>
#include <TH1.h>
#include <TMD5.h>
#include <TObject.h>
#include <TROOT.h>
#include <TSystem.h>

#include <cstdio>
#include <fstream>
#include <list>
#include <sstream>
#include <string>
#include <vector>

namespace Belle2 {

// What the Python object `basf2.conditions` sets.
struct FakeConditions {
  static FakeConditions &Instance() {
    static FakeConditions conditions;
    return conditions;
  }
  std::vector<std::string> databases; // database.txt files, first hit wins
  std::string savePayloads = "localdb/database.txt";
};

class Database {
public:
  struct DBImportQuery {
    std::string name;
    TObject *object = nullptr;
    IntervalOfValidity iov;
  };

  static Database &Instance() {
    static Database database;
    return database;
  }

  bool storeData(std::list<DBImportQuery> &queries) {
    for (auto &query : queries)
      if (!store(query)) return false;
    return true;
  }
  bool storeData(const std::string &name, TObject *object, const IntervalOfValidity &iov) {
    return store({name, object, iov});
  }

  // The object that is valid for a run, or a null pointer. It belongs to the caller.
  TObject *getData(const std::string &name, int exp, int run) {
    for (const auto &path : FakeConditions::Instance().databases) {
      const std::string revision = find(path, name, exp, run);
      if (!revision.empty()) return read(folderOf(path) + "dbstore_" + name + "_rev_" + revision + ".root", name);
    }
    return nullptr;
  }

private:
  static std::string folderOf(const std::string &path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash + 1);
  }

  static bool store(const DBImportQuery &query) {
    TDirectory::TContext here; // opening a file changes the current folder of whoever called
    const std::string text = FakeConditions::Instance().savePayloads, folder = folderOf(text);
    if (!folder.empty()) gSystem->mkdir(folder.c_str(), true);
    // Several processes may write to one folder.
    const std::string draft = folder + "draft_" + query.name + "_" + std::to_string(gSystem->GetPid()) + ".root";
    TFile *file = TFile::Open(draft.c_str(), "RECREATE");
    if (!file || file->IsZombie()) return false;
    file->WriteTObject(query.object, query.name.c_str());
    file->Close();
    delete file;
    TMD5 *sum = TMD5::FileChecksum(draft.c_str());
    if (!sum) return false;
    const std::string revision = sum->AsString();
    delete sum;
    const std::string name = folder + "dbstore_" + query.name + "_rev_" + revision + ".root";
    if (std::rename(draft.c_str(), name.c_str()) != 0) return false;
    std::ofstream out(text, std::ios::app);
    out << "dbstore/" << query.name << " " << revision << " " << query.iov.text() << "\n";
    return bool(out);
  }

  static std::string find(const std::string &path, const std::string &name, int exp, int run) {
    std::ifstream in(path);
    std::string line, found;
    while (std::getline(in, line)) {
      std::istringstream words(line);
      std::string place, revision, iov;
      words >> place >> revision >> iov;
      int a, b, c, d;
      if (place != "dbstore/" + name || std::sscanf(iov.c_str(), "%d,%d,%d,%d", &a, &b, &c, &d) != 4) continue;
      if (IntervalOfValidity(a, b, c, d).contains(exp, run)) found = revision; // the last one counts
    }
    return found;
  }

  static TObject *read(const std::string &path, const std::string &name) {
    TDirectory::TContext here;
    TFile *file = TFile::Open(path.c_str());
    if (!file || file->IsZombie()) return nullptr;
    TObject *object = file->Get(name.c_str());
    gROOT->cd(); // else the copy would go with the file
    TObject *copy = object ? object->Clone() : nullptr;
    if (auto *histogram = dynamic_cast<TH1 *>(copy)) histogram->SetDirectory(nullptr);
    delete file;
    return copy;
  }
};

} // namespace Belle2
