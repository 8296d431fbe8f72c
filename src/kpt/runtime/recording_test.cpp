// SPDX-License-Identifier: Apache-2.0
// Recording and replay, streams and short memory, on a device that computes on the CPU and behaves like a GPU.
#include <gtest/gtest.h>

#include <cstring>

#include "kpt/ir/text.h"
#include "kpt/runtime/executor.h"

namespace kpt {
namespace {

// Host memory. A recording runs its work at its first replay, which follows at once.
struct FakeDevice final : Device {
  mutable int allocations = 0, waits = 0;
  mutable int64_t refuse_above = INT64_MAX;  // bytes
  mutable int refusals = 0;                  // how many to refuse

  Memory allocate(int64_t bytes, void*) const override {
    ++allocations;
    if (bytes > refuse_above && refusals-- > 0) throw_error(ErrorKind::resource, "fake", "full");
    return Tensor::empty(DType::u8, {bytes}).owner;
  }
  void copy(void* to, const void* from, int64_t bytes, void*) const override {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  }
  void wait(void*) const override { ++waits; }
  bool records() const override { return true; }

  struct Kept final : Recording {
    std::vector<RecordedPlace> in, out;
    std::function<void(void*)> work;
    void replay(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, void* stream) override {
      for (size_t i = 0; i < in.size(); ++i) std::memcpy(in[i].place, inputs[i], static_cast<size_t>(in[i].bytes));
      if (work) work(stream);
      work = nullptr;  // its references end with the recording call: later replays give what the first left
      for (size_t i = 0; i < out.size(); ++i) std::memcpy(outputs[i], out[i].place, static_cast<size_t>(out[i].bytes));
    }
  };
  std::unique_ptr<Recording> record(const std::vector<RecordedPlace>& in, const std::vector<RecordedPlace>& out,
                                    const std::function<void(void*)>& work) const override {
    auto kept = std::make_unique<Kept>();
    kept->in = in;
    kept->out = out;
    kept->work = work;
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

const char* kText =
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

}  // namespace
}  // namespace kpt
