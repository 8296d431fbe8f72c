// SPDX-License-Identifier: Apache-2.0
// Calls kept by the device: which are worth it, how they are recorded, and when one holds for a call.
#include <algorithm>

#include "kpt/base/log.h"
#include "kpt/runtime/frame.h"
#include "kpt/runtime/memory.h"

namespace kpt {

namespace {
// Recordings kept by one frame. A CUDA graph of 200 kernels takes about 1 MB of device memory.
constexpr size_t kRecordings = 16;
constexpr size_t kSeen = 8;
// Workspaces that a recording gives to steps of its own: cuBLASLt's products on an H200 ask for less.
constexpr int64_t kOwnWorkspace = 1 << 20, kOwnWorkspaces = 64 << 20;

int64_t aligned(int64_t bytes) { return round_up(bytes, kWorkspaceAlignment); }

}  // namespace

// The second call of a shape is worth recording, where large outputs lie as they did in a call before.
bool Executor::repeats(Frame& frame, const std::vector<void*>& bound) const {
  const Instance& instance = *frame.instance;
  if (!instance.recordable || frame.unrecorded.count(frame.instance)) return false;
  const bool again = instance.runs.fetch_add(1, std::memory_order_relaxed) > 0;
  if (std::all_of(bound.begin(), bound.end(), [](void* p) { return !p; })) return again;
  const std::pair key(frame.instance, bound);
  const bool known = std::find(frame.seen.begin(), frame.seen.end(), key) != frame.seen.end();
  if (!known) frame.seen.push_front(key);
  if (frame.seen.size() > kSeen) frame.seen.pop_back();
  return again && known;
}

// Runs the frame's instance as one recording, made first where there is none. False where it does not repeat.
bool Executor::replay(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
                      const std::vector<Tensor>& outputs) {
  if (!plan_.device->records()) return false;
  std::vector<void*>&bound = frame.bound, &to = frame.to;
  bound.clear();
  to.clear();
  for (const Tensor& t : outputs) {
    bound.push_back(bytes_of(t.desc) > kCopiedOutput ? t.data : nullptr);
    if (!bound.back()) to.push_back(t.data);
  }
  if (!repeats(frame, bound)) return false;
  auto& kept = frame.recordings;
  if (const size_t old =
          std::erase_if(kept, [&](const auto& r) { return r.instance == frame.instance && r.weights != weights; }))
    log(LogLevel::info, "runtime", "event=recording_dropped reason=\"weights changed\" count=", old);
  const auto it = std::find_if(kept.begin(), kept.end(),
                               [&](const auto& r) { return r.instance == frame.instance && r.bound == bound; });
  if (it != kept.end())
    kept.splice(kept.begin(), kept, it);
  else if (!record(frame, weights, inputs, outputs, bound))
    return false;
  try {
    kept.front().recording->replay(frame.from, to, frame.stream);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::fault) throw;
    queued_fault(e, "replaying the recorded call");
  }
  counters_.replays++;
  return true;
}

// Puts a recording of the frame's instance first. A device that refuses one (memory, an operation that it does not
// record) is not asked again by this frame: the call runs step by step. A fault is thrown.
bool Executor::record(Frame& frame, const std::shared_ptr<const Weights>& weights, const std::vector<Tensor>& inputs,
                      const std::vector<Tensor>& outputs, const std::vector<void*>& bound) {
  const Instance& instance = *frame.instance;
  Frame::Recorded made{frame.instance, weights, bound, nullptr, 0, nullptr};
  for (const Tensor& t : inputs) made.places_bytes += aligned(bytes_of(t.desc));
  for (size_t i = 0; i < outputs.size(); ++i)
    if (!bound[i]) made.places_bytes += aligned(bytes_of(outputs[i].desc));
  RecordedWork work;
  int64_t left = kOwnWorkspaces;
  char* const scratch =
      instance.scratch.room ? static_cast<char*>(bound[static_cast<size_t>(plan_.scratch_output)]) : nullptr;
  int64_t used = aligned(instance.scratch.used);
  for (size_t i = 0; i < instance.steps.size(); ++i) {
    const int64_t bytes = aligned(static_cast<int64_t>(instance.steps[i].launch->workspace_bytes()));
    const bool own = bytes <= std::min(left, kOwnWorkspace);
    work.own.push_back({nullptr, own ? bytes : 0});
    if (!own) continue;
    left -= bytes;
    if (scratch && i < static_cast<size_t>(plan_.scratch_until) && used + bytes <= instance.scratch.room)
      work.own.back().place = scratch + std::exchange(used, used + bytes);
    else
      made.places_bytes += bytes;
  }
  try {
    with_room(*plan_.device, made.places_bytes, "what a recorded call keeps for itself",
              [&] { made.places = plan_.device->allocate(made.places_bytes, frame.stream); });
    std::vector<RecordedPlace> in, out;
    std::vector<const void*> in_pointers;
    std::vector<void*> out_pointers;
    char* at = static_cast<char*>(made.places.get());
    const auto place = [&](const Tensor& t, std::vector<RecordedPlace>& places) {
      places.push_back({at, bytes_of(t.desc)});
      return std::exchange(at, at + aligned(bytes_of(t.desc)));
    };
    for (const Tensor& t : inputs) in_pointers.push_back(place(t, in));
    for (size_t i = 0; i < outputs.size(); ++i) out_pointers.push_back(bound[i] ? bound[i] : place(outputs[i], out));
    for (RecordedPlace& own : work.own)
      if (!own.place) own.place = std::exchange(at, at + own.bytes);
    place_buffers(frame, *weights, in_pointers, out_pointers);
    work.run = [&instance, &buffers = frame.buffers, own = work.own, shared = workspaces(frame, out_pointers)](
                   size_t step, Stream stream) {
      run_step(instance, step, buffers, own[step].bytes ? own[step].place : shared.of(step), stream);
    };
    made.recording = plan_.device->record(in, out, work);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::resource && e.kind() != ErrorKind::device && e.kind() != ErrorKind::launch) throw;
    counters_.recordings_refused++;
    log(LogLevel::warn, "runtime", "event=recording_refused kind=", name(e.kind()), " error=\"", e.what(), '"');
    std::erase_if(frame.unrecorded, [](const auto& gone) { return gone.expired(); });
    frame.unrecorded.insert(frame.instance);
    return false;
  }
  counters_.recordings++;
  log(LogLevel::debug, "runtime", "event=recorded steps=", instance.steps.size(), " bytes=", made.places_bytes);
  auto& kept = frame.recordings;
  if (kept.size() >= kRecordings) {
    log(LogLevel::info, "runtime", "event=recording_dropped reason=\"least recently used\" count=1");
    kept.pop_back();
  }
  kept.push_front(std::move(made));
  return true;
}

}  // namespace kpt
