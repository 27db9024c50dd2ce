// The device side of docs/PROTOCOL.md: bytes in, bytes out. It does no I/O, owns no memory and starts no thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "hil/answers.h"
#include "hil/board.h"
#include "hil/cbor.h"
#include "hil/clock.h"
#include "hil/counters.h"
#include "hil/engine.h"
#include "hil/executor.h"
#include "hil/frame.h"
#include "hil/gate.h"
#include "hil/golden_store.h"
#include "hil/heap.h"
#include "hil/line_rate.h"
#include "hil/log_queue.h"
#include "hil/messages.h"
#include "hil/rooms.h"
#include "hil/slots.h"
#include "hil/storage.h"
#include "hil/transfers.h"
#include "hil/work.h"

namespace hil {

struct Config {
  std::uint16_t max_payload = 1024;  // of received and of sent frames
  std::uint32_t rx_window = 8192;    // bytes of DATA that may arrive before the host waits: what the port can buffer
  std::uint8_t max_slots = 4;
  RoomLimits rooms{};  // of a board with a heap
};

// Memory that the server uses as long as it lives. Server::problem says what is too small.
struct Buffers {
  MutableBytes rx_frame;       // stuffed_limit(max_payload)
  MutableBytes tx_frame;       // encoded_limit(max_payload)
  MutableBytes slots;          // inputs and outputs, aligned to Slots::kAlignment; unused where there is a heap
  MutableBytes answers;        // 16 remembered answers; inline outputs must fit a sixteenth of it
  MutableBytes info;           // INFO as CBOR
  MutableBytes counters;       // COUNTERS as CBOR
  MutableBytes profile;        // PROFILE as CBOR
  MutableBytes captured;       // TENSOR; unused where there is a heap
  Span<std::uint64_t> cycles;  // CYCLES: the largest `repeats`
  MutableBytes scratch;        // pieces in which a model is read for its hash
  MutableBytes log;            // log lines that wait
  MutableBytes unpacked{};     // max_payload bytes, or none: then nothing packed is taken
};

struct Parts {
  Engine& engine;
  Board& board;
  Storage& storage;
  Clock& clock;
  Executor& executor;
  LineRate* rate = nullptr;  // null: the line has none
  Region* golden = nullptr;  // null: no golden sets are kept
  Heap* heap = nullptr;      // null: slots and captured tensors have the memory of Buffers
  Gate* gate = nullptr;      // null: no pin can be raised
};

class Server final : private FrameSink {
 public:
  // What is wrong with these sizes, or null. A server must not be made with such.
  static const char* problem(const Config& config, const Buffers& buffers, const Parts& parts);

  Server(const Config& config, const Buffers& buffers, const Parts& parts);

  // Announces the start to the host (BOOT).
  void boot() { boot_due_ = true; }
  // Takes bytes from the line, all of them.
  void receive(Bytes bytes);
  // Fills `into` with bytes for the line; returns how many. 0: nothing to send now.
  std::size_t transmit(MutableBytes into);
  // Ends finished work, begins waiting work, restarts the board when that is due. Call it when a job has finished and
  // now and then.
  void poll();
  // Sends a line of log text; from the server's thread.
  void log(std::uint8_t level, std::string_view text);

  // A model is being loaded or run, or waits for it.
  bool busy() const { return working_ || !orders_.empty(); }
  // The board was told to restart.
  bool stopped() const { return stopping_ == Stopping::kDone; }

 private:
  using Handler = Outcome (Server::*)(const Frame&, Writer&);

  // A short frame that answers something which is no request in order: FAULT, or the refusal of a HELLO.
  struct Notice {
    std::uint8_t kind;
    std::uint8_t session;
    std::uint16_t seq;
    Status status;
    bool has_detail;
    std::uint16_t detail;
  };
  enum class Stopping : std::uint8_t { kNo, kAsked, kAnswered, kDone };

  void on_frame(const Frame& frame) override;
  void on_text(Bytes text) override { counters_.add(LinkCounter::kTextBytes, text.size()); }
  void on_noise(std::size_t bytes) override;

  // server.cpp: sessions, order, work
  void on_request(const Frame& frame);
  void on_hello(const Frame& frame);
  void begin_session(const Frame& frame, const Hello& hello);
  void execute(const Frame& frame);
  void settle(Answers::Answer& answer, const Outcome& outcome, std::size_t size);
  std::size_t answer_limit() const;
  void notify(const Notice& notice);
  void fault(const Frame& frame, Status status);
  void fault_gap(const Frame& frame);
  void advance_work();
  void begin_work(const Order& order);
  void end_work();
  Outcome lay_out_slots();
  void end_load(const WorkResult& result);
  void end_run(const WorkResult& result, const Order& order);
  void end_select(const WorkResult& result, const Order& order, Outcome& outcome);
  void answer_run(const Order& order, const WorkResult& result, Answers::Answer& answer);
  void answer_work(const WorkResult& result, const Order& order, const Outcome& outcome, Answers::Answer& answer);

