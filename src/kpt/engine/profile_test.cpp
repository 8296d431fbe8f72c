// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/profile.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "kpt/engine/engine.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

using Json = nlohmann::json;

const char* const kTwoSteps =
    "kpt.graph 1\nsym b in [1, 64] hint 4\ninput %x : f32[b, 16]\nweight %w \"w\" : f32[8, 16]\n"
    "%y = aten.linear(%x, %w, none) : f32[b, 8]\n%z = aten.softmax.int(%y, dim=1) : f32[b, 8]\nreturn %z\n";

class OneWeight final : public WeightSource {
 public:
  size_t size() const override { return 1; }
  const std::string& fqn(size_t) const override { return name_; }
  Tensor tensor(size_t) const override { return weight_; }
  uint64_t version(size_t) const override { return 0; }

 private:
  std::string name_ = "w";
  Tensor weight_ = Tensor::zeros(DType::f32, {8, 16});
};

std::shared_ptr<Model> two_steps() {
  CompileOptions options;
  options.threads = 1;
  return Model::compile(parse(kTwoSteps), std::make_shared<OneWeight>(), options);
}

std::vector<int64_t> numbers(const Json& json) { return json.get<std::vector<int64_t>>(); }

TEST(Profile, EveryStepOfEveryRoundLiesInsideItsCall) {
  const auto model = two_steps();
  const Json p = Json::parse(model->profile({Tensor::zeros(DType::f32, {6, 16})}, 5));
  ASSERT_EQ(p["steps"].size(), 2u);
  EXPECT_EQ(p["rounds"], 5);
  const auto call = numbers(p["call_ns"]), starts = numbers(p["call_start_ns"]);
  ASSERT_EQ(call.size(), 5u);
  EXPECT_EQ(starts[0], 0);
  for (size_t r = 0; r < 5; ++r) {
    int64_t end = 0;
    for (const Json& step : p["steps"]) {
      ASSERT_EQ(step["ns"].size(), 5u);
      EXPECT_GE(step["start_ns"][r].get<int64_t>(), end);
      end = step["start_ns"][r].get<int64_t>() + step["ns"][r].get<int64_t>();
    }
    EXPECT_LE(end, call[r]);
    if (r) {
      EXPECT_GE(starts[r], starts[r - 1] + call[r - 1]);
    }
  }
  EXPECT_EQ(model->counters()["calls"], 5);
}

TEST(Profile, CostsAreThoseOfTheInputsNotOfTheHint) {
  const Json p = Json::parse(two_steps()->profile({Tensor::zeros(DType::f32, {6, 16})}, 1));
  EXPECT_EQ(p["steps"][0]["flops"], 2 * 6 * 8 * 16);
  EXPECT_EQ(p["steps"][0]["bytes_read"], 4 * (6 * 16 + 8 * 16));
  EXPECT_EQ(p["steps"][1]["bytes_written"], 4 * 6 * 8);
  EXPECT_EQ(p["steps"][1]["flops"], 0);
  EXPECT_EQ(numbers(p["memory"]["live_bytes"]), (std::vector<int64_t>{4 * 6 * 8, 4 * 6 * 8}));
}

TEST(Profile, WrongRoundsAndInputsAreNamed) {
  const auto model = two_steps();
  EXPECT_THROW(model->profile({Tensor::zeros(DType::f32, {6, 16})}, 0), Error);
  EXPECT_THROW(model->profile({Tensor::zeros(DType::f32, {65, 16})}, 1), Error);
}

}  // namespace
}  // namespace kpt
