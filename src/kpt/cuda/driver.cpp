// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/driver.h"

#include <atomic>
#include <cstdio>
#include <mutex>

#include "kpt/cuda/library.h"

// cuda.h renames functions to versioned symbols (cuMemAlloc -> cuMemAlloc_v2) by macros: the name looked up must
// follow.
#define KPT_TEXT(name) #name
#define KPT_SYMBOL(name) KPT_TEXT(name)

namespace kpt {
namespace {

constexpr int kOldestDriver = 12000;  // cuLaunchKernelEx with programmatic dependent launch; cubins of sm_90

struct Opened {
  CudaDriver functions;
  Verdict verdict;
  int version = 0;
};

Opened open_driver() {
  Opened out;
  const OpenLibrary library = open_library({"libcuda.so.1"});
  if (!library.verdict) {
    out.verdict = no("no NVIDIA driver: ", library.verdict.reason);
    return out;
  }
#define KPT_LOAD(name)                                                                                   \
  out.functions.name = reinterpret_cast<decltype(out.functions.name)>(library.symbol(KPT_SYMBOL(name))); \
  if (!out.functions.name) {                                                                             \
    out.verdict = no("the NVIDIA driver lacks ", KPT_SYMBOL(name), ", want driver 12.0 or newer");       \
    return out;                                                                                          \
  }
  KPT_CUDA_DRIVER_FUNCTIONS(KPT_LOAD)
#undef KPT_LOAD
  out.functions.cuFuncLoad = reinterpret_cast<decltype(out.functions.cuFuncLoad)>(library.symbol("cuFuncLoad"));
  const auto failed = [&](CUresult result, const char* what) {
    if (result == CUDA_SUCCESS) return false;
    const char* text = nullptr;
    out.functions.cuGetErrorName(result, &text);
    out.verdict = no(what, " failed: ", text ? text : "unknown error");
    return true;
  };
  int count = 0;
  if (failed(out.functions.cuInit(0), "cuInit") ||
      failed(out.functions.cuDriverGetVersion(&out.version), "cuDriverGetVersion") ||
      failed(out.functions.cuDeviceGetCount(&count), "cuDeviceGetCount"))
    return out;
  if (out.version < kOldestDriver)
    out.verdict = no("got driver API ", out.version, ", want ", kOldestDriver, " or newer, try a newer NVIDIA driver");
  else if (count == 0)
    out.verdict = no("the NVIDIA driver sees no device");
  return out;
}

const Opened& opened() {
  static const Opened value = open_driver();
  return value;
}

std::atomic<bool> poisoned{false};
std::mutex first_fault_mutex;
std::string first_fault;

bool is_sticky(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED: return true;
    default: return false;
  }
}

std::string uuid_text(const CUuuid& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(uuid.bytes[i]));
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits;
  }
  return text;
}

CudaDevice probe(int index) {
  const CudaDriver& d = opened().functions;
  CudaDevice out;
  out.index = index;
  out.driver_version = opened().version;
  CUdevice device;
  cuda_check(d.cuDeviceGet(&device, index), "cuda.device");
  char name[256] = {};
  cuda_check(d.cuDeviceGetName(name, sizeof name, device), "cuda.device");
  out.name = name;
  CUuuid uuid;
  cuda_check(d.cuDeviceGetUuid(&uuid, device), "cuda.device");
  out.uuid = uuid_text(uuid);
  size_t bytes = 0;
  cuda_check(d.cuDeviceTotalMem(&bytes, device), "cuda.device");
  out.memory_bytes = static_cast<int64_t>(bytes);
  const auto attribute = [&](CUdevice_attribute which) {
    int value = 0;
    cuda_check(d.cuDeviceGetAttribute(&value, which, device), "cuda.device");
    return value;
  };
  out.arch = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
             attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  out.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  out.l2_bytes = attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  out.shared_bytes = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  out.clock_khz = attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
  out.memory_clock_khz = attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
  out.bus_bits = attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
  return out;
}

