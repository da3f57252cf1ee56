"""Describe histograms: the part in C++ of `describe_object` that is about axes and bins."""

from __future__ import annotations

HISTOGRAMS = r"""
// ---- histograms

std::string describe_edges(const TAxis *axis, const Description &to) {
  if (axis->GetXbins()->GetSize() == 0)
    return "[" + to.number(axis->GetXmin()) + ", " + to.number(axis->GetXmax()) + ")";
  std::string text = "edges";
  for (int bin = 1; bin <= axis->GetNbins() + 1; ++bin) text += " " + to.number(axis->GetBinLowEdge(bin));
  return text;
}

bool has_labels(const TAxis *axis) { return axis->GetLabels() && axis->GetLabels()->GetSize() > 0; }

// By bin. Of bins that have none, an empty one.
std::vector<std::string> list_labels(const TAxis *axis) {
  std::vector<std::string> labels;
  if (!axis->GetLabels()) return labels;
  for (TObject *each : *axis->GetLabels()) {
    if (each->GetUniqueID() >= labels.size()) labels.resize(each->GetUniqueID() + 1);
    labels[each->GetUniqueID()] = each->GetName();
  }
  return labels;
}

// An axis that grows, or has not got its range yet, is at home with every range.
bool is_free(const TAxis *axis) { return axis->CanExtend() || axis->GetXmin() >= axis->GetXmax(); }

void describe_axis(const TAxis *axis, const std::string &name, bool free, Description &to) {
  to.is(name + " bins", free ? "any" : std::to_string(axis->GetNbins()));
  to.is(name + " range", free ? "any" : describe_edges(axis, to));
  std::string labels;
  int bin = 0;
  for (const std::string &label : list_labels(axis)) {
    if (!label.empty()) labels += std::to_string(bin) + "=" + label + " ";
    ++bin;
  }
  to.is(name + " labels", free ? "any" : labels.empty() ? "none" : labels);
}

const char *kAxes[] = {"x axis", "y axis", "z axis"};

struct Cells {
  Sum total;
  std::vector<Sum> moments;
  double most = -std::numeric_limits<double>::infinity(), least = -most;
  bool whole = true, stuck = false;
  Cells(int axes) : moments(axes) {}
  void look(double value) {
    most = std::max(most, value);
    least = std::min(least, value);
    whole = whole && value == std::floor(value);
    stuck = stuck || std::fabs(value) == kFloatLimit;
  }
};

// The largest number that a cell of this type keeps; 0 for floating point numbers, -1 where there is no such limit.
double find_limit(TObject *item) {
  struct Kind { TClass *array; const char *number; double limit; };
  static const Kind kinds[] = {{TArrayD::Class(), "<double>", -1},         {TArrayF::Class(), "<float>", 0},
                               {TArrayI::Class(), "<int>", 2147483647},    {TArrayS::Class(), "<short>", 32767},
                               {TArrayC::Class(), "<char>", 127}};
  const bool many = item->InheritsFrom(THnBase::Class());
  const TString name = item->ClassName();
  for (const Kind &one : kinds)
    if (many ? name.Contains(one.array->GetName()) || name.Contains(one.number) : item->InheritsFrom(one.array))
      return one.limit;
  return 9223372036854775807.;
}

// What a cell holds may be less than what was put into it: told by a cell at its limit, or by the sum.
void blame_limit(TObject *item, double limit, const Cells &cells, double entries, double filled, Description &to) {
  if (limit < 0) return;
  const std::string type = item->ClassName();
  if (limit > 0 && std::max(cells.most, -cells.least) >= limit)
    to.blame("a bin has reached " + show(limit) + ", the most that a " + type + " keeps");
  else if (limit == 0 && cells.stuck && entries >= kFloatLimit)
    to.blame("a bin has reached 16777216, where a " + type + " stops to count");
  else if (cells.least >= 0 && filled > 0 && cells.total.value() < filled * (limit ? 1 : 1 - 1e-4) - (limit ? 0.5 : 0))
    to.blame("its bins hold " + show(cells.total.value(), "%.9g") + " of the " + show(filled, "%.9g") +
             " that was filled; a " + type + " did not keep the rest");
  else if (limit > 0 && std::isfinite(filled) && filled != std::floor(filled))
    to.blame("weights were filled that are no whole numbers; a " + type + " keeps none others");
}

const char *find_rule(double limit, const Cells &cells, bool counts) {
  return limit != 0 ? (limit < 0 ? "sum" : "total") : cells.whole && counts ? "total" : "float sum";
}

struct Inside : public TH1D {
  static double get_filled(TH1 *item) { return item->*(&Inside::fTsumw); }
};

void keep_labels(TH1 *histogram, const TArray &values, const char *rule, Description &to) {
  TAxis *axes[] = {histogram->GetXaxis(), histogram->GetYaxis(), histogram->GetZaxis()};
  for (int which = 0; which < histogram->GetDimension(); ++which) {
    int wanted = -1;
    for (const std::string &label : list_labels(axes[which])) {
      ++wanted;
      if (label.empty()) continue;
      Sum sum;
      for (int bin = 0, at[3]; bin < histogram->GetNcells(); ++bin) {
        histogram->GetBinXYZ(bin, at[0], at[1], at[2]);
        if (at[which] == wanted) sum.add(values.GetAt(bin));
      }
      to.keep(rule, std::string(kAxes[which]) + " label " + label, sum);
    }
  }
}

void keep_stats(TH1 *histogram, const Cells &cells, bool ordered, Description &to) {
  static const char *names[] = {"w", "w2", "wx", "wx2", "wy", "wy2", "wxy", "wz", "wz2", "wxz", "wyz", "wt", "wt2"};
  double stats[TH1::kNstat] = {0};
  histogram->GetStats(stats);
  // The sums were not kept while the bins were set, or ROOT cuts them to the range that is shown.
  bool lost = Inside::get_filled(histogram) == 0 && histogram->GetEntries() > 0;
  double reach = 1;
  for (auto axis : {histogram->GetXaxis(), histogram->GetYaxis(), histogram->GetZaxis()}) {
    lost = lost || axis->TestBit(TAxis::kAxisRange);
    reach = std::max({reach, std::fabs(axis->GetXmin()), std::fabs(axis->GetXmax())});
  }
  const int count = ordered ? 13 : 2;
  for (int number = 0; number < count; ++number)
    if (stats[number] != 0 || lost)
      to.keep(lost ? "unknown" : "sum", std::string("sum of ") + names[number], stats[number],
              std::fabs(stats[number]) + cells.total.size() * reach * reach);
}

template <class Values> void sum_cells(TH1 *histogram, const Values &values, Cells &cells) {
  const int axes = histogram->GetDimension(), nx = histogram->GetNbinsX() + 2;
  const int ny = axes > 1 ? histogram->GetNbinsY() + 2 : 1, nz = axes > 2 ? histogram->GetNbinsZ() + 2 : 1;
  for (int z = 0, bin = 0; z < nz; ++z) {
    Sum plane;
    for (int y = 0; y < ny; ++y) {
      Sum row;
      for (int x = 0; x < nx; ++x, ++bin) {
        const double value = values[bin];
        cells.look(value);
        if (value == 0) continue;
        row.add(value);
        cells.moments[0].add((long double)value * x);
      }
      plane.add(row, 1);
      cells.moments[1].add(row, y);
    }
    cells.total.add(plane, 1);
    cells.moments[2].add(plane, z);
  }
}

struct AnyValues {
  const TArray &values;
  double operator[](int bin) const { return values.GetAt(bin); }
};

void sum_cells(TH1 *histogram, Cells &cells) {
  if (auto doubles = dynamic_cast<TArrayD *>(histogram)) sum_cells(histogram, doubles->fArray, cells);
  else if (auto floats = dynamic_cast<TArrayF *>(histogram)) sum_cells(histogram, floats->fArray, cells);
  else sum_cells(histogram, AnyValues{dynamic_cast<TArray &>(*histogram)}, cells);
}

Sum sum_array(const TArrayD &array) {
  Sum sum;
  for (int number = 0; number < array.fN; ++number) sum.add(array.fArray[number]);
  return sum;
}

template <class Profile> bool describe_profile(TH1 *item, double least, double most, Description &to) {
  auto profile = static_cast<Profile *>(item);
  Sum entries;
  for (int bin = 0; bin < profile->GetNcells(); ++bin) entries.add(profile->GetBinEntries(bin));
  to.keep("sum", "sum of the bins' entries", entries);
  const TArrayD &squares = *profile->GetBinSumw2();
  to.keep("sum", "sum of the squared weights", squares.fN ? sum_array(squares) : entries);
  to.is("option of the errors", profile->GetErrorOption());
  to.is("limits of the values", to.number(least) + " to " + to.number(most));
  return true;
}

bool describe_any_profile(TH1 *item, Description &to) {
  if (auto one = dynamic_cast<TProfile *>(item))
    return describe_profile<TProfile>(item, one->GetYmin(), one->GetYmax(), to);
  if (auto two = dynamic_cast<TProfile2D *>(item))
    return describe_profile<TProfile2D>(item, two->GetZmin(), two->GetZmax(), to);
  if (auto three = dynamic_cast<TProfile3D *>(item))
    return describe_profile<TProfile3D>(item, three->GetTmin(), three->GetTmax(), to);
  return false;
}

void describe_functions(TList *functions, Description &to) {
  if (!functions) return;
  for (TObject *each : *functions)
    if (auto function = dynamic_cast<TF1 *>(each))
      to.is(std::string("function ") + function->GetName(), std::string(function->ClassName()) + " " +
            (function->GetFormula() ? function->GetExpFormula().Data() : "compiled"));
}

void keep_cells(TH1 *histogram, const TArray &values, bool ordered, Description &to) {
  Cells cells(3);
  sum_cells(histogram, cells);
  const bool profile = describe_any_profile(histogram, to);
  const TArrayD &squares = *histogram->GetSumw2();
  const Sum squared = sum_array(squares);
  const bool counts = !squares.fN || squared.value() == cells.total.value();
  const double limit = find_limit(histogram);
  const char *rule = find_rule(limit, cells, counts);
  to.keep(rule, profile ? "sum of weight times value" : "sum of the bins", cells.total);
  for (int axis = 0; ordered && axis < histogram->GetDimension(); ++axis)
    to.keep(rule, std::string("moment of the bins along the ") + kAxes[axis], cells.moments[axis]);
  if (!ordered) keep_labels(histogram, values, rule, to);
  to.keep(squares.fN ? "sum" : rule, "sum of the squared errors", squares.fN ? squared : cells.total);
  to.keep("largest", "squared errors kept", squares.fN > 0);
  keep_stats(histogram, cells, ordered, to);
  if (!profile) blame_limit(histogram, limit, cells, histogram->GetEntries(), Inside::get_filled(histogram), to);
}

void keep_polygons(TH2Poly *histogram, Description &to) {
  auto profile = dynamic_cast<TProfile2Poly *>(histogram);
  Sum sums[4];
  std::string outlines;
  for (TObject *each : *histogram->GetBins()) {
    auto bin = static_cast<TH2PolyBin *>(each);
    outlines += std::to_string(bin->GetBinNumber());
    for (double number : {bin->GetXMin(), bin->GetXMax(), bin->GetYMin(), bin->GetYMax(), bin->GetArea()})
      outlines += " " + to.number(number);
    outlines += "; ";
  }
  const int count = histogram->GetNumberOfBins();
  for (int bin = profile ? 1 : -9; bin <= count; ++bin) {
    if (bin == 0) continue;
    const double parts[] = {
        profile ? profile->GetBinEntries(bin) : histogram->GetBinContent(bin),
        profile ? profile->GetBinEntriesVW(bin) : histogram->GetBinError(bin) * histogram->GetBinError(bin),
        profile ? profile->GetBinEntriesW2(bin) : 0, profile ? profile->GetBinEntriesWV2(bin) : 0};
    for (int number = 0; number < 4; ++number) sums[number].add(parts[number]);
    if (bin > 0 && !profile) sums[2].add((long double)parts[0] * bin);
  }
  static const char *names[] = {"sum of the bins", "sum of the squared errors", "moment of the bins", "sum"};
  static const char *profile_names[] = {"sum of weights", "sum of weight times value", "sum of squared weights",
                                        "sum of weight times squared value"};
  to.is("polygons", outlines);
  for (int number = 0; number < (profile ? 4 : 3); ++number)
    to.keep("near sum", profile ? profile_names[number] : names[number], sums[number]);
}

void describe_histogram(TH1 *histogram, Description &to) {
  TAxis *axes[] = {histogram->GetXaxis(), histogram->GetYaxis(), histogram->GetZaxis()};
  bool ordered = true;
  for (int axis = 0; axis < histogram->GetDimension(); ++axis) {
    const bool free = is_free(axes[axis]) || histogram->TestBit(TH1::kAutoBinPTwo);
    describe_axis(axes[axis], kAxes[axis], free, to);
    ordered = ordered && !free;
  }
  const bool average = histogram->TestBit(TH1::kIsAverage);
  to.is("average", average ? "yes" : "no");
  if (average) to.refuse("ROOT adds up the bins of averages (TH1::kIsAverage)");
  describe_functions(histogram->GetListOfFunctions(), to);
  to.content = histogram->GetEntries();
  to.keep("sum", "entries", histogram->GetEntries());
  if (auto polygons = dynamic_cast<TH2Poly *>(histogram)) return keep_polygons(polygons, to);
  TH1 *flushed = histogram;
  if (histogram->GetBuffer() && histogram->GetBufferLength() > 0) {
    // The look must not decide the range of an object that is still to be added to others.
    TDirectory::TContext nowhere(nullptr);
    flushed = static_cast<TH1 *>(histogram->Clone());
    flushed->BufferEmpty(1);
  }
  auto values = dynamic_cast<TArray *>(flushed);
  if (values && !average) keep_cells(flushed, *values, ordered, to);
  if (flushed != histogram) delete flushed;
}

void describe_thn(THnBase *histogram, Description &to) {
  const int axes = histogram->GetNdimensions();
  const bool errors = histogram->GetCalculateErrors();
  to.is("dimensions", std::to_string(axes));
  bool ordered = true;
  for (int axis = 0; axis < axes; ++axis) {
    const bool free = is_free(histogram->GetAxis(axis));
    describe_axis(histogram->GetAxis(axis), "axis " + std::to_string(axis), free, to);
    ordered = ordered && !free;
  }
  describe_functions(histogram->GetListOfFunctions(), to);
  Cells cells(axes);
  Sum squared;
  std::vector<int> at(axes);
  for (Long64_t bin = 0; bin < histogram->GetNbins(); ++bin) {
    const double value = histogram->GetBinContent(bin, at.data());
    cells.look(value);
    cells.total.add(value);
    squared.add(errors ? histogram->GetBinError2(bin) : value);
    for (int axis = 0; axis < axes; ++axis) cells.moments[axis].add((long double)value * at[axis]);
  }
  const double limit = find_limit(histogram);
  const char *rule = find_rule(limit, cells, squared.value() == cells.total.value());
  const double entries = histogram->GetEntries();
  to.content = entries;
  to.keep("sum", "entries", entries);
  to.keep(rule, "sum of the bins", cells.total);
  to.keep(errors ? "sum" : rule, "sum of the squared errors", squared);
  to.keep("largest", "squared errors kept", errors);
  for (int axis = 0; ordered && axis < axes; ++axis)
    to.keep(rule, "moment of the bins along axis " + std::to_string(axis), cells.moments[axis]);
  blame_limit(histogram, limit, cells, entries, errors ? histogram->GetWeightSum() : 0, to);
  // Cells of whole numbers go round: what is missing then is a multiple of all the numbers that they have.
  const double missing = entries - cells.total.value(), turn = 2 * (limit + 1);
  if (limit > 0 && !errors && missing != 0 && std::fmod(missing, turn) == 0)
    to.blame("its bins hold " + show(cells.total.value(), "%.9g") + " of " + show(entries, "%.9g") +
             " entries; the numbers of a " + histogram->ClassName() + " went round");
}

"""
