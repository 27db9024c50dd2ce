#include "check.h"

int main() {
  int failed_tests = 0;
  for (const hil::test::Case& test : hil::test::cases()) {
    const int before = hil::test::failures();
    test.body();
    const bool failed = hil::test::failures() != before;
    if (failed) ++failed_tests;
    std::cout << (failed ? "FAILED " : "ok     ") << test.name << "\n";
  }
  std::cout << hil::test::cases().size() << " tests, " << failed_tests << " failed\n";
  return failed_tests == 0 && !hil::test::cases().empty() ? 0 : 1;
}
