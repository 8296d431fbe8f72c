// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/convolution/convolution.h"
#include "kpt/kernels/lib/cpu/act_reference.h"

namespace kpt {

namespace {

class ConvReference : public Launch {
 public:
  explicit ConvReference(ConvCall call) : call_(std::move(call)) {}
  std::string config() const override { return "double loops"; }
  void run(const RunArgs& args) const override {
    const ConvProblem& p = call_.p;
    char* y = static_cast<char*>(args.outputs[0]);
    for (int64_t b = 0; b < p.b; ++b)
      for (int64_t o = 0; o < p.o; ++o)
        for (int64_t i = 0; i < p.oh; ++i)
          for (int64_t j = 0; j < p.ow; ++j) {
            const int64_t to = p.last ? ((b * p.oh + i) * p.ow + j) * p.o + o : ((b * p.o + o) * p.oh + i) * p.ow + j;
            double sum = pixel(args, b, o, i, j);
            if (call_.bias >= 0) sum += at(args, call_.bias, o);
            if (call_.residual >= 0) sum += at(args, call_.residual, to);
            store_from_double(call_.dtype, y + to * static_cast<int64_t>(size_of(call_.dtype)), activate(p.act, sum));
          }
  }

 private:
  double at(const RunArgs& args, int input, int64_t index) const {
    return load_as_double(
        call_.dtype, static_cast<const char*>(args.inputs[input]) + index * static_cast<int64_t>(size_of(call_.dtype)));
  }

  double pixel(const RunArgs& args, int64_t b, int64_t o, int64_t oh, int64_t ow) const {
    const ConvProblem& p = call_.p;
    const int64_t channels = p.c / p.groups, first = o / (p.o / p.groups) * channels;
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < p.kh; ++i)
        for (int64_t j = 0; j < p.kw; ++j) {
          const int64_t y = oh * p.stride_h - p.pad_h + i * p.dilation_h,
                        x = ow * p.stride_w - p.pad_w + j * p.dilation_w;
          if (y < 0 || y >= p.h || x < 0 || x >= p.w) continue;
          sum += at(args, call_.x, b * p.x_b + (first + c) * p.x_c + y * p.x_h + x * p.x_w) *
                 at(args, call_.w, o * p.w_o + c * p.w_c + i * p.w_h + j * p.w_w);
        }
    return sum;
  }

  ConvCall call_;
};

}  // namespace

std::unique_ptr<Launch> make_conv_reference(ConvCall call) { return std::make_unique<ConvReference>(std::move(call)); }

}  // namespace kpt
