// What a board of any size of memory can do: it starts, the model gets its memory first, slots and captures live on the rest.
#include "check.h"
#include "heap_model.h"
#include "hil/cbor.h"
#include "hil/lasting.h"
#include "hil/rooms.h"
#include "host.h"

using namespace hil;
using namespace hil::test;

namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
// what is free of a chip's internal memory when the application starts: about that of an ESP32-S3
constexpr std::size_t kInternal = 240 * kKiB;
constexpr std::size_t kBoards[] = {0, 2 * kMiB, 4 * kMiB, 8 * kMiB, 16 * kMiB, 32 * kMiB};
constexpr RoomLimits kLimits{2 * kMiB, 2 * kMiB};

// As the Kconfig of an image for PSRAM has them.
constexpr LastingSizes kLasting{8 * kKiB, 64 * kKiB, 2 * kKiB};

// The application's start, as app_main does it.
bool boots(Heap& heap) {
  Buffers buffers;
  return take_lasting(heap, kLasting, buffers) == nullptr;
}

std::uint64_t field(const ByteVector& info, std::string_view name) {
  const std::string_view all = as_text(view(info));
  const std::size_t at = all.find(name);
  CHECK(at != std::string_view::npos);
  if (at == std::string_view::npos) return ~std::uint64_t{0};
  // a CBOR unsigned integer stands behind the name
  const auto* byte = reinterpret_cast<const std::uint8_t*>(all.data()) + at + name.size();
  const unsigned kind = *byte & 31u;
  if (kind < 24) return kind;
  std::uint64_t value = 0;
  for (unsigned i = 0; i < 1u << (kind - 24); ++i) value = value << 8 | byte[1 + i];
  return value;
}

// The largest arena that a board gives a model, by trying.
std::size_t largest_model(std::size_t psram, std::uint32_t input_bytes) {
  std::size_t fits = 0;
  for (std::size_t step = 32 * kMiB; step >= kKiB; step /= 2) {
    ModelHeap heap(psram, kInternal);
    if (!boots(heap)) return 0;
    Host host(heap, kLimits);
    host.engine.shape.inputs = {input_bytes};
    host.engine.arena_bytes = fits + step;
    host.hello();
    if (host.write(Object::kModel, 1, 0, view(host.model)) != Status::kOk) return 0;
    if (host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status() == Status::kOk) fits += step;
  }
  return fits;
}

}  // namespace

TEST(every_size_of_psram_boots_loads_runs_and_captures) {
  for (const std::size_t psram : kBoards) {
    ModelHeap heap(psram, kInternal);
    CHECK(boots(heap));
    Host host(heap, kLimits);
    host.load_model();
    const ByteVector input = pattern(64);
    CHECK_EQ(host.run(0, Run::kInlineInputs | Run::kCapture, 0, 1, "in", view(input)).status(), Status::kOk);
    CHECK(host.read(Object::kTensor) == input);
    CHECK_EQ(field(host.read(Object::kInfo), "slots"), std::uint64_t{4});
  }
}

TEST(a_model_gets_nearly_all_of_the_psram_there_is) {
  for (const std::size_t psram : kBoards) {
    if (psram == 0) continue;
    // 64 KiB of our own and its header, a 32nd for the rounding of size classes: `psram_for_model` in targets.py
    CHECK(largest_model(psram, 64) > psram - psram / 32 - 128 * kKiB);
  }
  CHECK(largest_model(0, 64) > kInternal / 2);
}

TEST(an_eight_megabyte_board_keeps_nothing_from_a_model_of_seven) {
  ModelHeap heap(8 * kMiB, kInternal);
  CHECK(boots(heap));
  Host host(heap, kLimits);
  host.engine.arena_bytes = 7 * kMiB;
  host.engine.shape.inputs = {150 * kKiB};
  host.load_model();
  CHECK_EQ(host.engine.arena.size(), 7 * kMiB);
  const ByteVector info = host.read(Object::kInfo);
  CHECK(field(info, "slots") >= 1);
  CHECK(field(info, "capture_bytes") < 2 * kMiB);
}

TEST(a_board_with_room_for_one_set_has_one_slot_and_says_so) {
  ModelHeap heap(0, 64 * kKiB);
  Host host(heap, kLimits);
  host.engine.arena_bytes = 16 * kKiB;
  host.engine.shape.inputs = {20 * kKiB};
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  Body loaded = host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).body();
  loaded.skip(4);
  CHECK_EQ(loaded.u8(), std::uint8_t{1});
  Body hello = host.hello(8, 2000, 2).body();
  hello.skip(1 + 4 + 2 + 4);
  CHECK_EQ(hello.u8(), std::uint8_t{1});
}

