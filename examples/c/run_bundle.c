/* Runs the golden cases of a bundle through ONNX Runtime's C API.
 *
 *   run_bundle FOLDER        FOLDER: from "python tamis_bundle.py --dump-golden FOLDER"
 *
 * Exit status: 0 all outputs within their tolerance, 2 usage, 3 an output differs, 5 ONNX Runtime failed. */
#include "golden.h"

#if defined(__has_include)
#if __has_include(<onnxruntime_c_api.h>)
#include <onnxruntime_c_api.h>
#define HAVE_HEADER
#endif
#endif
#ifndef HAVE_HEADER
#include "onnxruntime_subset.h"
#endif

#include <unistd.h>

static const OrtApi *ort;

static void check(OrtStatus *status) {
  if (status == NULL) return;
  fprintf(stderr, "error: onnxruntime: %s\n", ort->GetErrorMessage(status));
  ort->ReleaseStatus(status);
  exit(FAILED);
}

static ONNXTensorElementDataType type_of(const char *dtype) {
  static const struct {
    const char *name;
    ONNXTensorElementDataType type;
  } known[] = {
      {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},   {"float64", ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
      {"float16", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16}, {"int8", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
      {"uint8", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},     {"int16", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
      {"uint16", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16},   {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
      {"uint32", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32},   {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
      {"uint64", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64},   {"bool", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(known[i].name, dtype) == 0) return known[i].type;
  golden_fail("element type without a reader", dtype);
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

/* Session options as the manifest has them, with no more threads than there are CPUs. */
static OrtSessionOptions *options_of(const Golden *golden) {
  OrtSessionOptions *options;
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  int threads = atoi(golden_setting(golden, "threads"));
  if (strcmp(golden_setting(golden, "provider"), "CPUExecutionProvider") != 0)
    golden_fail("this example runs on the CPU only, but the bundle wants", golden_setting(golden, "provider"));
  check(ort->CreateSessionOptions(&options));
  check(ort->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL));
  check(ort->SetIntraOpNumThreads(options, cpus > 0 && threads > cpus ? (int)cpus : threads));
  check(ort->SetInterOpNumThreads(options, 1));
  check(ort->SetSessionGraphOptimizationLevel(
      options, (GraphOptimizationLevel)atoi(golden_setting(golden, "optimization"))));
  for (int i = 0; i < golden->settings; i++) {
    if (strcmp(golden->setting[i].key, "entry") != 0) continue;
    char *value = golden_copy(golden->setting[i].value), *key = golden_word(&value);
    check(ort->AddSessionConfigEntry(options, key, value));
  }
  return options;
}

static int same_kind(const GoldenArray *want, const OrtValue *value) {
  OrtTensorTypeAndShapeInfo *info;
  ONNXTensorElementDataType type;
  size_t rank;
  int64_t shape[MAX_RANK];
  check(ort->GetTensorTypeAndShape(value, &info));
  check(ort->GetTensorElementType(info, &type));
  check(ort->GetDimensionsCount(info, &rank));
  int same = type == type_of(want->dtype) && rank == (size_t)want->rank;
  if (same) check(ort->GetDimensions(info, shape, rank));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  return same && memcmp(shape, want->shape, rank * sizeof shape[0]) == 0;
}

/* Runs one case; the number of outputs that are not within their tolerance. */
static int run_case(Golden *golden, int number, OrtSession *session, OrtMemoryInfo *memory) {
  const char *input_names[MAX_ARRAYS] = {NULL}, *output_names[MAX_ARRAYS] = {NULL};
  OrtValue *inputs[MAX_ARRAYS] = {NULL}, *outputs[MAX_ARRAYS] = {NULL};
  GoldenArray *wanted[MAX_ARRAYS];
  size_t input_count = 0, output_count = 0;
  int wrong = 0;
  for (int i = 0; i < golden->arrays; i++) {
    GoldenArray *array = &golden->array[i];
    if (array->number != number) continue;
    if (array->is_output) {
      output_names[output_count] = array->name;
      wanted[output_count++] = array;
    } else {
      input_names[input_count] = array->name;
      check(ort->CreateTensorWithDataAsOrtValue(memory, array->data, array->bytes, array->shape, (size_t)array->rank,
                                                type_of(array->dtype), &inputs[input_count++]));
    }
  }
  check(ort->Run(session, NULL, input_names, (const OrtValue *const *)inputs, input_count, output_names, output_count,
                 outputs));
  for (size_t i = 0; i < output_count; i++) {
    void *got;
    check(ort->GetTensorMutableData(outputs[i], &got));
    wrong += !golden_report(wanted[i], same_kind(wanted[i], outputs[i]) ? golden_error(wanted[i], got) : NAN);
    ort->ReleaseValue(outputs[i]);
  }
  for (size_t i = 0; i < input_count; i++) ort->ReleaseValue(inputs[i]);
  return wrong;
}

int main(int count, char **arguments) {
  if (count != 2) golden_fail("usage", "run_bundle FOLDER");
  Golden *golden = golden_read(arguments[1]);
  if (strcmp(golden_setting(golden, "runtime"), "onnxruntime") != 0)
    golden_fail("this example is for bundles of onnxruntime, not of", golden_setting(golden, "runtime"));
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == NULL) golden_fail("the header is newer than this onnxruntime", OrtGetApiBase()->GetVersionString());
  OrtEnv *environment;
  OrtSession *session;
  OrtMemoryInfo *memory;
  OrtSessionOptions *options = options_of(golden);
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "run_bundle", &environment));
  check(ort->CreateSession(environment, golden_setting(golden, "model"), options, &session));
  check(ort->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  int wrong = 0;
  for (int number = 0; number < golden->cases; number++) wrong += run_case(golden, number, session, memory);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(environment);
  return wrong ? DIFFERS : 0;
}
