#include "check.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

ByteVector part(const ByteVector& bytes, std::size_t from, std::size_t to) {
  return ByteVector(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.begin() + static_cast<std::ptrdiff_t>(to));
}

}  // namespace

TEST(chunks_may_come_in_any_order_and_size_and_overlap) {
  Host host;
  host.hello();
  const ByteVector image = pattern(1000);
  const std::uint16_t id = host.open_write(Object::kModel, 1, 0, view(image));
  for (const auto& [from, to] : {std::pair{900, 1000}, {300, 500}, {0, 100}, {450, 920}, {50, 320}}) {
    host.data(id, static_cast<std::uint32_t>(from),
              view(part(image, static_cast<std::size_t>(from), static_cast<std::size_t>(to))));
  }
  CHECK_EQ(host.last_ack()->status, Status::kOk);
  CHECK_EQ(host.last_ack()->cumulative, 1000u);
  CHECK(host.storage.images[1].whole);
  CHECK(host.storage.images[1].bytes == image);
  CHECK_EQ(host.storage.rewritten, 0);
}

TEST(a_gap_is_reported_with_what_lies_beyond_it) {
  Host host;
  host.hello();
  const ByteVector image = pattern(1000);
  const std::uint16_t id = host.open_write(Object::kModel, 0, 0, view(image));
  host.data(id, 0, view(part(image, 0, 100)));
  CHECK(!host.last_ack());
  host.data(id, 200, view(part(image, 200, 300)));
  CHECK_EQ(host.last_ack()->cumulative, 100u);
  CHECK_EQ(host.last_ack()->range_count, std::size_t{1});
  CHECK_EQ(host.last_ack()->ranges[0].start, 200u);
  CHECK_EQ(host.last_ack()->ranges[0].end, 300u);
  CHECK_EQ(host.last_ack()->credit, Host::kWindow);
}

TEST(every_quarter_of_the_window_and_every_duplicate_is_acknowledged) {
  Host host;
  host.hello();
  const ByteVector image = pattern(2000);
  const std::uint16_t id = host.open_write(Object::kModel, 0, 0, view(image));
  for (std::size_t at = 0; at < 1800; at += 100) {
    host.data(id, static_cast<std::uint32_t>(at), view(part(image, at, at + 100)));
  }
  CHECK_EQ(host.all(kind::kAck).size(), std::size_t{3});  // after 600, 1200 and 1800: 512 is a quarter
  host.data(id, 0, view(part(image, 0, 100)));
  CHECK_EQ(host.all(kind::kAck).size(), std::size_t{4});
}

TEST(a_wrong_crc_discards_everything) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  ByteVector other = image;
  other[7] ^= 1;
  const std::uint16_t id = host.open_write(Object::kModel, 1, 0, view(image));
  host.data(id, 0, view(other));
  CHECK_EQ(host.last_ack()->status, Status::kCrcMismatch);
  CHECK_EQ(host.storage.aborts, 1);
  CHECK(!host.storage.images[1].whole);
  host.clear();
  host.data(id, 0, view(other));
  CHECK_EQ(host.last_ack()->status, Status::kCrcMismatch);
}

TEST(late_data_of_a_finished_write_gets_its_last_acknowledgement_again) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(image)), Status::kOk);
  const std::uint16_t id = host.last_ack()->transfer;
  host.clear();
  host.data(id, 200, view(part(image, 200, 300)));
  CHECK_EQ(host.last_ack()->status, Status::kOk);
  CHECK_EQ(host.last_ack()->cumulative, 300u);
}

TEST(data_of_an_unknown_transfer_or_outside_its_length_are_refused) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  host.data(99, 0, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kBadTransfer);
  const std::uint16_t id = host.open_write(Object::kModel, 1, 0, view(image));
  host.data(id, 200, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kBadRange);
  host.data(id, 0xFFFFFFFF, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kBadRange);
  host.data(id, 0, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kOk);
}

TEST(an_empty_chunk_asks_how_far_the_device_is) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  const std::uint16_t id = host.open_write(Object::kModel, 1, 0, view(image));
  host.data(id, 0, view(part(image, 0, 10)));
  host.data(id, 0, {});
  CHECK_EQ(host.last_ack()->cumulative, 10u);
}

TEST(a_ninth_range_is_dropped_and_can_come_again) {
  Host host;
  host.hello();
  const ByteVector image = pattern(1000);
  const std::uint16_t id = host.open_write(Object::kModel, 1, 0, view(image));
  for (std::size_t i = 1; i <= 9; ++i)
    host.data(id, static_cast<std::uint32_t>(i * 100), view(part(image, i * 100, i * 100 + 50)));
  CHECK_EQ(host.last_ack()->range_count, std::size_t{8});
  host.data(id, 0, view(part(image, 0, 500)));
  host.data(id, 500, view(part(image, 500, 900)));
  host.data(id, 900, view(part(image, 900, 1000)));
  CHECK_EQ(host.last_ack()->status, Status::kOk);
  CHECK(host.storage.images[1].bytes == image);
}

TEST(a_storage_that_fails_ends_the_write_with_its_status) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  const std::uint16_t id = host.open_write(Object::kModel, 0, 0, view(image));
  host.storage.failing = true;
  host.data(id, 0, view(image));
  CHECK_EQ(host.last_ack()->status, Status::kStorageFailed);
}

TEST(an_image_that_the_device_holds_need_not_be_sent) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  CHECK_EQ(host.write(Object::kModel, 0, 0, view(image)), Status::kOk);
  const std::uint16_t id = host.open_write(Object::kModel, 0, 0, view(image));
  CHECK_EQ(host.answer(id).body().u32(), 300u);
}

TEST(hello_and_cancel_give_up_an_open_write) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  const std::uint16_t first = host.open_write(Object::kModel, 0, 0, view(image));
  CHECK_EQ(host.ask(kind::kCancel, Payload().u16(first)).status(), Status::kOk);
  CHECK_EQ(host.storage.aborts, 1);
  CHECK_EQ(host.ask(kind::kCancel, Payload().u16(first)).status(), Status::kBadTransfer);
  (void)host.open_write(Object::kModel, 0, 0, view(image));
  host.hello(8, 100, 2);
  CHECK_EQ(host.storage.aborts, 2);
}

// Found by fuzz_server: the second opening made the image shorter underneath the first transfer.
TEST(a_location_has_one_open_write_whatever_slot_it_names) {
  Host host;
  host.hello();
  const ByteVector image = pattern(300);
  const std::uint16_t first = host.open_write(Object::kModel, 1, 0, view(image));
  const std::uint16_t second = host.open_write(Object::kModel, 1, 3, view(part(image, 0, 10)));
  host.data(first, 200, view(part(image, 200, 300)));
  CHECK_EQ(host.last_ack()->status, Status::kBadTransfer);
  host.data(second, 0, view(part(image, 0, 10)));
  CHECK_EQ(host.last_ack()->status, Status::kOk);
}
