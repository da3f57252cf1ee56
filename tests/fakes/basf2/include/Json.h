// The little of JSON that algorithms need: ROOT compiles this faster than a whole library.
#pragma once

#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace Belle2 {
namespace FakeJson {

inline std::string write(double value) {
  if (!std::isfinite(value)) return "null";
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}
inline std::string write(int value) { return std::to_string(value); }
inline std::string write(long value) { return std::to_string(value); }
inline std::string write(unsigned long value) { return std::to_string(value); }
inline std::string write(bool value) { return value ? "true" : "false"; }
inline std::string write(const std::string &text) {
  std::string out = "\"";
  for (const char letter : text) {
    const unsigned char code = letter;
    if (code == '"' || code == '\\') out += '\\';
    if (code >= 0x20) {
      out += letter;
    } else {
      const char *digits = "0123456789abcdef";
      out += std::string("\\u00") + digits[code / 16] + digits[code % 16];
    }
  }
  return out + "\"";
}
inline std::string write(const char *text) { return write(std::string(text)); }
template <class T> std::string write(const std::vector<T> &values) {
  std::string out = "[";
  for (const auto &value : values) out += (out.size() > 1 ? ", " : "") + write(static_cast<T>(value));
  return out + "]";
}

// Goes through a text once. What stands under the keys of the outermost object is kept as texts.
class Reader {
public:
  explicit Reader(const std::string &text) : m_text(text) {}

  // False if the text is no JSON.
  bool read(std::map<std::string, std::string> &values) {
    skipBlanks();
    const bool good = peek() == '{' ? readObject(&values) : readValue();
    skipBlanks();
    return good && m_at == m_text.size();
  }
  bool readString(std::string &out) {
    if (!take('"')) return false;
    while (m_at < m_text.size()) {
      const char letter = m_text[m_at++];
      if (letter == '"') return true;
      if (static_cast<unsigned char>(letter) < 0x20) return false;
      if (letter != '\\') {
        out += letter;
      } else if (!readEscape(out)) {
        return false;
      }
    }
    return false;
  }

private:
  char peek() const { return m_at < m_text.size() ? m_text[m_at] : '\0'; }
  bool take(char letter) {
    if (peek() != letter) return false;
    ++m_at;
    return true;
  }
  void skipBlanks() {
    while (m_at < m_text.size() && std::string(" \t\r\n").find(m_text[m_at]) != std::string::npos) ++m_at;
  }
  bool readWord(const std::string &word) {
    if (m_text.compare(m_at, word.size(), word) != 0) return false;
    m_at += word.size();
    return true;
  }
  bool readNumber() {
    const size_t end = std::min(m_text.find_first_not_of("+-.eE0123456789", m_at), m_text.size());
    const std::string word = m_text.substr(m_at, end - m_at);
    const size_t digit = word.size() > 1 && word[0] == '-' ? 1 : 0;
    if (word.empty() || word[digit] < '0' || word[digit] > '9') return false;
    char *rest = nullptr;
    std::strtod(word.c_str(), &rest);
    m_at = end;
    return *rest == '\0';
  }
  bool readValue() {
    skipBlanks();
    std::string text;
    switch (peek()) {
      case '{': return readObject(nullptr);
      case '[': return readList();
      case '"': return readString(text);
      case 't': return readWord("true");
      case 'f': return readWord("false");
      case 'n': return readWord("null");
      default: return readNumber();
    }
  }
  bool readList() {
    take('[');
    skipBlanks();
    if (take(']')) return true;
    do {
      if (!readValue()) return false;
      skipBlanks();
    } while (take(','));
    return take(']');
  }
  bool readObject(std::map<std::string, std::string> *values) {
    take('{');
    skipBlanks();
    if (take('}')) return true;
    do {
      std::string key;
      skipBlanks();
      if (!readString(key)) return false;
      skipBlanks();
      if (!take(':')) return false;
      skipBlanks();
      const size_t begin = m_at;
      if (!readValue()) return false;
      if (values) (*values)[key] = m_text.substr(begin, m_at - begin);
      skipBlanks();
    } while (take(','));
    return take('}');
  }
  bool readEscape(std::string &out) {
    static const std::string letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char letter = peek();
    ++m_at;
    if (letter == 'u') return readCode(out);
    const size_t found = letter ? letters.find(letter) : std::string::npos;
    if (found == std::string::npos) return false;
    out += meanings[found];
    return true;
  }
  bool readCode(std::string &out) {
    if (m_at + 4 > m_text.size()) return false;
    char *rest = nullptr;
    const std::string digits = m_text.substr(m_at, 4);
    const unsigned long code = std::strtoul(digits.c_str(), &rest, 16);
    if (*rest != '\0') return false;
    m_at += 4;
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | (code >> 6));
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      out += static_cast<char>(0xE0 | (code >> 12));
      out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
    return true;
  }

  std::string m_text;
  size_t m_at = 0;
};

// A value that was read; it becomes what it is assigned to.
class Value {
public:
  explicit Value(const std::string &text) : m_text(text) {}
  const std::string &dump() const { return m_text; }
  operator double() const { return m_text == "true" ? 1 : std::strtod(m_text.c_str(), nullptr); }
  operator std::string() const {
    std::string out;
    return Reader(m_text).readString(out) ? out : m_text;
  }

private:
  std::string m_text;
};

} // namespace FakeJson
} // namespace Belle2
