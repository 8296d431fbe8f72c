// SPDX-License-Identifier: Apache-2.0
// Recording and replay, streams and short memory, on a device that computes on the CPU and behaves like a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kpt/base/settings.h"
#include "kpt/ir/text.h"
#include "kpt/runtime/executor.h"

namespace kpt {
namespace {

// Host memory. A recording runs its work at its first replay, which follows at once.
struct FakeDevice final : Device {
  mutable int allocations = 0, waits = 0;
  mutable int64_t refuse_above = INT64_MAX;  // bytes
  mutable int refusals = 0;                  // how many to refuse
  mutable int fault_at_wait = -1;
  mutable bool faulted = false, refuse_recording = false;
  mutable std::vector<RecordedPlace> own;  // of the last recording

  Memory allocate(int64_t bytes, void*) const override {
    ++allocations;
    if (bytes > refuse_above && refusals-- > 0) throw_error(ErrorKind::resource, "fake", "full");
    return Tensor::empty(DType::u8, {bytes}).owner;
  }
  void copy(void* to, const void* from, int64_t bytes, void*) const override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void wait(void*) const override {
    ++waits;
    if (waits == fault_at_wait) faulted = true;
    check();
  }
  // As a GPU: what fails while it runs is seen by the next call of the driver, and by all later ones.
  void check() const {
    if (faulted) throw_error(ErrorKind::fault, "fake", "illegal address");
  }
  std::shared_ptr<void> enter() const override {
    check();
    return nullptr;
  }
  std::string label() const override { return "fake:0"; }
  std::optional<DeviceMemory> memory() const override { return DeviceMemory{123, 456}; }
  bool records() const override { return true; }

  struct Kept final : Recording {
    const FakeDevice* device;
    std::vector<RecordedPlace> in, out;
    RecordedWork work;
    void replay(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, void* stream) override {
      device->check();
      for (size_t i = 0; i < in.size(); ++i) std::memcpy(in[i].place, inputs[i], static_cast<size_t>(in[i].bytes));
      for (size_t i = 0; i < work.own.size(); ++i) work.run(i, stream);
      work = {};  // its references end with the recording call: later replays give what the first left
      for (size_t i = 0; i < out.size(); ++i) std::memcpy(outputs[i], out[i].place, static_cast<size_t>(out[i].bytes));
    }
  };
  std::unique_ptr<Recording> record(const std::vector<RecordedPlace>& in, const std::vector<RecordedPlace>& out,
                                    const RecordedWork& work) const override {
    if (refuse_recording) throw_error(ErrorKind::device, "fake", "not while recording");
    auto kept = std::make_unique<Kept>();
    kept->device = this;
    kept->in = in;
    kept->out = out;
    kept->work = work;
    own = work.own;
    return kept;
  }
};

class FakeBackend final : public Backend {
 public:
  std::shared_ptr<FakeDevice> device_in_hand = std::make_shared<FakeDevice>();
  std::string_view device() const override { return "cpu"; }
  Verdict available() const override { return yes(); }
  std::vector<Candidate> candidates(const Node& node, const Problem& sample,
                                    const SelectOptions& options) const override {
    return registry_candidates("cpu", node, sample, options);
  }
  std::shared_ptr<const Device> open(int) const override { return device_in_hand; }
};

class MutableWeights final : public WeightSource {
 public:
  Tensor value = Tensor::from<float>(DType::f32, {2}, {1, 1});
  uint64_t count = 0;
  std::string name = "w";
  size_t size() const override { return 1; }
  const std::string& fqn(size_t) const override { return name; }
  Tensor tensor(size_t) const override { return value; }
  uint64_t version(size_t) const override { return count; }
};

const char* const kText =
    "kpt.graph 1\nsym b in [1, 64] hint 4\ninput %x : f32[b, 2]\nweight %w \"w\" : f32[2]\n"
    "%y = aten.mul.Tensor(%x, %w) : f32[b, 2]\n%z = aten.relu(%y) : f32[b, 2]\nreturn %z\n";

struct Fixture : testing::Test {
  FakeBackend backend;
  std::shared_ptr<MutableWeights> weights = std::make_shared<MutableWeights>();
  Executor executor{make_plan(parse(kText), backend, {}), weights};

