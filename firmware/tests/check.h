// Tests are functions that name what holds; a check that fails says where and goes on.
#pragma once

#include <iostream>
#include <string>
#include <vector>

namespace hil::test {

struct Case {
  const char* name;
  void (*body)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(const char* name, void (*body)()) { cases().push_back(Case{name, body}); }
};

template <typename T>
void show(std::ostream& out, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (std::is_same_v<T, unsigned char>) {
    out << static_cast<int>(value);
  } else {
    out << value;
  }
}

inline void show(std::ostream& out, const std::vector<unsigned char>& bytes) {
  static const char digits[] = "0123456789abcdef";
  for (const unsigned char byte : bytes) out << digits[byte >> 4] << digits[byte & 15];
}

template <typename A, typename B>
void check_equal(const A& actual, const B& expected, const char* text, const char* file, int line) {
  if (actual == expected) return;
  ++failures();
  std::cerr << file << ":" << line << ": " << text << "\n  is       ";
  show(std::cerr, actual);
  std::cerr << "\n  expected ";
  show(std::cerr, expected);
  std::cerr << "\n";
}

inline void check_true(bool value, const char* text, const char* file, int line) {
  if (value) return;
  ++failures();
  std::cerr << file << ":" << line << ": not true: " << text << "\n";
}

}  // namespace hil::test

#define TEST(name)                                                          \
  static void name();                                                       \
  static const hil::test::Registration registration_of_##name(#name, name); \
  static void name()

#define CHECK(condition) hil::test::check_true((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(actual, expected) hil::test::check_equal((actual), (expected), #actual, __FILE__, __LINE__)
