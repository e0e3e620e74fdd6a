// Personal data: addresses of mail and of machines, numbers of phones, cards and accounts. Check digits and
// public ranges are checked, so that ordinary numbers stay.
#include <array>

#include "data/clean_patterns.h"

namespace anneal {
namespace {

bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
uint32_t digit(char c) { return static_cast<uint32_t>(c - '0'); }

/// IPv4 ranges that are nobody's address on the internet: private, shared, local, documentation, tests,
/// multicast, reserved (RFC 6890).
bool is_public_ipv4(const std::array<uint32_t, 4>& part) {
  const uint32_t a = part[0], b = part[1], c = part[2];
  if (a == 0 || a == 10 || a == 127 || a >= 224) return false;
  if (a == 100 && b >= 64 && b < 128) return false;
  if (a == 169 && b == 254) return false;
  if (a == 172 && b >= 16 && b < 32) return false;
  if (a == 192 && (b == 168 || (b == 0 && (c == 0 || c == 2)))) return false;
  if (a == 198 && (b == 18 || b == 19 || (b == 51 && c == 100))) return false;
  return !(a == 203 && b == 0 && c == 113);
}

bool luhn(const char* digits, size_t count) {
  uint32_t sum = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t value = digit(digits[count - 1 - i]) * (i % 2 == 0 ? 1 : 2);
    sum += value > 9 ? value - 9 : value;
  }
  return sum % 10 == 0;
}

}  // namespace

