// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/kernel.h"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>

namespace kpt {

void register_all_kernels(KernelRegistry& registry);  // generated: one call for each leaf folder

namespace {

constexpr std::array<std::string_view, 5> kProviders = {"kpt", "codegen", "vendor", "aten", "reference"};

size_t provider_rank(std::string_view provider) {
  return static_cast<size_t>(std::find(kProviders.begin(), kProviders.end(), provider) - kProviders.begin());
}

// One lock for all registries: they are written at start-up and in tests only.
std::mutex& registry_mutex() {
  static std::mutex mutex;
  return mutex;
}

void print(std::ostream& os, const Attr& attr) {
  if (attr.is<None>()) {
    os << "none";
  } else if (attr.is<In>()) {
    os << "%" << attr.as<In>().index;
  } else if (attr.is<bool>()) {
    os << (attr.as<bool>() ? "true" : "false");
  } else if (attr.is<Sym>()) {
    os << attr.as<Sym>();
  } else if (attr.is<double>()) {
    os << attr.as<double>();
  } else if (attr.is<std::string>()) {
    os << '"' << attr.as<std::string>() << '"';
  } else if (attr.is<DType>()) {
    os << attr.as<DType>();
  } else {
    const AttrList& list = attr.as<AttrList>();
    os << '[';
    for (size_t i = 0; i < list.size(); ++i) {
      if (i) os << ", ";
      print(os, list[i]);
    }
    os << ']';
  }
}

}  // namespace

int Problem::operand_index(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= args.size()) return -1;
  const Attr& a = args[static_cast<size_t>(i)];
  if (!a.is<In>()) return -1;
  const int index = a.as<In>().index;
  KPT_ASSERT(index >= 0 && static_cast<size_t>(index) < inputs.size(), "kernels.problem", op, " refers to input ",
             index, " of ", inputs.size());
  return index;
}

const TensorDesc* Problem::operand(int i) const {
  const int index = operand_index(i);
  return index < 0 ? nullptr : &inputs[static_cast<size_t>(index)];
}

std::vector<int> Problem::operand_list(int i) const {
  std::vector<int> indices;
  if (i < 0 || static_cast<size_t>(i) >= args.size() || !args[static_cast<size_t>(i)].is<AttrList>()) return indices;
  for (const Attr& a : args[static_cast<size_t>(i)].as<AttrList>()) {
    const int index = a.is<In>() ? a.as<In>().index : -1;
    KPT_ASSERT(index < static_cast<int>(inputs.size()), "kernels.problem", op, " refers to input ", index, " of ",
               inputs.size());
    indices.push_back(index);
  }
  return indices;
}

namespace {

bool same(const Attr& a, const Attr& b) {
  if (a.index() != b.index()) return false;
  if (a.is<double>()) return std::bit_cast<uint64_t>(a.as<double>()) == std::bit_cast<uint64_t>(b.as<double>());
  if (!a.is<AttrList>()) return a == b;
  const AttrList &x = a.as<AttrList>(), &y = b.as<AttrList>();
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const Attr& p, const Attr& q) { return same(p, q); });
}

bool same(const std::vector<TensorDesc>& a, const std::vector<TensorDesc>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const TensorDesc& p, const TensorDesc& q) {
    return p.dtype == q.dtype && p.sizes == q.sizes && p.strides == q.strides;
  });
}

}  // namespace

bool Problem::same(const Problem& other) const {
  const auto equal = [](const auto& a, const auto& b) { return a.first == b.first && kpt::same(a.second, b.second); };
  return op == other.op && threads == other.threads && lasting == other.lasting && gpu == other.gpu &&
         kpt::same(inputs, other.inputs) && kpt::same(outputs, other.outputs) &&
         std::equal(args.begin(), args.end(), other.args.begin(), other.args.end(),
                    [](const Attr& a, const Attr& b) { return kpt::same(a, b); }) &&
         std::equal(kwargs.begin(), kwargs.end(), other.kwargs.begin(), other.kwargs.end(), equal);
}

std::string Problem::str() const {
  std::ostringstream os;
  os << op << '(';
  for (size_t i = 0; i < args.size(); ++i) {
    if (i) os << ", ";
    print(os, args[i]);
  }
  for (size_t i = 0; i < kwargs.size(); ++i) {
    os << (i || !args.empty() ? ", " : "") << kwargs[i].first << '=';
    print(os, kwargs[i].second);
  }
  os << ") :";
  for (const TensorDesc& d : inputs) os << ' ' << d;
  os << " ->";
  for (const TensorDesc& d : outputs) os << ' ' << d;
  return os.str();
}

void KernelRegistry::add(Kernel kernel) {
  KPT_CHECK(provider_rank(kernel.provider) < kProviders.size(), "kernels.registry", "got provider ", kernel.provider,
            ", want kpt, codegen, vendor, aten or reference");
  KPT_CHECK(kernel.supports && kernel.make, "kernels.registry", "got kernel ", kernel.name,
            " without supports or make");
  const std::lock_guard lock(registry_mutex());
  for (const auto& k : kernels_) {
    KPT_CHECK(
        k->op != kernel.op || k->provider != kernel.provider || k->device != kernel.device || k->name != kernel.name,
        "kernels.registry", "got a second kernel ", kernel.name, " for ", kernel.op, " (", kernel.provider, ", ",
        kernel.device, "), want one name for each");
  }
  kernels_.push_back(std::make_shared<const Kernel>(std::move(kernel)));
}

void KernelRegistry::remove(std::string_view op, std::string_view name) {
  const std::lock_guard lock(registry_mutex());
  kernels_.erase(
      std::remove_if(kernels_.begin(), kernels_.end(), [&](const auto& k) { return k->op == op && k->name == name; }),
      kernels_.end());
}

std::vector<std::shared_ptr<const Kernel>> KernelRegistry::find(std::string_view op, std::string_view device) const {
  std::vector<std::shared_ptr<const Kernel>> found;
  {
    const std::lock_guard lock(registry_mutex());
    for (const auto& k : kernels_)
      if ((k->op == op || k->op == "*") && k->device == device) found.push_back(k);
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) {
    const size_t ra = provider_rank(a->provider), rb = provider_rank(b->provider);
    if (ra != rb) return ra < rb;
    if (a->priority != b->priority) return a->priority > b->priority;
    return a->name < b->name;
  });
  return found;
}

std::vector<std::shared_ptr<const Kernel>> KernelRegistry::all() const {
  const std::lock_guard lock(registry_mutex());
  return kernels_;
}

KernelRegistry& kernel_registry() {
  static KernelRegistry registry;
  static const bool filled = [] {
    register_all_kernels(registry);
    return true;
  }();
  static_cast<void>(filled);
  return registry;
}

}  // namespace kpt
