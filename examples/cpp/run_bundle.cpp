// Runs the golden cases of a bundle through TVM's runtime: libtvm_ffi.so and libtvm_runtime.so, no Python, no compiler.
//
//   run_bundle FOLDER        FOLDER: from "python tamis_bundle.py --dump-golden FOLDER"
//
// Exit status: 0 all outputs within their tolerance, 2 usage, 3 an output differs, 5 TVM failed.
#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/shape.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "../c/golden.h"

namespace ffi = tvm::ffi;

namespace {

constexpr int kCpu = 1, kPooled = 2;  // DLPack's code of the CPU, and TVM's of the allocator that keeps what it has freed
constexpr const char* kPackWeights = "main_transform_params";

DLDataType TypeOf(const std::string& dtype) {
  const auto bits = static_cast<uint8_t>(8 * golden_size(dtype.c_str()));
  if (dtype == "bool") return {kDLBool, bits, 1};
  if (dtype.rfind("float", 0) == 0) return {kDLFloat, bits, 1};
  return {static_cast<uint8_t>(dtype[0] == 'u' ? kDLUInt : kDLInt), bits, 1};
}

// A view of the array's elements, which outlive it.
ffi::Tensor TensorOf(GoldenArray& array) {
  auto* managed = new DLManagedTensor{};
  managed->dl_tensor = {array.data, {kDLCPU, 0}, array.rank, TypeOf(array.dtype), array.shape, nullptr, 0};
  managed->deleter = [](DLManagedTensor* self) { delete self; };
  return ffi::Tensor::FromDLPack(managed);
}

// The library, ready to be called.
class Library {
 public:
  explicit Library(const std::string& path)
      : module_(ffi::Module::LoadFromFile(path)), machine_(Get(module_, "vm_load_executable")().cast<ffi::Module>()) {
    Get(machine_, "vm_initialization")(kCpu, 0, kPooled, kCpu, 0, kPooled);
    main_ = Get(machine_, "main");
    if (auto pack = machine_->GetFunction(kPackWeights))
      for (const ffi::Any& weight : (*pack)(ffi::Array<ffi::Any>{}).cast<ffi::Array<ffi::Any>>()) weights_.push_back(weight);
  }

  // Arguments in the order of the model's inputs; outputs in the order of the model's.
  std::vector<ffi::Any> Run(const std::vector<ffi::Any>& inputs) const {
    std::vector<ffi::AnyView> arguments(inputs.begin(), inputs.end());
    arguments.insert(arguments.end(), weights_.begin(), weights_.end());
    ffi::Any found;
    main_.CallPacked(arguments.data(), static_cast<int32_t>(arguments.size()), &found);
    if (auto several = found.try_cast<ffi::Array<ffi::Any>>()) return {several->begin(), several->end()};
    return {found};
  }

 private:
  static ffi::Function Get(const ffi::Module& module, const char* name) {
    auto found = module->GetFunction(name);
    if (!found) TVM_FFI_THROW(RuntimeError) << "the library has no function " << name;
    return *found;
  }

  ffi::Module module_, machine_;
  ffi::Function main_{nullptr};
  std::vector<ffi::Any> weights_;
};

double ErrorOf(const GoldenArray& want, const ffi::Any& got) {
  if (auto sizes = got.try_cast<ffi::Shape>()) {  // what TVM makes of the operator Shape
    const bool same = std::string(want.dtype) == "int64" && want.rank == 1 && sizes->size() == want.count;
    return same ? golden_error(&want, sizes->data()) : NAN;
  }
  const auto tensor = got.cast<ffi::Tensor>();
  const DLDataType type = tensor.dtype(), expected = TypeOf(want.dtype);
  const bool same_type = type.code == expected.code && type.bits == expected.bits && type.lanes == 1;
  const bool same_shape = tensor.ndim() == want.rank && std::equal(want.shape, want.shape + want.rank, tensor.shape().begin());
  if (!same_type || !same_shape || !tensor.IsContiguous()) return NAN;
  return golden_error(&want, static_cast<const char*>(tensor.data_ptr()) + tensor.byte_offset());
}

GoldenArray& Find(Golden& golden, int number, bool is_output, const std::string& name) {
  for (int i = 0; i < golden.arrays; i++) {
    GoldenArray& array = golden.array[i];
    if (array.number == number && array.is_output == static_cast<int>(is_output) && name == array.name) return array;
  }
  golden_fail("bundle.txt has no array of", name.c_str());
  std::abort();
}

std::vector<std::string> Values(const Golden& golden, const std::string& key) {
  std::vector<std::string> found;
  for (int i = 0; i < golden.settings; i++)
    if (key == golden.setting[i].key) found.emplace_back(golden.setting[i].value);
  return found;
}

int Run(Golden& golden) {
  const Library library(golden_setting(&golden, "model"));
  const auto inputs = Values(golden, "input"), outputs = Values(golden, "output");
  int wrong = 0;
  for (int number = 0; number < golden.cases; number++) {
    std::vector<ffi::Any> arguments;
    for (const std::string& name : inputs) arguments.emplace_back(TensorOf(Find(golden, number, false, name)));
    const auto found = library.Run(arguments);
    if (found.size() != outputs.size()) TVM_FFI_THROW(RuntimeError) << "the library returned " << found.size() << " outputs";
    for (size_t i = 0; i < found.size(); i++) {
      const GoldenArray& want = Find(golden, number, true, outputs[i]);
      wrong += !golden_report(&want, ErrorOf(want, found[i]));
    }
  }
  return wrong ? DIFFERS : 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) golden_fail("usage", "run_bundle FOLDER");
  Golden* golden = golden_read(arguments[1]);
  if (std::string(golden_setting(golden, "runtime")) != "tvm")
    golden_fail("this example is for bundles of tvm, not of", golden_setting(golden, "runtime"));
  if (std::string(golden_setting(golden, "weights")) != "embedded")
    golden_fail("this example is for libraries that hold their weights, but these are", golden_setting(golden, "weights"));
  const int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = std::min(cpus, std::atoi(golden_setting(golden, "threads")));
  setenv("TVM_NUM_THREADS", std::to_string(threads).c_str(), 1);  // read when the first kernel runs
  try {
    return Run(*golden);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: tvm: %s\n", error.what());
    return FAILED;
  }
}
