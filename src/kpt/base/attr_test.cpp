// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/attr.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

const Kwargs& sample() {
  static const Kwargs kwargs = {
      {"flag", true},        {"n", 3},         {"sizes", AttrList{Attr(2), Attr(Sym::symbol("s"))}},
      {"eps", 1e-5},         {"mode", "tanh"}, {"nothing", None{}},
      {"dtype", DType::bf16}};
  return kwargs;
}

std::string error_of(void (*f)()) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    return e.what();
  }
  return "no error";
}

TEST(Attr, ReadsWhatIsThere) {
  EXPECT_TRUE(get_bool(sample(), "flag", false));
  EXPECT_EQ(get_int(sample(), "n", 0), 3);
  EXPECT_EQ(get_float(sample(), "n", 0), 3.0);
  EXPECT_EQ(get_float(sample(), "eps", 0), 1e-5);
  EXPECT_EQ(get_string(sample(), "mode", "none"), "tanh");
  EXPECT_EQ(get_syms(sample(), "sizes"), (std::vector<Sym>{2, Sym::symbol("s")}));
}

TEST(Attr, AbsentAndNoneGiveTheDefault) {
  for (const char* name : {"absent", "nothing"}) {
    EXPECT_TRUE(get_bool(sample(), name, true));
    EXPECT_EQ(get_int(sample(), name, 7), 7);
    EXPECT_EQ(get_sym(sample(), name, Sym::symbol("s")), Sym::symbol("s"));
    EXPECT_EQ(get_float(sample(), name, 0.5), 0.5);
    EXPECT_EQ(get_string(sample(), name, "x"), "x");
    EXPECT_TRUE(get_syms(sample(), name).empty());
    EXPECT_TRUE(get_ints(sample(), name).empty());
  }
  EXPECT_EQ(find(sample(), "absent"), nullptr);
  EXPECT_TRUE(find(sample(), "nothing")->is_none());
}

TEST(Attr, WrongTypesNameTheAttribute) {
  EXPECT_EQ(error_of([] { get_bool(sample(), "n", false); }), "[base.attr] got an integer for n, want a bool");
  EXPECT_EQ(error_of([] { get_int(sample(), "eps", 0); }), "[base.attr] got a float for eps, want an integer");
  EXPECT_EQ(error_of([] { get_float(sample(), "mode", 0); }), "[base.attr] got a string for mode, want a number");
  EXPECT_EQ(error_of([] { get_string(sample(), "dtype", ""); }), "[base.attr] got a dtype for dtype, want a string");
  EXPECT_EQ(error_of([] { get_syms(sample(), "flag"); }), "[base.attr] got a bool for flag, want a list");
  EXPECT_EQ(error_of([] { get_ints(sample(), "sizes"); }),
            "[base.attr] got an integer for sizes, want a constant in place of s");
}

TEST(Attr, ConcreteReplacesSymbolsAtEveryDepth) {
  const Attr nested = AttrList{Attr(Sym::parse("2*s")), Attr(AttrList{Attr(Sym::symbol("s")), Attr("s")}), Attr(1.5)};
  const Attr want = AttrList{Attr(10), Attr(AttrList{Attr(5), Attr("s")}), Attr(1.5)};
  EXPECT_TRUE(concrete(nested, {{"s", 5}}) == want);
  EXPECT_THROW(concrete(nested, {}), Error);
}

TEST(Attr, LiteralsTakeTheRightKind) {
  EXPECT_TRUE(Attr("x").is<std::string>());
  EXPECT_TRUE(Attr(1).is<Sym>());
  EXPECT_TRUE(Attr(1.0).is<double>());
  EXPECT_TRUE(Attr(true).is<bool>());
  EXPECT_FALSE(Attr(1) == Attr(1.0));
}

}  // namespace
}  // namespace kpt
