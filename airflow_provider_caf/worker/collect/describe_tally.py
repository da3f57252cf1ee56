"""Add up what is said of objects: the part in C++ of `describe_object` that compares forms and sums up quantities.

Text is made only of what differs, and where a tally goes to another process: of most objects nothing is said at all.
"""

from __future__ import annotations

TALLY = r"""
// What was added so far under one name.
class Tally {
  std::vector<std::string> forms;  // of what came here as an object: many have one of few
  std::vector<std::string> texts, sources;  // the forms as text, and where they were met first
  std::vector<Quantity> totals;
  std::string alone;
  size_t next = 0;

  Quantity *find(const char *name) {
    // Objects that are alike say the same, one after the other.
    for (size_t tried = 0; tried < totals.size(); ++tried) {
      if (next >= totals.size()) next = 0;
      const char *found = totals[next++].name;
      if (found == name || !strcmp(found, name)) return &totals[next - 1];
    }
    return nullptr;
  }

  static bool has(const std::vector<std::string> &texts, const std::string &text) {
    for (const std::string &one : texts)
      if (one == text) return true;
    return false;
  }

  bool has_form(const std::string &form) {
    if (has(forms, form)) return true;
    forms.push_back(form);
    return has(texts, render(form));
  }

  void add_form(const std::string &text, const std::string &source) {
    texts.push_back(text);
    sources.push_back(source);
  }

  void add_totals(const std::string &text) {
    for (size_t start = 0; start < text.size();) {
      const size_t middle = text.find('\t', start), end = text.find('\t', middle + 1);
      char *next = nullptr;
      const double value = std::strtod(text.c_str() + end + 1, &next), size = std::strtod(next + 1, &next);
      for (int number = kTotal; number <= kLast; ++number)
        if (text.compare(start, middle - start, kRules[number]) == 0)
          add({(Rule)number, keep_name(text.substr(middle + 1, end - middle - 1)), value, size});
      start = next + 1 - text.c_str();
    }
  }

  // Until the next is looked at.
  static const Description &look_at(TObject *item) {
    static Description now;
    now.clear();
    describe_whole(item, now);
    return now;
  }

public:
  int count = 0;
  bool known = true;

  // Count an object in. Gives its description if it has another form than the first or something is wrong.
  std::string add(TObject *item, const std::string &source) {
    const Description &now = look_at(item);
    const bool is_first = texts.empty(), fits = has_form(now.form);
    if (!fits) add_form(render(now.form), source);
    if (alone.empty()) alone = now.alone;
    for (const Quantity &one : now.sums) add(one);
    known = known && now.known;
    ++count;
    return (is_first || (fits && alone.empty())) && now.faults.empty() ? "" : now.text();
  }

  // Count a quantity in.
  void add(const Quantity &one) {
    Quantity *total = find(one.name);
    if (!total) {
      totals.push_back(one);
      next = 0;
      return;
    }
    double &sum = total->value;
    if (one.rule == kLargest) sum = std::max(sum, one.value);
    else if (one.rule == kSmallest) sum = std::min(sum, one.value);
    else if (one.rule == kProduct || one.rule == kFloatProduct) sum *= one.value;
    else if (one.rule == kLast) sum = one.value;
    else if (one.rule != kFirst) {
      sum += one.value;
      total->size += one.size;
      total->rule = std::max(total->rule, one.rule);
      return;
    }
    total->size = std::max(total->size, one.size);
  }

  // What `add_text` counts in elsewhere: totals, count, whether all is known, why it has to be alone, forms.
  std::string text() const {
    std::string text;
    for (const Quantity &one : totals) text += one.text();
    return text + '\x1d' + std::to_string(count) + '\x1d' + (known ? "1" : "0") + '\x1d' + alone + '\x1d' + get_forms();
  }

  // Count in what another one has. Gives its forms that are new, if there was one before.
  std::string add_text(const std::string &text) {
    std::string parts[5], news;
    size_t start = 0;
    for (std::string &part : parts) {
      const size_t end = text.find('\x1d', start);
      part = text.substr(start, end - start);
      start = end + 1;
    }
    add_totals(parts[0]);
    count += std::stoi(parts[1]);
    known = known && parts[2] == "1";
    if (alone.empty()) alone = parts[3];
    for (size_t start = 0; start < parts[4].size();) {
      const size_t middle = parts[4].find('\x1f', start), end = parts[4].find('\x1e', middle);
      const std::string form = parts[4].substr(middle + 1, end - middle - 1);
      if (!has(texts, form)) {
        if (!texts.empty()) news += parts[4].substr(start, end + 1 - start);
        add_form(form, parts[4].substr(start, middle - start));
      }
      start = end + 1;
    }
    return news;
  }

  // Compare with what was made of all. Gives its description, if that is new or says that something is wrong, and the
  // quantities that differ: as they should be and as they are. Nothing if all is well.
  std::string check(TObject *item) {
    Tally result;
    const Description &now = look_at(item);
    for (const Quantity &one : now.sums) result.add(one);
    std::string said = has_form(now.form) && now.faults.empty() ? "" : now.text(), different;
    for (const Quantity &one : totals) {
      const Quantity *found = result.find(one.name);
      // Rounding that no rule calls a loss is not worth a word: there is some in every sum of weights.
      const bool rounds = one.rule == kSum || one.rule == kFloatSum || one.rule == kNearSum;
      if (found && rounds && std::fabs(found->value - one.value) <= std::ldexp(one.size, -46)) continue;
      if (!found || found->value != one.value)
        different += one.text() + (found ? *found : Quantity{one.rule, one.name, 0, 0}).text();
    }
    return said.empty() && different.empty() ? "" : said + '\x1e' + different;
  }

  const std::string &get_alone() const { return alone; }

  // The forms that differ, each behind the place where it was met first.
  std::string get_forms() const {
    std::string text;
    for (size_t number = 0; number < texts.size(); ++number) text += sources[number] + '\x1f' + texts[number] + '\x1e';
    return text;
  }
};

}  // namespace airflow_provider_caf
"""
