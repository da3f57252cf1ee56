"""Describe histograms: the part in C++ of `describe_object` that is about axes and bins."""

from __future__ import annotations

HISTOGRAMS = r"""
// ---- histograms

void put_edges(const TAxis *axis, Description &to) {
  if (axis->GetXbins()->GetSize() == 0) {
    to.put("[");
    to.put(axis->GetXmin());
    to.put(", ");
    to.put(axis->GetXmax());
    to.put(")");
    return;
  }
  to.put("edges");
  for (int bin = 1; bin <= axis->GetNbins() + 1; ++bin) {
    to.put(" ");
    to.put(axis->GetBinLowEdge(bin));
  }
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

void describe_axis(const TAxis *axis, std::string_view name, bool free, Description &to) {
  to.start(name, " bins");
  free ? to.put("any") : to.put((double)axis->GetNbins());
  to.end();
  to.start(name, " range");
  free ? to.put("any") : put_edges(axis, to);
  to.end();
  to.start(name, " labels");
  int bin = 0;
  if (free) to.put("any");
  else if (!has_labels(axis)) to.put("none");
  else
    for (const std::string &label : list_labels(axis)) {
      if (!label.empty()) to.put(std::to_string(bin) + "=" + label + " ");
      ++bin;
    }
  to.end();
}

const char *kAxes[] = {"x axis", "y axis", "z axis"};

struct Cells {
  Sum total, moment;
  bool negative = false, whole = true, reached = false;
};

// The largest number that a cell of this type keeps; 0 for floating point numbers, -1 where there is no such limit.
double find_limit(TObject *item) {
  struct Kind { TClass *array; const char *number; double limit; };
  static const Kind kinds[] = {{TArrayD::Class(), "<double>", -1},         {TArrayF::Class(), "<float>", 0},
                               {TArrayI::Class(), "<int>", 2147483647},    {TArrayS::Class(), "<short>", 32767},
                               {TArrayC::Class(), "<char>", 127},          {nullptr, "", 9223372036854775807.}};
  static TExMap known;  // one more than the number of the kind
  const Long64_t type = (Long64_t)item->IsA();
  Long64_t kind = known.GetValue(type);
  if (kind) return kinds[kind - 1].limit;
  const bool many = item->InheritsFrom(THnBase::Class());
  const TString name = item->ClassName();
  const auto is = [&](const Kind &one) {
    return !one.array || (many ? name.Contains(one.array->GetName()) || name.Contains(one.number)
                               : item->InheritsFrom(one.array));
  };
  while (!is(kinds[kind])) ++kind;
  known.Add(type, kind + 1);
  return kinds[kind].limit;
}

bool is_reached(double limit, double value) {
  return limit > 0 ? std::fabs(value) >= limit : limit == 0 && std::fabs(value) == kFloatLimit;
}

// What a cell holds may be less than what was put into it: told by a cell at its limit, or by the sum.
void blame_limit(TObject *item, double limit, const Cells &cells, double entries, double filled, Description &to) {
  if (limit < 0) return;
  const std::string type = item->ClassName();
  const double total = cells.total.value;
  if (limit > 0 && cells.reached)
    to.blame("a bin has reached " + show(limit) + ", the most that a " + type + " keeps");
  else if (cells.reached && entries >= kFloatLimit)
    to.blame("a bin has reached 16777216, where a " + type + " stops to count");
  else if (!cells.negative && filled > 0 && total < filled * (limit ? 1 : 1 - 1e-4) - (limit ? 0.5 : 0))
    to.blame("its bins hold " + show(total, "%.9g") + " of the " + show(filled, "%.9g") + " that was filled; a " +
             type + " did not keep the rest");
  else if (limit > 0 && std::isfinite(filled) && filled != std::floor(filled))
    to.blame("weights were filled that are no whole numbers; a " + type + " keeps none others");
}

Rule find_rule(double limit, bool counts) { return limit < 0 ? kSum : limit > 0 || counts ? kTotal : kFloatSum; }

template <class Number>
void keep_labels(TH1 *histogram, const Number *values, Rule rule, Description &to) {
  TAxis *axes[] = {histogram->GetXaxis(), histogram->GetYaxis(), histogram->GetZaxis()};
  for (int which = 0; which < histogram->GetDimension(); ++which) {
    int wanted = -1;
    for (const std::string &label : list_labels(axes[which])) {
      ++wanted;
      if (label.empty()) continue;
      Sum sum;
      for (int bin = 0, at[3]; bin < histogram->GetNcells(); ++bin) {
        histogram->GetBinXYZ(bin, at[0], at[1], at[2]);
        if (at[which] == wanted) sum.add(values[bin]);
      }
      to.keep(rule, std::string(kAxes[which]) + " label " + label, sum);
    }
  }
}

void keep_stats(TH1 *histogram, double size, bool ordered, Description &to) {
  static const char *names[] = {"sum of w",   "sum of w2",  "sum of wx", "sum of wx2", "sum of wy",
                                "sum of wy2", "sum of wxy", "sum of wz", "sum of wz2", "sum of wxz",
                                "sum of wyz", "sum of wt",  "sum of wt2"};
  double stats[TH1::kNstat] = {0};
  Inside::get_stats(histogram, stats);
  // The sums were not kept while the bins were set, or ROOT cuts them to the range that is shown.
  bool lost = Inside::get_filled(histogram) == 0 && !Inside::cancels(histogram) && histogram->GetEntries() > 0;
  double reach = 1;
  for (auto axis : {histogram->GetXaxis(), histogram->GetYaxis(), histogram->GetZaxis()}) {
    lost = lost || axis->TestBit(TAxis::kAxisRange);
    reach = std::max({reach, std::fabs(axis->GetXmin()), std::fabs(axis->GetXmax())});
  }
  const int count = ordered ? 13 : 2;
  for (int number = 0; number < count; ++number)
    if (stats[number] != 0 || lost)
      to.keep(lost ? kUnknown : kSum, names[number], stats[number],
              std::fabs(stats[number]) + size * reach * reach);
}

// What a processor adds at once: that is much quicker here than one by one.
typedef double Lanes __attribute__((vector_size(32)));
template <class Number> struct Four {
  typedef Number Numbers __attribute__((vector_size(4 * sizeof(Number)), aligned(sizeof(Number))));
};

double sum_lanes(const Lanes &lanes) { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

bool is_whole(double value) { return value == std::floor(value); }

bool are_whole(const Lanes &lanes) {
  const Lanes beyond = lanes + 6755399441055744.;  // 1.5 · 2^52: no fraction is left
  const auto differ = beyond - 6755399441055744. != lanes;
  return !(differ[0] | differ[1] | differ[2] | differ[3]);
}

// Beyond, floats have no fractions at all, and round when they are added.
bool is_exact(double value) { return std::fabs(value) <= kFloatLimit; }

// Sum up values, and each times its place. A double takes up 60 of them, and three such sums: what that rounds, the
// comparison forgives. Where the sums of floats are whole numbers, so are the floats, or they have few digits and add
// up exactly, too.
template <class Number> Cells sum_cells(const Number *values, int count) {
  using Numbers = typename Four<Number>::Numbers;
  Cells cells;
  Number rest[244];
  for (int start = 0, end; start < count; start = end) {
    end = std::min(start + 240, count);
    const int size = (end - start + 3) / 4 * 4;
    const Number *block = values + start;
    if (size != end - start) {
      for (int at = 0; at < size; ++at) rest[at] = start + at < end ? block[at] : 0;
      block = rest;
    }
    Lanes sum{}, moment{}, least{}, place{start + 0., start + 1., start + 2., start + 3.};
    for (int at = 0; at < size; at += 4, place += 4.) {
      const Lanes four = __builtin_convertvector(*reinterpret_cast<const Numbers *>(block + at), Lanes);
      sum += four;
      moment += four * place;
      least = least < four ? least : four;
    }
    Lanes absolute = sum;
    if (sum_lanes(least) < 0) {
      absolute = Lanes{};
      for (int at = 0; at < size; at += 4) {
        const Lanes four = __builtin_convertvector(*reinterpret_cast<const Numbers *>(block + at), Lanes);
        absolute += four < 0. ? -four : four;
      }
    }
    cells.total.value += sum_lanes(sum);
    const double most = sum_lanes(absolute);
    cells.total.size += most;
    cells.moment.value += sum_lanes(moment);
    cells.moment.size += (long double)most * end;
    if (sizeof(Number) != sizeof(float)) continue;
    cells.whole = cells.whole && are_whole(sum) && are_whole(moment);
    for (int at = start; cells.whole && !is_exact(most) && at < end; ++at) cells.whole = is_exact(values[at]);
  }
  cells.negative = cells.total.value != cells.total.size;
  return cells;
}

Sum sum_array(const TArrayD &array) { return sum_cells(array.fArray, array.fN).total; }

template <class Profile> struct InsideProfile : public Profile {
  static const TArrayD &get_entries(Profile *item) { return item->*(&InsideProfile::fBinEntries); }
};

template <class Profile> bool describe_profile(TH1 *item, double least, double most, Description &to) {
  auto profile = static_cast<Profile *>(item);
  const Sum entries = sum_array(InsideProfile<Profile>::get_entries(profile));
  const TArrayD &squares = *profile->GetBinSumw2();
  to.keep(kSum, "sum of the bins' entries", entries);
  to.keep(kSum, "sum of the squared weights", squares.fN ? sum_array(squares) : entries);
  to.is("option of the errors", profile->GetErrorOption());
  to.is("least value", least);
  to.is("largest value", most);
  return true;
}

bool describe_any_profile(TH1 *item, Description &to) {
  const int axes = item->GetDimension();
  if (auto one = axes == 1 ? dynamic_cast<TProfile *>(item) : nullptr)
    return describe_profile<TProfile>(item, one->GetYmin(), one->GetYmax(), to);
  if (auto two = axes == 2 ? dynamic_cast<TProfile2D *>(item) : nullptr)
    return describe_profile<TProfile2D>(item, two->GetZmin(), two->GetZmax(), to);
  if (auto three = axes == 3 ? dynamic_cast<TProfile3D *>(item) : nullptr)
    return describe_profile<TProfile3D>(item, three->GetTmin(), three->GetTmax(), to);
  return false;
}

void describe_functions(TList *functions, Description &to) {
  if (!functions || functions->IsEmpty()) return;
  for (TObject *each : *functions)
    if (auto function = dynamic_cast<TF1 *>(each))
      to.is(std::string("function ") + function->GetName(), std::string(function->ClassName()) + " " +
            (function->GetFormula() ? function->GetExpFormula().Data() : "compiled"));
}

template <class Number> void keep_cells(TH1 *histogram, const Number *values, bool ordered, Description &to) {
  Cells cells = sum_cells(values, histogram->GetNcells());
  const double limit = find_limit(histogram);
  const bool profile = limit < 0 && describe_any_profile(histogram, to);
  const TArrayD &squares = *histogram->GetSumw2();
  const Sum squared = squares.fN ? sum_array(squares) : cells.total;
  Rule rule = find_rule(limit, cells.whole && squared.value == cells.total.value);
  to.keep(rule, profile ? "sum of weight times value" : "sum of the bins", cells.total);
  if (ordered) to.keep(rule, "moment of the bins", cells.moment);
  else keep_labels(histogram, values, rule, to);
  to.keep(squares.fN ? kSum : rule, "sum of the squared errors", squared);
  to.keep(kLargest, "squared errors kept", squares.fN > 0);
  keep_stats(histogram, cells.total.size, ordered, to);
  const double entries = histogram->GetEntries();
  const bool full = limit > 0 || entries >= kFloatLimit;
  for (int bin = 0; full && bin < histogram->GetNcells(); ++bin)
    cells.reached |= is_reached(limit, values[bin]);
  if (!profile) blame_limit(histogram, limit, cells, entries, Inside::get_filled(histogram), to);
}

void keep_polygons(TH2Poly *histogram, Description &to) {
  auto profile = dynamic_cast<TProfile2Poly *>(histogram);
  Sum sums[4];
  to.start("polygons");
  for (TObject *each : *histogram->GetBins()) {
    auto bin = static_cast<TH2PolyBin *>(each);
    to.put((double)bin->GetBinNumber());
    for (double number : {bin->GetXMin(), bin->GetXMax(), bin->GetYMin(), bin->GetYMax(), bin->GetArea()}) {
      to.put(" ");
      to.put(number);
    }
    to.put("; ");
  }
  to.end();
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
  for (int number = 0; number < (profile ? 4 : 3); ++number)
    to.keep(kNearSum, profile ? profile_names[number] : names[number], sums[number]);
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
  to.keep(kSum, "entries", histogram->GetEntries());
  auto polygons = histogram->GetDimension() == 2 ? dynamic_cast<TH2Poly *>(histogram) : nullptr;
  if (polygons) return keep_polygons(polygons, to);
  TH1 *flushed = histogram;
  if (histogram->GetBuffer() && histogram->GetBufferLength() > 0) {
    // The look must not decide the range of an object that is still to be added to others.
    TDirectory::TContext nowhere(nullptr);
    flushed = static_cast<TH1 *>(histogram->Clone());
    flushed->BufferEmpty(1);
  }
  auto values = average ? nullptr : dynamic_cast<TArray *>(flushed);
  const double limit = find_limit(histogram);
  if (values && limit < 0) keep_cells(flushed, static_cast<TArrayD *>(values)->fArray, ordered, to);
  else if (values && limit == 0) keep_cells(flushed, static_cast<TArrayF *>(values)->fArray, ordered, to);
  else if (values) {
    TArrayD copy(values->GetSize());
    for (int bin = 0; bin < copy.fN; ++bin) copy.fArray[bin] = values->GetAt(bin);
    keep_cells(flushed, copy.fArray, ordered, to);
  }
  if (flushed != histogram) delete flushed;
}

// Bins are in the order in which they were filled first: their place is a number made of the coordinates.
struct InsideSparse : public THnSparse {
  static void read(THnSparse *item, TArrayD &values, TArrayD &moments) {
    for (int bin = 0; bin < values.fN; ++bin) {
      THnSparseArrayChunk *chunk = (item->*(&InsideSparse::GetChunk))(bin / item->GetChunkSize());
      const int last = std::min<Long64_t>(values.fN, bin + item->GetChunkSize()) - 1;
      const char *next = chunk->fCoordinates;
      for (int first = bin; bin <= last; ++bin) {
        ULong64_t place = 0, word = 0;
        const char *end = next + chunk->fSingleCoordinateSize;
        for (; end - next >= 8; next += 8) {
          memcpy(&word, next, 8);
          place = (place ^ word) * 0x9E3779B97F4A7C15;
        }
        if (next < end) {
          memcpy(&word, next, end - next);
          place = (place ^ word) * 0x9E3779B97F4A7C15;
        }
        next = end;
        values.fArray[bin] = chunk->fContent->GetAt(bin - first);
        moments.fArray[bin] = values.fArray[bin] * (place >> 44);
      }
      bin = last;
    }
  }
};

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
  TArrayD values(histogram->GetNbins()), moments(values.fN), squares(errors ? values.fN : 0);
  auto sparse = dynamic_cast<THnSparse *>(histogram);
  if (sparse) InsideSparse::read(sparse, values, moments);
  for (int bin = 0; bin < values.fN && !sparse; ++bin) {
    values.fArray[bin] = histogram->GetBinContent(bin);
    moments.fArray[bin] = values.fArray[bin] * bin;
  }
  for (int bin = 0; bin < squares.fN; ++bin) squares.fArray[bin] = histogram->GetBinError2(bin);
  Cells cells = sum_cells(values.fArray, values.fN);
  const Sum squared = errors ? sum_array(squares) : cells.total;
  const double limit = find_limit(histogram);
  for (int bin = 0; bin < values.fN && limit >= 0; ++bin) {
    cells.whole &= is_whole(values.fArray[bin]) && is_exact(values.fArray[bin]);
    cells.reached |= is_reached(limit, values.fArray[bin]);
  }
  Rule rule = find_rule(limit, cells.whole && squared.value == cells.total.value);
  const double entries = histogram->GetEntries();
  to.content = entries;
  to.keep(kSum, "entries", entries);
  to.keep(rule, "sum of the bins", cells.total);
  to.keep(errors ? kSum : rule, "sum of the squared errors", squared);
  to.keep(kLargest, "squared errors kept", errors);
  if (ordered) to.keep(rule, "moment of the bins", sum_array(moments));
  blame_limit(histogram, limit, cells, entries, errors ? histogram->GetWeightSum() : 0, to);
  // Cells of whole numbers go round: what is missing then is a multiple of all the numbers that they have.
  const double missing = entries - cells.total.value, turn = 2 * (limit + 1);
  if (limit > 0 && !errors && missing != 0 && std::fmod(missing, turn) == 0)
    to.blame("its bins hold " + show(cells.total.value, "%.9g") + " of " + show(entries, "%.9g") +
             " entries; the numbers of a " + histogram->ClassName() + " went round");
}

"""
