// Reads: what is sent, sent again, and when.
#include "check.h"
#include "hil/transfers.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

Ack ack(Status status, std::uint32_t cumulative, std::uint32_t credit, std::vector<Range> ranges = {}) {
  Ack made{1, status, cumulative, credit, ranges.size(), {}};
  for (std::size_t i = 0; i < ranges.size(); ++i) made.ranges[i] = ranges[i];
  return made;
}

// Everything that is sent now, in chunks of 100.
std::string sent(ReadTransfer& transfer) {
  std::string all;
  while (true) {
    bool again = false;
    const Range range = transfer.next(100, again);
    if (range.start == range.end) return all;
    all += (again ? "!" : "") + std::to_string(range.start) + "-" + std::to_string(range.end) + " ";
  }
}

const ByteVector kSource = pattern(1000);

}  // namespace

TEST(reading_stops_at_the_credit_and_goes_on_with_the_acknowledgement) {
  ReadTransfer transfer(view(kSource), 300);
  CHECK_EQ(sent(transfer), "0-100 100-200 200-300 ");
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 200, 300)), 0u);
  CHECK_EQ(sent(transfer), "300-400 400-500 ");
}

TEST(only_what_is_missing_below_the_highest_range_is_sent_again) {
  ReadTransfer transfer(view(kSource), 1000);
  (void)sent(transfer);
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 100, 1000, {{200, 300}, {400, 500}})), 200u);
  CHECK_EQ(sent(transfer), "!100-200 !300-400 ");
}

TEST(the_same_hole_is_not_sent_twice_for_one_loss) {
  ReadTransfer transfer(view(kSource), 500);
  (void)sent(transfer);
  (void)transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 300}}));
  CHECK_EQ(sent(transfer), "!100-200 500-600 600-700 ");
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 400}})), 0u);
  CHECK_EQ(sent(transfer), "700-800 ");
}

TEST(a_hole_is_sent_again_when_something_sent_after_its_repetition_has_arrived) {
  ReadTransfer transfer(view(kSource), 500);
  (void)sent(transfer);
  (void)transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 500}}));
  CHECK_EQ(sent(transfer).substr(0, 9), "!100-200 ");
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 600}})), 100u);
  CHECK_EQ(sent(transfer).substr(0, 9), "!100-200 ");
}

TEST(an_acknowledgement_of_what_was_sent_before_the_repetition_says_nothing_of_it) {
  ReadTransfer transfer(view(kSource), 500);
  (void)sent(transfer);
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 500}})), 100u);
  (void)sent(transfer);
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 100, 500, {{200, 500}})), 0u);
}

TEST(a_time_out_acknowledgement_brings_back_everything_unnamed) {
  ReadTransfer transfer(view(kSource), 1000);
  (void)sent(transfer);
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 800, 1000)), 0u);
  CHECK_EQ(sent(transfer), "");
  CHECK_EQ(transfer.acknowledge(ack(Status::kGap, 800, 1000, {{850, 900}})), 150u);
  CHECK_EQ(sent(transfer), "!800-850 !900-1000 ");
  CHECK_EQ(transfer.acknowledge(ack(Status::kGap, 900, 1000)), 100u);
  CHECK_EQ(sent(transfer), "!900-1000 ");
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 1000, 1000)), 0u);
  CHECK(transfer.done());
}

TEST(a_host_cannot_have_what_was_never_sent) {
  ReadTransfer transfer(view(kSource), 300);
  (void)sent(transfer);
  (void)transfer.acknowledge(ack(Status::kOk, 1000, 300, {{400, 0xFFFFFFFF}}));
  CHECK(!transfer.done());
  CHECK_EQ(transfer.acknowledge(ack(Status::kOk, 300, 10000)), 0u);
  CHECK_EQ(sent(transfer).substr(0, 8), "300-400 ");
}

TEST(a_credit_below_a_chunk_still_moves) {
  ReadTransfer transfer(view(kSource), 30);
  CHECK_EQ(sent(transfer), "0-30 ");
  (void)transfer.acknowledge(ack(Status::kOk, 30, 0));
  CHECK_EQ(sent(transfer), "");
  (void)transfer.acknowledge(ack(Status::kOk, 30, 50));
  CHECK_EQ(sent(transfer), "30-80 ");
}

TEST(the_chunk_shrinks_on_a_bad_line_and_grows_back_on_a_good_one) {
  ChunkPace pace;
  pace.reset(4000);
  for (int i = 0; i < 100; ++i) pace.lost(4000);
  CHECK_EQ(pace.chunk(), ChunkPace::kSmallest);
  for (int i = 0; i < 10000; ++i) pace.sent();
  CHECK_EQ(pace.chunk(), 4000u);
}

// b = 1e-4 lost bytes a byte, h = 20 bytes of overhead: sqrt(h / b) = 447.
TEST(the_chunk_settles_where_losses_equal_overhead) {
  ChunkPace pace;
  pace.reset(4000);
  std::uint32_t state = 1;
  std::uint64_t sum = 0;
  for (int i = 0; i < 200000; ++i) {
    state = state * 1664525u + 1013904223u;
    pace.sent();
    if (state / 4294967296.0 < pace.chunk() * 1e-4) pace.lost(pace.chunk());
    sum += pace.chunk();
  }
  const std::uint64_t mean = sum / 200000;
  CHECK(mean > 300 && mean < 650);
}

TEST(the_last_acknowledgements_of_writes_are_remembered_newest_first) {
  Transfers transfers;
  for (std::uint16_t id = 1; id <= 9; ++id) transfers.remember(Ack{id, Status::kOk, 10u * id, 0, 0, {}});
  CHECK(transfers.finished(1) == nullptr);
  CHECK_EQ(transfers.finished(2)->cumulative, 20u);
  transfers.remember(Ack{9, Status::kCrcMismatch, 1, 0, 0, {}});
  CHECK_EQ(transfers.finished(9)->cumulative, 1u);
}