TEST(a_board_without_room_for_a_capture_runs_and_says_what_lacks) {
  ModelHeap heap(0, 64 * kKiB);
  Host host(heap, kLimits);
  host.engine.arena_bytes = 32 * kKiB;
  host.engine.shape.inputs = {15 * kKiB};
  host.load_model();
  CHECK_EQ(field(host.read(Object::kInfo), "capture_bytes"), std::uint64_t{0});
  const ByteVector input = pattern(15 * kKiB);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(input)), Status::kOk);
  CHECK_EQ(host.run(0, 0, 0, 1).status(), Status::kOk);
  CHECK_EQ(host.run(0, Run::kCapture, 0, 1, "in").status(), Status::kTooLarge);
}

TEST(tensors_that_fit_nowhere_beside_the_model_are_out_of_memory) {
  ModelHeap heap(0, 64 * kKiB);
  Host host(heap, kLimits);
  host.engine.arena_bytes = 40 * kKiB;
  host.engine.shape.inputs = {40 * kKiB};
  host.hello();
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(host.model)), Status::kOk);
  const Received answer = host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0));
  CHECK_EQ(answer.status(), Status::kOutOfMemory);
  CHECK(answer.text().find("40976 bytes") != std::string::npos);  // 40 KiB and an output of 16
  CHECK(!host.engine.loaded);
  CHECK_EQ(heap.left(), 64 * kKiB);
}

TEST(what_slots_and_captures_took_is_given_back_before_the_next_model) {
  ModelHeap heap(2 * kMiB, kInternal);
  Host host(heap, kLimits);
  const std::size_t before = heap.left();
  host.engine.arena_bytes = 256 * kKiB;
  host.engine.shape.inputs = {100 * kKiB};
  host.load_model();
  const ByteVector input = pattern(100 * kKiB);
  CHECK_EQ(host.write(Object::kInput, 0, 0, view(input)), Status::kOk);
  CHECK_EQ(host.run(0, Run::kCapture, 0, 1, "in").status(), Status::kOk);
  host.engine.arena_bytes = 1700 * kKiB;  // only fits where the first model, its slots and the tensor lay
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kOk);
  CHECK_EQ(host.engine.arena.size(), 1700 * kKiB);
  // an upload over the loaded model ends it: all memory is free again
  CHECK_EQ(host.write(Object::kModel, 1, 0, view(pattern(1000, 5))), Status::kOk);
  CHECK_EQ(heap.left(), before);
}

TEST(the_memory_of_a_capture_is_free_for_an_upload_to_another_place) {
  ModelHeap heap(2 * kMiB, kInternal);
  Host host(heap, kLimits);
  host.load_model();
  const std::size_t before = heap.left();
  const ByteVector input = pattern(64);
  CHECK_EQ(host.run(0, Run::kInlineInputs | Run::kCapture, 0, 1, "in", view(input)).status(), Status::kOk);
  CHECK(heap.left() < before);
  (void)host.open_write(Object::kModel, 0, 0, view(host.model));
  CHECK_EQ(heap.left(), before);
  CHECK_EQ(host.open_read(Object::kTensor).status(), Status::kBadObject);
}

TEST(a_captured_tensor_that_is_being_read_keeps_its_memory) {
  ModelHeap heap(2 * kMiB, kInternal);
  Host host(heap, kLimits);
  host.load_model();
  const ByteVector input = pattern(64);
  CHECK_EQ(host.run(0, Run::kInlineInputs | Run::kCapture, 0, 1, "in", view(input)).status(), Status::kOk);
  const std::uint16_t transfer = host.next_seq;
  CHECK_EQ(host.open_read(Object::kTensor).status(), Status::kOk);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kBusy);
  (void)host.open_write(Object::kModel, 0, 0, view(host.model));
  host.ack(transfer, Status::kGap, 0);  // it did not come: once more
  CHECK(host.assembled(transfer) == input);
  host.ack(transfer, Status::kOk, 64);
  CHECK_EQ(host.ask(kind::kLoad, Payload().u8(1).u8(1).u16(0)).status(), Status::kOk);
}

TEST(inferences_keep_memory_of_their_own) {
  for (const std::size_t psram : {std::size_t{0}, 2 * kMiB, 8 * kMiB}) {
    ModelHeap heap(psram, kInternal);
    Rooms rooms(heap, RoomLimits{64 * kMiB, 64 * kMiB});
    MutableBytes arena;
    CHECK(rooms.take_slots(30 * kKiB, 16, arena).ok());
    CHECK(arena.size() >= 30 * kKiB);
    CHECK(!rooms.take_capture().empty());
    CHECK(heap.left(Memory::kInternal) >= Rooms::kInternalReserve);
    if (psram != 0) CHECK(heap.left(Memory::kPsram) >= Rooms::kPsramReserve);
  }
}

TEST(a_heap_that_refuses_leaves_no_slots_and_says_so) {
  ModelHeap heap(2 * kMiB, kInternal);
  heap.refusing = true;
  Rooms rooms(heap, kLimits);
  MutableBytes arena;
  CHECK_EQ(rooms.take_slots(64, 4, arena).status, Status::kOutOfMemory);
  CHECK(arena.empty());
  CHECK(rooms.take_capture().empty());
  CHECK(take_lasting(heap, 64, 64).empty());
}

