// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// testdata/noise.txt: wall-clock times of one fixed spin, in microseconds, in the order they were taken. Lines with '#'
// are the header. Made by record_noise() below; the tests resample from the file and time nothing themselves.
inline std::vector<double> read_noise() {
  std::ifstream file(KPT_SOURCE_DIR "/src/kpt/tracking/testdata/noise.txt");
  KPT_CHECK(file.good(), "tracking.noise", "got no testdata/noise.txt, want the recorded noise");
  std::vector<double> samples;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    for (double value; words >> value;) samples.push_back(value);
  }
  return samples;
}

// One pass that adds up `words`: the same instructions each time. It reads more than the second-level cache holds, so
// that neighbours on the memory bus show in it as well as the scheduler, which is what a model's noise is made of.
inline double spin_microseconds(const std::vector<uint64_t>& words) {
  const auto start = std::chrono::steady_clock::now();
  uint64_t sum = 0;
  for (uint64_t word : words) {
    sum += word;
    asm volatile("" : "+r"(sum));
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

inline void record_noise(const std::string& path, int samples, size_t megabytes) {
  const std::vector<uint64_t> words(megabytes << 17, 1);
  std::ofstream file(path);
  file << "# " << samples << " wall-clock times in microseconds of one pass over " << megabytes
       << " MB, back to back in one thread, on a\n"
       << "# virtual machine with 2 shared cores (AMD Zen 4) while other builds kept both busy. Made by:\n"
       << "# kpt_tracking_test --gtest_also_run_disabled_tests --gtest_filter=Noise.DISABLED_Record\n";
  file.setf(std::ios::fixed);
  file.precision(1);
  for (int i = 0; i < samples; ++i) file << spin_microseconds(words) << (i % 16 == 15 ? '\n' : ' ');
}

}  // namespace kpt
