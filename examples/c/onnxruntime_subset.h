/* The few entries of ONNX Runtime's C API that run_bundle.c calls, for machines without onnxruntime_c_api.h.
 *
 * OrtApi is a table of functions to which versions only append, so each entry keeps its place. Counted in the header of
 * API version 29. Not for Windows, where the calling convention differs. */
#ifndef ONNXRUNTIME_SUBSET_H
#define ONNXRUNTIME_SUBSET_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 17

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtValue OrtValue;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;

typedef enum { ORT_LOGGING_LEVEL_FATAL = 4 } OrtLoggingLevel;
typedef enum { OrtDeviceAllocator = 0 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
typedef int GraphOptimizationLevel;
typedef enum {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16 = 4,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16 = 5,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 = 6,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL = 9,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE = 11,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32 = 12,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64 = 13
} ONNXTensorElementDataType;

typedef struct OrtApi {
  void *before_2[2];
  const char *(*GetErrorMessage)(const OrtStatus *);                    /* 2 */
  OrtStatus *(*CreateEnv)(OrtLoggingLevel, const char *, OrtEnv **);    /* 3 */
  void *before_7[3];
  OrtStatus *(*CreateSession)(const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **); /* 7 */
  void *before_9[1];
  OrtStatus *(*Run)(OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *, size_t,
                    const char *const *, size_t, OrtValue **);          /* 9 */
  OrtStatus *(*CreateSessionOptions)(OrtSessionOptions **);             /* 10 */
  void *before_22[11];
  OrtStatus *(*SetSessionLogSeverityLevel)(OrtSessionOptions *, int);   /* 22 */
  OrtStatus *(*SetSessionGraphOptimizationLevel)(OrtSessionOptions *, GraphOptimizationLevel); /* 23 */
  OrtStatus *(*SetIntraOpNumThreads)(OrtSessionOptions *, int);         /* 24 */
  OrtStatus *(*SetInterOpNumThreads)(OrtSessionOptions *, int);         /* 25 */
  void *before_49[23];
  OrtStatus *(*CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t,
                                               ONNXTensorElementDataType, OrtValue **); /* 49 */
  void *before_51[1];
  OrtStatus *(*GetTensorMutableData)(OrtValue *, void **);              /* 51 */
  void *before_60[8];
  OrtStatus *(*GetTensorElementType)(const OrtTensorTypeAndShapeInfo *, ONNXTensorElementDataType *); /* 60 */
  OrtStatus *(*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo *, size_t *);                      /* 61 */
  OrtStatus *(*GetDimensions)(const OrtTensorTypeAndShapeInfo *, int64_t *, size_t);                  /* 62 */
  void *before_65[2];
  OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *, OrtTensorTypeAndShapeInfo **);                /* 65 */
  void *before_69[3];
  OrtStatus *(*CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo **);                  /* 69 */
  void *before_92[22];
  void (*ReleaseEnv)(OrtEnv *);                                         /* 92 */
  void (*ReleaseStatus)(OrtStatus *);                                   /* 93 */
  void (*ReleaseMemoryInfo)(OrtMemoryInfo *);                           /* 94 */
  void (*ReleaseSession)(OrtSession *);                                 /* 95 */
  void (*ReleaseValue)(OrtValue *);                                     /* 96 */
  void *before_99[2];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *);   /* 99 */
  void (*ReleaseSessionOptions)(OrtSessionOptions *);                   /* 100 */
  void *before_130[29];
  OrtStatus *(*AddSessionConfigEntry)(OrtSessionOptions *, const char *, const char *); /* 130 */
} OrtApi;

typedef struct OrtApiBase {
  const OrtApi *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;

const OrtApiBase *OrtGetApiBase(void);

#endif