CUcontext primary_context(int device) {
  static std::mutex mutex;
  static std::vector<CUcontext> contexts;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto at = static_cast<size_t>(device);
  cuda();  // throws where there is no driver
  if (device < 0 || at >= cuda_devices().size())
    throw_error(ErrorKind::device, "cuda",
                cat("got device cuda:", device, ", want one of ", cuda_devices().size(), " devices, try cuda:0"));
  if (contexts.size() <= at) contexts.resize(at + 1);
  if (!contexts[at]) {
    CUdevice handle;
    cuda_check(cuda().cuDeviceGet(&handle, device), "cuda.context");
    cuda_check(cuda().cuDevicePrimaryCtxRetain(&contexts[at], handle), "cuda.context");
  }
  return contexts[at];
}

}  // namespace

Verdict cuda_here() { return opened().verdict; }

const CudaDriver& cuda() {
  if (!opened().verdict)
    throw_error(ErrorKind::no_driver, "cuda",
                cat("got ", opened().verdict.reason, ", want an NVIDIA GPU and its driver, try device cpu"));
  return opened().functions;
}

bool cuda_poisoned() { return poisoned.load(std::memory_order_acquire); }

std::string cuda_fault() {
  const std::lock_guard<std::mutex> lock(first_fault_mutex);
  return first_fault;
}

namespace {

std::string error_text(CUresult result) {
  const char* label = nullptr;
  const char* text = nullptr;
  if (const CudaDriver& d = opened().functions; opened().verdict) {
    d.cuGetErrorName(result, &label);
    d.cuGetErrorString(result, &text);
  }
  return label ? cat(label, " (", text ? text : "", ")") : cat("CUDA error ", static_cast<int>(result));
}

[[noreturn]] void throw_fault(std::string_view where, const std::string& said) {
  std::string first;
  {
    const std::lock_guard<std::mutex> lock(first_fault_mutex);
    if (first_fault.empty()) first_fault = cat(said, " seen by ", where);
    first = first_fault;
  }
  poisoned.store(true, std::memory_order_release);
  throw_error(ErrorKind::fault, where,
              cat("got ", first, ": the GPU context is lost and no later result of this process could be trusted, so ",
                  "none is given; try a new process, with KPT_SYNC=1 to learn which step failed"));
}

}  // namespace

void cuda_check(CUresult result, std::string_view where, ErrorKind otherwise) {
  if (result == CUDA_SUCCESS && !cuda_poisoned()) return;
  if (cuda_poisoned() || is_sticky(result)) throw_fault(where, error_text(result));
  throw_error(result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorKind::resource : otherwise, where, error_text(result));
}

const std::vector<CudaDevice>& cuda_devices() {
  static const std::vector<CudaDevice> devices = [] {
    std::vector<CudaDevice> out;
    int count = 0;
    if (opened().verdict) cuda_check(opened().functions.cuDeviceGetCount(&count), "cuda.device");
    for (int i = 0; i < count; ++i) out.push_back(probe(i));
    return out;
  }();
  return devices;
}

CudaGuard::CudaGuard(int device) {
  const CUcontext wanted = primary_context(device);
  cuda_check(cuda().cuCtxGetCurrent(&before_), "cuda.context");
  if (before_ == wanted) return;
  cuda_check(cuda().cuCtxSetCurrent(wanted), "cuda.context");
  changed_ = true;
}

CudaGuard::~CudaGuard() {
  // A destructor cannot throw; a context that was current before can be made so again.
  if (changed_ && before_) cuda().cuCtxSetCurrent(before_);
}

int current_cuda_device() {
  CUcontext context = nullptr;
  cuda_check(cuda().cuCtxGetCurrent(&context), "cuda.context");
  if (!context) return -1;
  for (const CudaDevice& d : cuda_devices()) {
    if (context == primary_context(d.index)) return d.index;
  }
  return -1;
}

}  // namespace kpt