  // server_requests.cpp: one handler a kind; kPending: answered when the work is done
  Outcome open_write(const Frame& frame, Writer& body);
  Outcome open_read(const Frame& frame, Writer& body);
  Outcome load(const Frame& frame, Writer& body);
  Outcome run(const Frame& frame, Writer& body);
  Outcome cancel(const Frame& frame, Writer& body);
  Outcome reset(const Frame& frame, Writer& body);
  Outcome ping(const Frame& frame, Writer& body);
  Outcome open_model(const OpenWrite& open, bool& held);
  bool captured_opens() const;
  void forget_captured();
  void forget_model();
  Outcome open_input(const OpenWrite& open);
  Outcome check_run(const Run& run) const;
  Outcome check_inputs(const Run& run) const;
  Outcome check_golden(const Run& run) const;
  Outcome take_inputs(const Run& run);
  Outcome readable(const OpenRead& open, Bytes& source);
  Outcome readable_tensor(const OpenRead& open, Bytes& source) const;
  template <typename Concerns>
  bool any_order(Concerns concerns) const;

  // server_line.cpp: LINE, PRBS and PATTERN; packed frames; golden sets
  Outcome line(const Frame& frame, Writer& body);
  Outcome prbs(const Frame& frame, Writer& body);
  Outcome golden(const Frame& frame, Writer& body);
  Outcome gate(const Frame& frame, Writer& body);
  Outcome open_golden(const OpenWrite& open);
  bool golden_opens() const;
  void on_pattern(const Frame& frame);
  void on_packed(const Frame& frame);

  // server_transfers.cpp
  void on_data(const Frame& frame);
  void take_data(const Data& data);
  void on_ack(const Frame& frame);
  Outcome store(Transfer& transfer, const Data& data, Range part);
  Outcome advance_crc(Transfer& transfer, const Data& data, std::uint32_t before);
  void end_write(Transfer& transfer, Status status);
  void close(Transfer& transfer);
  Ack ack_of(const Transfer& transfer, Status status) const;
  void send_ack(const Ack& ack);
  MutableBytes input_of(const Target& target) const;

  // server_transmit.cpp
  std::size_t next_frame(std::uint8_t* into);
  std::size_t next_notice(std::uint8_t* into);
  std::size_t next_ack(std::uint8_t* into);
  std::size_t next_answer(std::uint8_t* into);
  std::size_t next_log(std::uint8_t* into);
  std::size_t next_data(std::uint8_t* into);
  std::size_t next_pattern(std::uint8_t* into);
  std::size_t next_pad(std::uint8_t* into);

  // server_describe.cpp
  void describe(CborWriter& to) const;
  void describe_model(CborWriter& to) const;
  void describe_counters(CborWriter& to) const;
  void sample_counters(CborWriter& to) const;
  std::uint64_t engine_counter(std::size_t index) const;
  void sample_engine();

  static constexpr std::size_t kMaxNotices = 8;
  static constexpr std::size_t kMaxAcks = 8;
  static constexpr std::size_t kMaxEngineCounters = 32;
  static constexpr std::uint16_t kMaxPatterns = 256;

  Config config_;
  Buffers buffers_;
  Parts parts_;

  // the session
  std::uint8_t session_ = 0;  // 0: none
  std::uint16_t hello_seq_ = 0;
  std::uint32_t nonce_ = 0;
  std::uint16_t expected_ = 0;
  std::size_t tx_payload_ = kPayloadBeforeHello;
  Answers answers_;
  Transfers transfers_;
  ChunkPace pace_;
  Stopping stopping_ = Stopping::kNo;
  ResetMode reset_mode_ = ResetMode::kRestart;

  // the model
  Rooms rooms_;
  Slots slots_;
  bool loaded_ = false;
  bool cold_ = false;
  std::uint8_t location_ = 0;
  std::uint32_t generation_ = 0;
  std::uint32_t model_bytes_ = 0;
  Sha256::Digest model_sha256_{};
  std::size_t cycles_count_ = 0;
  std::size_t captured_bytes_ = 0;
  std::size_t profile_bytes_ = 0;

  // the work
  Work work_;
  OrderQueue orders_;
  bool working_ = false;
  std::uint64_t engine_counters_[kMaxEngineCounters] = {};  // while the engine works

  // golden sets
  enum class Golden : std::uint8_t { kNone, kWanted, kOpen };
  GoldenStore store_;
  GoldenSet golden_set_;
  Golden golden_ = Golden::kNone;

  bool gate_chosen_ = false;  // in this session

  // the line
  RateKeeper rate_;
  std::uint8_t pad_ = 0;
  bool pad_due_ = false;  // something was sent since the last one
  std::uint16_t patterns_left_ = 0;
  std::uint16_t pattern_number_ = 0;
  std::uint16_t pattern_bytes_ = 0;
  std::uint32_t patterns_received_ = 0;  // these three since the last PRBS
  std::uint32_t patterns_wrong_ = 0;
  std::uint32_t pattern_noise_ = 0;
  FrameDecoder decoder_;
  LinkCounters counters_;
  LogQueue logs_;
  bool boot_due_ = false;
  Notice notices_[kMaxNotices] = {};
  std::size_t notice_count_ = 0;
  Ack acks_[kMaxAcks] = {};
  std::size_t ack_count_ = 0;
  std::size_t tx_at_ = 0;  // of what is left in tx_frame
  std::size_t tx_end_ = 0;
};

}  // namespace hil