TEST(a_board_that_cannot_start_says_what_there_was_no_memory_for) {
  Buffers buffers;
  ModelHeap tiny(0, 16 * kKiB);
  CHECK_EQ(std::string_view(take_lasting(tiny, kLasting, buffers)), std::string_view("no memory for the profile"));
  ModelHeap none(0, 6 * kKiB);
  CHECK_EQ(std::string_view(take_lasting(none, kLasting, buffers)), std::string_view("no memory for INFO"));
}

TEST(the_largest_block_that_a_heap_tells_can_be_taken) {
  for (std::size_t internal = 66 * kKiB; internal < 234 * kKiB; internal += 3 * kKiB) {
    if (internal > 116 * kKiB && internal < 130 * kKiB) continue;  // see tlsf_memory.h
    ModelHeap heap(0, internal);
    CHECK(!heap.take(Memory::kInternal, 5 * kKiB).empty());
    const std::size_t largest = heap.largest(Memory::kInternal);
    CHECK_EQ(heap.take(Memory::kInternal, largest).size(), largest);
  }
}

TEST(what_lasts_is_in_psram_where_there_is_some_and_as_large_as_was_hoped_for) {
  for (const std::size_t psram : kBoards) {
    ModelHeap heap(psram, kInternal);
    Buffers buffers;
    CHECK(take_lasting(heap, kLasting, buffers) == nullptr);
    CHECK_EQ(buffers.profile.size(), psram == 0 ? 8 * kKiB : 64 * kKiB);
    CHECK_EQ(buffers.info.size(), psram == 0 ? 4 * kKiB : 8 * kKiB);
    CHECK_EQ(heap.left(Memory::kInternal) == kInternal, psram != 0);
  }
}

TEST(lasting_memory_shrinks_where_there_is_no_psram) {
  ModelHeap without(0, kInternal);
  CHECK_EQ(take_lasting(without, 64 * kKiB, 8 * kKiB).size(), 8 * kKiB);
  ModelHeap with(2 * kMiB, kInternal);
  CHECK_EQ(take_lasting(with, 64 * kKiB, 8 * kKiB).size(), 64 * kKiB);
  CHECK_EQ(with.left(Memory::kInternal), kInternal);
}

// Two pieces of internal memory, as most chips have.
class TwoPieces final : public Heap {
 public:
  TwoPieces(std::size_t first, std::size_t second) : pieces_{ModelHeap(0, first), ModelHeap(0, second)} {}

  std::size_t total(Memory memory) const override { return pieces_[0].total(memory) + pieces_[1].total(memory); }
  std::size_t largest(Memory memory) const override {
    const std::size_t first = pieces_[0].largest(memory);
    const std::size_t second = pieces_[1].largest(memory);
    return first > second ? first : second;
  }
  MutableBytes take(Memory memory, std::size_t bytes) override {
    const MutableBytes block = pieces_[0].take(memory, bytes);
    return block.empty() ? pieces_[1].take(memory, bytes) : block;
  }
  void give_back(MutableBytes block) override { pieces_[taken_from(block)].give_back(block); }

 private:
  std::size_t taken_from(MutableBytes block) const { return block.size() > kSmallest ? 0 : 1; }
  static constexpr std::size_t kSmallest = 100 * kKiB;  // of the blocks that this test holds in the first piece

  ModelHeap pieces_[2];
};

TEST(the_largest_piece_stays_whole_where_the_next_one_has_room_for_what_lasts) {
  TwoPieces heap(160 * kKiB, 96 * kKiB);
  const std::size_t whole = heap.largest(Memory::kInternal);
  const MutableBytes held = hold_largest(heap, 64 * kKiB);
  CHECK_EQ(held.size(), whole);
  CHECK(boots(heap));
  heap.give_back(held);
  // all but a size class: small blocks may lie in what the largest one left of its piece
  CHECK(heap.largest(Memory::kInternal) >= whole - whole / 16);
  TwoPieces without(160 * kKiB, 96 * kKiB);
  CHECK(boots(without));
  CHECK(without.largest(Memory::kInternal) < whole - whole / 16);
}

TEST(nothing_is_held_where_what_lasts_would_have_no_room) {
  TwoPieces heap(160 * kKiB, 48 * kKiB);
  const std::size_t whole = heap.largest(Memory::kInternal);
  CHECK(hold_largest(heap, 64 * kKiB).empty());
  CHECK_EQ(heap.largest(Memory::kInternal), whole);
  ModelHeap one(8 * kMiB, kInternal);
  CHECK(hold_largest(one, 64 * kKiB).empty());
  CHECK_EQ(one.left(Memory::kInternal), kInternal);
}