  std::vector<float> call(std::vector<float> x, Stream stream = nullptr) {
    const auto rows = static_cast<int64_t>(x.size() / 2);
    const auto out = executor.run({Tensor::from<float>(DType::f32, {rows, 2}, x)}, nullptr, nullptr, stream);
    const auto* p = static_cast<const float*>(out[0].data);
    return {p, p + x.size()};
  }
  int64_t recordings() const { return executor.counters().recordings; }
  int64_t replays() const { return executor.counters().replays; }
};

using RecordingTest = Fixture;

TEST_F(RecordingTest, TheSecondCallOfAShapeIsRecordedAndLaterOnesReplayed) {
  EXPECT_EQ(call({1, -2}), (std::vector<float>{1, 0}));
  EXPECT_EQ(recordings(), 0);
  EXPECT_EQ(call({1, -2}).size(), 2u);
  EXPECT_EQ(recordings(), 1);
  call({3, 4});
  EXPECT_EQ(recordings(), 1);
  EXPECT_EQ(replays(), 2);
}

TEST_F(RecordingTest, EachShapeHasItsOwnAndGoingBackFindsIt) {
  for (int i = 0; i < 3; ++i) {
    call({1, 2});
    call({1, 2, 3, 4});
  }
  // The larger shape's arena took the place of the smaller one's, so the smaller shape was recorded after that.
  const int64_t once = recordings();
  for (int i = 0; i < 5; ++i) {
    call({1, 2});
    call({1, 2, 3, 4});
  }
  EXPECT_EQ(recordings(), once);
}

TEST_F(RecordingTest, AChangedWeightIsRecordedAnew) {
  for (int i = 0; i < 3; ++i) call({1, 2});
  EXPECT_EQ(recordings(), 1);
  weights->count = 7;
  call({1, 2});
  EXPECT_EQ(recordings(), 2);
}

TEST_F(RecordingTest, AnotherStreamHasAnotherFrame) {
  int one = 0, two = 0;
  call({1, 2}, &one);
  call({1, 2}, &two);
  call({1, 2}, &one);
  EXPECT_EQ(executor.counters().frames, 2);
}

TEST_F(RecordingTest, AGrownArenaDropsRecordings) {
  for (int i = 0; i < 3; ++i) call({1, 2});
  EXPECT_EQ(recordings(), 1);
  call(std::vector<float>(128, 1.0f));  // 64 rows: a larger arena
  call({1, 2});
  EXPECT_EQ(recordings(), 2);
}

TEST_F(RecordingTest, ShortMemoryFreesWhatIsIdleAndTriesOnce) {
  int one = 0, two = 0;
  call({1, 2}, &one);
  backend.device_in_hand->refuse_above = 300;
  backend.device_in_hand->refusals = 1;
  EXPECT_EQ(call(std::vector<float>(128, 1.0f), &two).size(), 128u);
  backend.device_in_hand->refusals = 1 << 20;
  int three = 0;
  EXPECT_THROW(call(std::vector<float>(128, 1.0f), &three), Error);
  backend.device_in_hand->refusals = 0;
  EXPECT_EQ(call({5, -1}, &three), (std::vector<float>{5, 0}));  // nothing is lost
}

std::string thrown(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return cat(name(e.kind()), ": ", e.what());
  }
  return "nothing";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(RecordingTest, ShortMemoryFreesWhatOtherModelsHoldIdleAndSaysWhatItDid) {
  Executor other{make_plan(parse(kText), backend, {}), weights};
  for (int i = 0; i < 3; ++i)
    other.run({Tensor::from<float>(DType::f32, {64, 2}, std::vector<float>(128, 1))}, nullptr);
  backend.device_in_hand->refuse_above = 300;
  backend.device_in_hand->refusals = 1 << 20;
  const std::string said = thrown([&] { call(std::vector<float>(128, 1.0f)); });
  const int64_t arena =
      executor.call_bytes({Tensor::from<float>(DType::f32, {64, 2}, std::vector<float>(128, 1))}) - 512;
  EXPECT_TRUE(said.starts_with(cat("resource: [runtime.memory] got no memory for the arena of a call (", arena)))
      << said;
  EXPECT_TRUE(has(said, "on fake:0, which has 123 bytes free of 456")) << said;
  int64_t kept = arena + 512 + 512;  // arena, in, out, and the workspaces of single steps
  for (const RecordedPlace& own : backend.device_in_hand->own) kept += own.bytes;
  EXPECT_TRUE(has(said, cat("after ", kept, " idle bytes of ours were freed"))) << said;
  backend.device_in_hand->refusals = 0;
  EXPECT_EQ(other.trim(), 0);
  EXPECT_EQ(call({5, -1}), (std::vector<float>{5, 0}));
}

TEST_F(RecordingTest, AShortageForTheRecordingRunsStepByStepAndIsNotTriedAgain) {
  call({1, 2});
  backend.device_in_hand->refuse_above = 100;
  backend.device_in_hand->refusals = 2;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(call({3, -4}), (std::vector<float>{3, 0}));
  EXPECT_EQ(backend.device_in_hand->refusals, 0);
  EXPECT_EQ(recordings(), 0);
  EXPECT_EQ(executor.counters().recordings_refused, 1);
}

TEST_F(RecordingTest, ADeviceThatDoesNotRecordAStepRunsIt) {
  backend.device_in_hand->refuse_recording = true;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(call({3, -4}), (std::vector<float>{3, 0}));
  EXPECT_EQ(executor.counters().recordings_refused, 1);
}

TEST_F(RecordingTest, ALargeOutputIsWrittenInPlaceWhereItsMemoryComesAgain) {
  const char* text =
      "kpt.graph 1\ninput %x : f32[5000000]\nweight %w \"w\" : f32[2]\n"
      "%y = aten.relu(%x) : f32[5000000]\nreturn %y\n";
  Executor large{make_plan(parse(text), backend, {}), weights};
  const Tensor x = Tensor::from<float>(DType::f32, {5000000}, std::vector<float>(5000000, 3));
  std::vector<Tensor> blocks;
  for (int i = 0; i < 3; ++i) blocks.push_back(Tensor::empty(DType::f32, {5000000}));
  const auto into = [&](size_t block) {
    auto* p = static_cast<float*>(blocks[block].data);
    p[0] = p[4999999] = 0;
    const int64_t replays = large.counters().replays;
    large.run({x}, [&](int, const TensorDesc&) { return blocks[block]; });
    const bool replayed = large.counters().replays > replays;
    const bool recorded_now = replayed && p[0] == 3;  // the fake computes at a recording's first replay alone
    EXPECT_TRUE(replayed || (p[0] == 3 && p[4999999] == 3));
    return recorded_now ? 'R' : replayed ? 'r' : 's';
  };
  std::string did;
  for (size_t block : {0, 1, 0, 1, 0, 1, 2}) did += into(block);
  EXPECT_EQ(did, "ssRRrrs");
  EXPECT_EQ(large.counters().recordings, 2);
}

TEST_F(RecordingTest, StepsOfARecordingShareNoWorkspace) {
  const char* text =
      "kpt.graph 1\ninput %x : f32[40, 40]\nweight %w \"w\" : f32[2]\n%y = aten.mm(%x, %x) : f32[40, 40]\n"
      "%z = aten.mm(%y, %x) : f32[40, 40]\nreturn %z\n";
  Executor two{make_plan(parse(text), backend, {}), weights};
  const std::vector<Tensor> inputs = {Tensor::from<float>(DType::f32, {40, 40}, std::vector<float>(1600, 0.5f))};
  for (int i = 0; i < 2; ++i) two.run(inputs, nullptr);
  const auto& own = backend.device_in_hand->own;
  ASSERT_EQ(own.size(), 2u);
  ASSERT_GT(own[0].bytes, 0);
  EXPECT_GE(static_cast<char*>(own[1].place), static_cast<char*>(own[0].place) + own[0].bytes);
  EXPECT_EQ(static_cast<float*>(two.run(inputs, nullptr)[0].data)[0], 40 * 0.5f * 40 * 0.25f);
}

// What ends before a large output is written lies in that output's memory, workspaces too, and takes no arena.
struct ScratchTest : Fixture {
  static constexpr int64_t kRows = 1024, kWide = 4096;
  Executor wide{make_plan(parse("kpt.graph 1\nsym b in [1, 4096] hint 1024\ninput %x : f32[b, 16]\n"
                                "input %m : f32[16, 16]\ninput %n : f32[16, 4096]\nweight %w \"w\" : f32[2]\n"
                                "%a = aten.relu(%x) : f32[b, 16]\n%b = aten.mm(%a, %m) : f32[b, 16]\n"
                                "%c = aten.neg(%b) : f32[b, 16]\n%y = aten.mm(%c, %n) : f32[b, 4096]\nreturn %y\n"),
                          backend, {}),
                weights};

