#include "check.h"
#include "hil/ranges.h"
#include "stream.h"

using namespace hil;
using Insert = RangeSet::Insert;

TEST(bytes_in_order_only_move_the_cumulative_end) {
  RangeSet set;
  CHECK_EQ(set.insert(0, 10), Insert::kNew);
  CHECK_EQ(set.insert(10, 25), Insert::kNew);
  CHECK_EQ(set.cumulative(), 25u);
  CHECK_EQ(set.count(), std::size_t{0});
}

TEST(a_filled_gap_joins_what_lies_behind_it) {
  RangeSet set;
  (void)set.insert(10, 20);
  (void)set.insert(30, 40);
  CHECK_EQ(set.count(), std::size_t{2});
  CHECK_EQ(set.insert(20, 30), Insert::kNew);
  CHECK_EQ(set.count(), std::size_t{1});
  CHECK_EQ(set.insert(0, 10), Insert::kNew);
  CHECK_EQ(set.cumulative(), 40u);
  CHECK_EQ(set.count(), std::size_t{0});
}

TEST(what_is_there_already_is_a_duplicate) {
  RangeSet set;
  (void)set.insert(0, 10);
  (void)set.insert(20, 30);
  CHECK_EQ(set.insert(0, 10), Insert::kDuplicate);
  CHECK_EQ(set.insert(22, 28), Insert::kDuplicate);
  CHECK_EQ(set.insert(5, 12), Insert::kNew);
  CHECK_EQ(set.cumulative(), 12u);
}

TEST(a_ninth_range_is_refused_and_changes_nothing) {
  RangeSet set;
  for (std::uint32_t i = 1; i <= 8; ++i) CHECK_EQ(set.insert(i * 10, i * 10 + 5), Insert::kNew);
  CHECK_EQ(set.insert(100, 105), Insert::kNoRoom);
  CHECK_EQ(set.highest(), 85u);
  CHECK_EQ(set.insert(80, 90), Insert::kNew);
  CHECK_EQ(set.insert(0, 3), Insert::kNew);
  CHECK_EQ(set.count(), std::size_t{8});
}

TEST(gaps_are_found_in_order) {
  RangeSet set;
  (void)set.insert(0, 10);
  (void)set.insert(20, 30);
  CHECK_EQ(set.gap(0, 100).start, 10u);
  CHECK_EQ(set.gap(0, 100).end, 20u);
  CHECK_EQ(set.gap(0, 15).end, 15u);
  CHECK_EQ(set.gap(25, 100).start, 30u);
  CHECK_EQ(set.gap(0, 10).start, set.gap(0, 10).end);
  CHECK_EQ(set.total(), 20u);
}

// Against one flag a byte.
TEST(random_insertions_agree_with_a_bitmap) {
  std::uint32_t state = 1;
  const auto random = [&state](std::uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
  };
  for (int round = 0; round < 3000; ++round) {
    RangeSet set;
    std::vector<bool> there(64);
    for (int i = 0; i < 40; ++i) {
      const std::uint32_t start = random(60);
      const std::uint32_t end = start + 1 + random(64 - start < 9 ? 64 - start : 9);
      bool missing = false;
      for (std::uint32_t at = start; at < end; ++at) missing = missing || !there[at];
      const Insert result = set.insert(start, end);
      if ((result == Insert::kDuplicate) == missing) CHECK(false);
      if (result == Insert::kNew) {
        for (std::uint32_t at = start; at < end; ++at) there[at] = true;
      }
    }
    std::vector<bool> said(64);
    for (std::uint32_t at = 0; at < set.cumulative(); ++at) said[at] = true;
    for (std::size_t i = 0; i < set.count(); ++i) {
      for (std::uint32_t at = set[i].start; at < set[i].end; ++at) said[at] = true;
    }
    CHECK(said == there);
  }
}