Matched match_email(const PatternText& in, size_t at) {
  const auto is_local = [](char c) {
    return is_alphanumeric(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
  };
  size_t begin = at;
  while (begin > in.from && at - begin < 64 && is_local(in.text[begin - 1])) --begin;
  while (begin < at && !is_alphanumeric(in.text[begin])) ++begin;
  if (begin == at || in.text[at - 1] == '.') return std::nullopt;
  // Labels of letters, digits and hyphens with dots between; the last is of letters.
  size_t end = at + 1, label = end;
  size_t last = 0;  // the end of the longest domain that ends well
  while (end - at < 255) {
    const char c = in.at(end);
    if (is_alphanumeric(c) || c == '-') {
      ++end;
      continue;
    }
    bool letters = end - label >= 2 && label > at + 1;
    for (size_t i = label; i < end; ++i)
      letters = letters && is_alphanumeric(in.text[i]) && !is_digit(in.text[i]);
    if (letters) last = end;
    if (c != '.' || end == label) break;
    label = ++end;
  }
  if (last == 0) return std::nullopt;
  return std::pair(begin, last);
}

Matched match_ipv4(const PatternText& in, size_t at) {
  if (is_alphanumeric(in.before(at)) || in.before(at) == '.') return std::nullopt;
  std::array<uint32_t, 4> parts{};
  size_t end = at;
  for (size_t part = 0; part < 4; ++part) {
    if (part > 0 && in.at(end++) != '.') return std::nullopt;
    const size_t begin = end;
    while (end - begin < 3 && is_digit(in.at(end))) parts[part] = 10 * parts[part] + digit(in.text[end++]);
    if (end == begin || parts[part] > 255) return std::nullopt;
  }
  const bool goes_on = is_alphanumeric(in.at(end)) || (in.at(end) == '.' && is_digit(in.at(end + 1)));
  if (goes_on || !is_public_ipv4(parts)) return std::nullopt;
  return std::pair(at, end);
}

Matched match_ipv6(const PatternText& in, size_t colon) {
  size_t begin = colon;
  while (begin > in.from && is_hex(in.text[begin - 1])) --begin;
  // Global unicast addresses are 2000::/3; 2001:db8::/32 is for documentation.
  if (colon - begin != 4 || (in.text[begin] != '2' && in.text[begin] != '3') ||
      is_alphanumeric(in.before(begin)) || in.before(begin) == ':') {
    return std::nullopt;
  }
  int groups = 0;
  bool gap = false;
  size_t end = begin;
  while (groups < 8) {
    const size_t group = end;
    while (end - group < 4 && is_hex(in.at(end))) ++end;
    if (end == group) break;
    ++groups;
    if (in.at(end) == ':' && in.at(end + 1) == ':' && !gap) {
      gap = true;
      end += 2;
    } else if (in.at(end) == ':' && is_hex(in.at(end + 1))) {
      ++end;
    } else {
      break;
    }
  }
  const bool whole = gap ? groups >= 2 && groups < 8 : groups == 8;
  if (!whole || is_alphanumeric(in.at(end)) || in.at(end) == ':') return std::nullopt;
  const std::string_view second = in.text.substr(begin, 9);
  if (second == "2001:db8:" || second == "2001:DB8:") return std::nullopt;
  return std::pair(begin, end);
}

namespace {

/// `+` and 8 to 15 digits, in groups parted by a space, dot, hyphen or brackets (E.164).
Matched match_international(const PatternText& in, size_t plus) {
  if (is_alphanumeric(in.before(plus)) || in.at(plus + 1) < '1' || in.at(plus + 1) > '9') return std::nullopt;
  size_t digits = 0, end = plus + 1, last = end;
  int separators = 0;
  for (; digits <= 15; ++end) {
    const char c = in.at(end);
    if (is_digit(c)) {
      ++digits;
      separators = 0;
      last = end + 1;
    } else if ((c == ' ' || c == '.' || c == '-' || c == '(' || c == ')') && ++separators <= 2) {
      continue;
    } else {
      break;
    }
  }
  if (digits < 8 || digits > 15 || is_alphanumeric(in.at(last))) return std::nullopt;
  return std::pair(plus, last);
}

/// Three digits that begin with 2 to 9.
bool is_code(const PatternText& in, size_t at) {
  return in.at(at) >= '2' && in.at(at) <= '9' && is_digit(in.at(at + 1)) && is_digit(in.at(at + 2));
}

}  // namespace

Matched match_phone(const PatternText& in, size_t at) {
  if (in.at(at) == '+') return match_international(in, at);
  // North American: (212) 555-0123, 212-555-0123, 212.555.0123, each also after 1 and a hyphen or dot.
  if (is_alphanumeric(in.before(at)) || in.before(at) == '.' || in.before(at) == '-') return std::nullopt;
  size_t end = at;
  if (in.at(end) == '1' && (in.at(end + 1) == '-' || in.at(end + 1) == '.')) end += 2;
  const bool brackets = in.at(end) == '(';
  end += brackets ? 1 : 0;
  if (!is_code(in, end)) return std::nullopt;
  end += 3;
  char separator = in.at(end);
  if (brackets) {
    if (separator != ')') return std::nullopt;
    end += in.at(end + 1) == ' ' ? 2 : 1;
  } else {
    if (separator != '-' && separator != '.') return std::nullopt;
    ++end;
  }
  if (!is_code(in, end)) return std::nullopt;
  end += 3;
  if (brackets) separator = in.at(end) == '.' ? '.' : '-';
  if (in.at(end++) != separator) return std::nullopt;
  for (size_t i = 0; i < 4; ++i) {
    if (!is_digit(in.at(end + i))) return std::nullopt;
  }
  end += 4;
  if (is_alphanumeric(in.at(end)) || (in.at(end) == '-' && is_digit(in.at(end + 1)))) return std::nullopt;
  return std::pair(at, end);
}

Matched match_credit_card(const PatternText& in, size_t at) {
  if (is_alphanumeric(in.before(at)) || in.before(at) == '.' || in.before(at) == '-') return std::nullopt;
  if (in.text[at] < '2' || in.text[at] > '6') return std::nullopt;  // issuers of payment cards
  std::array<char, 20> digits{};
  size_t count = 0, end = at, last = at, group = 0;
  char separator = '\0';
  for (; count < digits.size(); ++end) {
    const char c = in.at(end);
    if (is_digit(c)) {
      digits[count++] = c;
      ++group;
      last = end + 1;
    } else if ((c == ' ' || c == '-') && (separator == '\0' ? count == 4 : c == separator && group >= 4) &&
               is_digit(in.at(end + 1))) {
      separator = c;
      group = 0;
    } else {
      break;
    }
  }
  if (count < 13 || count > 19 || is_alphanumeric(in.at(last)) || !luhn(digits.data(), count)) {
    return std::nullopt;
  }
  return std::pair(at, last);
}

Matched match_iban(const PatternText& in, size_t at) {
  if (at < in.from + 2 || !is_capital(in.text[at - 1]) || !is_capital(in.text[at - 2]) ||
      !is_digit(in.at(at + 1))) {
    return std::nullopt;
  }
  const size_t begin = at - 2;
  if (is_alphanumeric(in.before(begin))) return std::nullopt;
  std::array<char, 34> account{};
  std::array<size_t, 34> ends{};
  size_t count = 0;
  for (size_t end = begin; count < account.size(); ++end) {
    const char c = in.at(end);
    if (is_digit(c) || is_capital(c)) {
      account[count] = c;
      ends[count++] = end + 1;
    } else if (c != ' ' || count % 4 != 0 || in.at(end - 1) == ' ') {
      break;
    }
  }
  // ISO 13616: the first four characters go to the end, letters count from 10, and the rest by 97 is 1. A
  // word in capitals after the account may look like a part of it, so shorter ones are tried as well.
  for (size_t length = count; length >= 15; --length) {
    if (is_alphanumeric(in.at(ends[length - 1]))) continue;
    uint32_t rest = 0;
    for (size_t i = 0; i < length; ++i) {
      const char c = account[(i + 4) % length];
      rest =
          is_digit(c) ? (rest * 10 + digit(c)) % 97 : (rest * 100 + static_cast<uint32_t>(c - 'A') + 10) % 97;
    }
    if (rest == 1) return std::pair(begin, ends[length - 1]);
  }
  return std::nullopt;
}

}  // namespace anneal