  std::vector<Tensor> inputs(int64_t rows, float x) const {
    const auto all = [](int64_t m, int64_t n, float v) {
      return Tensor::from<float>(DType::f32, {m, n}, std::vector<float>(static_cast<size_t>(m * n), v));
    };
    return {all(rows, 16, x), all(16, 16, 0.25f), all(16, kWide, 0.5f)};
  }
  static bool right(const Tensor& y, float x) {  // all of x is x: each row of mm adds 16 products
    const float want = -(x * 0.25f * 16) * 0.5f * 16;
    const auto* p = static_cast<const float*>(y.data);
    return std::all_of(p, p + y.desc.numel(), [want](float v) { return v == want; });
  }
};

TEST_F(ScratchTest, OnlyWhatTheLastStepReadsIsInTheArena) {
  const auto made = wide.instance({{"b", kRows}});
  EXPECT_EQ(made->arena_bytes, kRows * 16 * 4);  // %c
  EXPECT_EQ(made->scratch.room, kRows * kWide * 4);
  EXPECT_GE(made->scratch.used, 2 * kRows * 16 * 4);  // %a, %b and the workspace of the first product
  const auto small = wide.instance({{"b", 8}});       // an output that recordings copy holds nothing
  EXPECT_EQ(small->scratch.used, 0);
  EXPECT_EQ(small->arena_bytes, 3 * 8 * 16 * 4);
}

// Early slots share nothing with later ones: where they do not fit the output, it is none's scratch.
TEST_F(ScratchTest, AnOutputThatHoldsTooLittleIsNoScratch) {
  const auto arena = [&](int64_t wide_output) {
    const Plan plan =
        make_plan(parse(cat("kpt.graph 1\ninput %x : f32[1024, 4096]\ninput %n : f32[4096, ", wide_output, "]\n",
                            "%a = aten.relu(%x) : f32[1024, 4096]\n%b = aten.neg(%a) : f32[1024, 4096]\n",
                            "%c = aten.relu(%b) : f32[1024, 4096]\n%y = aten.mm(%c, %n) : f32[1024, ", wide_output,
                            "]\nreturn %y\n")),
                  backend, {});
    return std::pair(plan.scratch_output, make_instance(plan, plan.steps, {}, Effort::known)->arena_bytes);
  };
  constexpr int64_t kBytes = int64_t{1024} * 4096 * 4;
  EXPECT_EQ(arena(2100), std::pair(-1, 2 * kBytes));  // %a and %c share
  EXPECT_EQ(arena(4096), std::pair(0, 2 * kBytes));   // room for one of %a and %b: no less, and no more
  EXPECT_EQ(arena(8192), std::pair(0, kBytes));       // %a and %b in the output
}

TEST_F(ScratchTest, CallsRecordingsAndReplaysAreRightInEveryBlock) {
  std::vector<Tensor> blocks;
  for (int i = 0; i < 2; ++i) blocks.push_back(Tensor::empty(DType::f32, {kRows, kWide}));
  for (int i = 0; i < 8; ++i) {
    const Tensor& block = blocks[static_cast<size_t>(i % 2)];
    const int64_t recorded = wide.counters().recordings, replayed = wide.counters().replays;
    const auto out = wide.run(inputs(kRows, static_cast<float>(i + 1)), [&](int, const TensorDesc&) { return block; });
    // The fake computes when it records and not at later replays.
    const bool computed = wide.counters().replays == replayed || wide.counters().recordings > recorded;
    EXPECT_TRUE(!computed || right(out[0], static_cast<float>(i + 1))) << i;
  }
  EXPECT_EQ(wide.counters().recordings, 2);
  const auto& own = backend.device_in_hand->own;
  const auto* first = static_cast<const char*>(blocks[1].data);
  ASSERT_GT(own[1].bytes, 0);
  EXPECT_GE(static_cast<char*>(own[1].place), first + 2 * kRows * 16 * 4);  // behind the slots, in the block
  EXPECT_LE(static_cast<char*>(own[1].place) + own[1].bytes, first + kRows * kWide * 4);
  EXPECT_TRUE(static_cast<char*>(own[3].place) + own[3].bytes <= first ||  // the step that writes it has its own
              static_cast<char*>(own[3].place) >= first + kRows * kWide * 4);
  EXPECT_TRUE(right(wide.run(inputs(8, 3), nullptr)[0], 3));
}

// A size that a call met first is planned with what is known, and timed once it came back often; one made ready is not.
TEST_F(RecordingTest, ASizeThatComesBackOftenIsPlannedOnceMore) {
  const auto planned = [&] { return executor.counters().shapes_planned.load(); };
  for (int i = 0; i < 16; ++i) call({1, 2});
  EXPECT_EQ(planned(), 1);
  EXPECT_EQ(recordings(), 1);
  EXPECT_EQ(executor.instance_for({Tensor::zeros(DType::f32, {1, 2})})->effort, Effort::known);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(call({1, 2}).size(), 2u);
  EXPECT_EQ(planned(), 2);
  EXPECT_EQ(recordings(), 2);  // the first one held kernels of the first plan
  EXPECT_EQ(executor.instance_for({Tensor::zeros(DType::f32, {1, 2})})->effort, Effort::timed);
  call({3, 4}, &executor);  // another stream's frame has a recording of its own
  EXPECT_EQ(planned(), 2);
  EXPECT_EQ(recordings(), 3);

  executor.make_ready({Tensor::zeros(DType::f32, {3, 2})});
  EXPECT_EQ(planned(), 3);
  for (int i = 0; i < 40; ++i) call({1, 2, 3, 4, 5, 6});
  executor.make_ready({Tensor::zeros(DType::f32, {3, 2})});
  EXPECT_EQ(planned(), 3);
  EXPECT_EQ(recordings(), 4);
}

TEST_F(RecordingTest, SizesThatTheDeviceRefusedAreLetGoWithTheCache) {
  backend.device_in_hand->refuse_recording = true;
  std::string text = kText;
  text.replace(text.find("[1, 64]"), 7, "[1, 99]");
  Executor wide{make_plan(parse(text), backend, {}), weights};
  const auto twice = [&](int64_t rows) {
    const std::vector<float> x(static_cast<size_t>(2 * rows), 1);
    for (int i = 0; i < 2; ++i) wide.run({Tensor::from<float>(DType::f32, {rows, 2}, x)}, nullptr);
  };
  twice(1);
  const std::weak_ptr<const Instance> first = wide.instance({{"b", 1}});
  for (int64_t rows = 2; rows <= 64; ++rows) twice(rows);
  EXPECT_EQ(wide.counters().recordings_refused, 64);
  EXPECT_FALSE(first.expired());  // the cache keeps 64 sets of sizes
  twice(65);
  EXPECT_TRUE(first.expired());
}

TEST_F(RecordingTest, CallBytesAreWhatACallThenTakes) {
  const std::vector<Tensor> inputs = {Tensor::from<float>(DType::f32, {64, 2}, std::vector<float>(128, 1))};
  const int64_t bytes = executor.call_bytes(inputs);
  EXPECT_EQ(executor.counters().calls, 0);
  executor.run(inputs, nullptr);
  EXPECT_EQ(bytes, executor.trim() + 512);  // the arena, and one output of 64 x 2 floats
}

TEST_F(RecordingTest, AFaultSeenAtAReplayNamesTheStepsAndEveryLaterCallThrows) {
  for (int i = 0; i < 3; ++i) call({1, 2});
  // Between the check at the start of the call and the replay: as a fault of work that is still running.
  struct Faulting final : WeightSource {
    std::shared_ptr<MutableWeights> inner;
    const FakeDevice* device = nullptr;
    size_t size() const override { return 1; }
    const std::string& fqn(size_t i) const override { return inner->fqn(i); }
    Tensor tensor(size_t i) const override { return inner->tensor(i); }
    uint64_t version(size_t) const override {
      if (device) device->faulted = true;
      return 0;
    }
  };
  auto source = std::make_shared<Faulting>();
  source->inner = weights;
  Executor late{make_plan(parse(kText), backend, {}), source};
  const auto go = [&] { late.run({Tensor::from<float>(DType::f32, {1, 2}, std::vector<float>{1, 2})}, nullptr); };
  for (int i = 0; i < 3; ++i) go();
  source->device = backend.device_in_hand.get();
  const std::string first = thrown(go);
  EXPECT_TRUE(first.starts_with("fault: [runtime] ")) << first;
  EXPECT_TRUE(has(first, "replaying the recorded call of the model of 2 steps, %y to %z")) << first;
  EXPECT_TRUE(has(first, "KPT_SYNC=1")) << first;
  for (int i = 0; i < 3; ++i) {
    const std::string later = thrown([&] { call({1, 2}); });  // another model on the same device
    EXPECT_TRUE(has(later, "seen when starting a call")) << later;
  }
}

TEST_F(RecordingTest, WithSyncAFaultNamesTheStepItHappenedIn) {
  set_setting("sync", "1");
  const int before = backend.device_in_hand->waits;
  EXPECT_EQ(call({1, -2}), (std::vector<float>{1, 0}));
  call({1, -2});
  EXPECT_EQ(recordings(), 0);
  EXPECT_EQ(backend.device_in_hand->waits - before, 2 * 3);  // before the first step and after both
  backend.device_in_hand->fault_at_wait = backend.device_in_hand->waits + 3;
  const std::string said = thrown([&] { call({1, -2}); });
  set_setting("sync", "0");
  EXPECT_TRUE(said.starts_with("fault: [runtime] kernel ")) << said;
  EXPECT_TRUE(has(said, "failed at %z = aten.relu(%y)")) << said;
}

TEST_F(RecordingTest, WithSyncAFaultOfEarlierWorkIsNotBlamedOnAStep) {
  set_setting("sync", "1");
  backend.device_in_hand->fault_at_wait = backend.device_in_hand->waits + 1;
  const std::string said = thrown([&] { call({1, -2}); });
  set_setting("sync", "0");
  EXPECT_TRUE(has(said, "seen when starting a call")) << said;
}

}  // namespace
}  // namespace kpt
