// A device of PyTorch beside the CPU, as a GPU is: its tensors do not mix with the CPU's, and its memory has a limit.
// Its operations run on the CPU, so that what a device changes can be tested where there is none.

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/TensorShape.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

constexpr auto CARD = c10::DeviceType::PrivateUse1;
constexpr size_t HEAD = 64;  // before each allocation, its size

std::atomic<int64_t> used{0}, limit{0}, peak{0}, refused{0};

void release(void* memory) {
  if (memory == nullptr) return;
  char* start = static_cast<char*>(memory) - HEAD;
  used -= *reinterpret_cast<int64_t*>(start);
  std::free(start);
}

struct CardMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* memory = nullptr;
    if (bytes > 0) {
      int64_t now = used += static_cast<int64_t>(bytes);
      if (limit > 0 && now > limit) {
        used -= static_cast<int64_t>(bytes);
        ++refused;
        TORCH_CHECK_WITH(OutOfMemoryError, false, "card out of memory. Tried to allocate ", bytes, " bytes");
      }
      for (int64_t seen = peak; now > seen && !peak.compare_exchange_weak(seen, now);) {}
      char* start = static_cast<char*>(std::malloc(bytes + HEAD));
      *reinterpret_cast<int64_t*>(start) = static_cast<int64_t>(bytes);
      memory = start + HEAD;
    }
    return {memory, memory, &release, c10::Device(CARD, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

CardMemory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory)

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = CARD;
  c10::DeviceType type() const override { return CARD; }
  c10::Device exchangeDevice(c10::Device) const override { return {CARD, 0}; }
  c10::Device getDevice() const override { return {CARD, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return c10::Stream(c10::Stream::DEFAULT, stream.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

// The same memory as a tensor of the CPU.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), at::TensorOptions().dtype(tensor.dtype()));
}

void refuse_mixed(const at::Tensor& tensor, const std::string& name) {
  TORCH_CHECK(
      !tensor.defined() || !tensor.is_cpu() || tensor.dim() == 0,
      "Expected all tensors to be on the same device, but found at least two devices, card:0 and cpu! (", name, ")");
}

// Every operation without a kernel of its own: on copies of its tensors.
void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& name = op.schema().name();
  const bool takes_indices = name == "aten::index" || name.rfind("aten::index_put", 0) == 0 || name == "aten::_index_put_impl_";
  const auto count = op.schema().arguments().size();
  for (size_t i = 0; i < count; ++i) {
    const auto& value = torch::jit::peek(*stack, i, count);
    if (value.isTensor()) refuse_mixed(value.toTensor(), name);
    if (value.isTensorList() && !takes_indices)
      for (const at::Tensor& tensor : value.toTensorList()) refuse_mixed(tensor, name);
  }
  at::native::cpu_fallback(op, stack);
}

at::Tensor empty(
    at::IntArrayRef size, std::optional<at::ScalarType> type, std::optional<at::Layout>, std::optional<at::Device>,
    std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(
      size, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(
    at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> type, std::optional<at::Layout>,
    std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      size, stride, &memory, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(type));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

const at::Tensor& resize(const at::Tensor& tensor, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  auto* parts = tensor.unsafeGetTensorImpl();
  const size_t bytes = (c10::multiply_integers(size) + parts->storage_offset()) * tensor.element_size();
  if (bytes > tensor.storage().nbytes()) {
    auto more = memory.allocate(bytes);
    if (tensor.storage().nbytes() > 0) std::memcpy(more.get(), tensor.storage().data(), tensor.storage().nbytes());
    parts->unsafe_storage().set_data_ptr_noswap(std::move(more));
    parts->unsafe_storage().unsafeGetStorageImpl()->set_nbytes(bytes);
  }
  parts->set_sizes_contiguous(size);
  return tensor;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  resize(to, from.sizes(), {});
  return copy_from(from, to, false);
}

at::Tensor convolution(
    const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef output_padding, int64_t groups) {
  const bool biased = bias.has_value() && bias->defined();
  for (const at::Tensor& tensor : {input, weight, biased ? *bias : weight}) refuse_mixed(tensor, "aten::convolution");
  const auto result = at::convolution(
      on_cpu(input), on_cpu(weight), biased ? std::optional(on_cpu(*bias)) : std::nullopt, stride, padding, dilation, transposed,
      output_padding, groups);
  auto output = empty(result.sizes(), result.scalar_type(), {}, {}, {}, {});
  on_cpu(output).copy_(result);
  return output;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("resize_", &resize);
  m.impl("convolution_overrideable", &convolution);
  m.impl("_local_scalar_dense", [](const at::Tensor& tensor) { return on_cpu(tensor).item(); });
  m.impl("view", [](const at::Tensor& tensor, c10::SymIntArrayRef size) {
    return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(size));
  });
  m.impl("as_strided", [](const at::Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::SymInt> at) {
    const auto offset = at.has_value() ? std::optional(at->guard_int(__FILE__, __LINE__)) : std::nullopt;
    return at::native::as_strided_tensorimpl(tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), offset);
  });
  m.impl("_reshape_alias", [](const at::Tensor& tensor, c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
    return at::native::_reshape_alias(tensor, C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride));
  });
  m.impl("unfold", &at::native::unfold);
  m.impl("lstm.input", torch::CppFunction::makeFromBoxedFunction<&fallback>());  // else a fused kernel of GPUs
}
TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY(card, m) {
  m.def("limit(int bytes) -> ()", [](int64_t bytes) { limit = bytes; });
  m.def("memory() -> int[]", [] { return std::vector<int64_t>{used, peak, refused}; });
}

}  // namespace
