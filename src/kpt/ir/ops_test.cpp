// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/ops.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>

namespace kpt {
namespace {

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Ops, EveryOperatorOfTheDocumentIsInTheTable) {
  std::string text = read(KPT_SOURCE_DIR "/docs/operators.md");
  ASSERT_FALSE(text.empty());
  text = text.substr(0, text.find("## Weights-only nodes"));
  std::set<std::string> named;
  const std::regex op(R"((aten|kpt)\.[A-Za-z_0-9]+(\.[A-Za-z_0-9]+)?)");
  for (std::sregex_iterator it(text.begin(), text.end(), op), end; it != end; ++it) named.insert(it->str());
  for (const char* form : {"aten.relu_"}) named.erase(form);  // named there as never seen
  for (const std::string& name : named) EXPECT_NE(op_info(name), nullptr) << name;
  EXPECT_GT(named.size(), 100u);
}

TEST(Ops, FactsOfSomeOperators) {
  EXPECT_TRUE(is_view("aten.permute"));
  EXPECT_FALSE(is_view("aten.cat"));
  EXPECT_TRUE(is_pointwise("aten.where.self"));
  EXPECT_EQ(op_info("aten.where.self")->arity, 3);
  EXPECT_EQ(op_info("aten.softmax.int")->kind, OpKind::row);
  EXPECT_EQ(op_info("aten.nothing"), nullptr);
  EXPECT_EQ(op_info(""), nullptr);
}

TEST(Ops, NamedArgumentsChooseTheInstruction) {
  EXPECT_EQ(scalar_of("aten.add.Tensor", {}), "add");
  EXPECT_EQ(scalar_of("aten.gelu", {{"approximate", "none"}}), "gelu_erf");
  EXPECT_EQ(scalar_of("aten.gelu", {{"approximate", "tanh"}}), "gelu_tanh");
  EXPECT_EQ(scalar_of("aten.div.Tensor_mode", {{"rounding_mode", None{}}}), "div");
  EXPECT_EQ(scalar_of("aten.div.Tensor_mode", {{"rounding_mode", "floor"}}), "div_floor");
  EXPECT_EQ(scalar_of("aten._to_copy", {{"dtype", DType::bf16}}), "to_bf16");
  EXPECT_EQ(scalar_of("aten.linear", {}), "");
  EXPECT_EQ(scalar_of("kpt.pointwise", {}), "");
  EXPECT_THROW(scalar_of("aten._to_copy", {}), Error);
}

}  // namespace
}  // namespace kpt
