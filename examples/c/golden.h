/* Reads what "python tamis_bundle.py --dump-golden FOLDER" has written, and compares outputs; C99 and C++.
 *
 * bundle.txt has a line for the model, for each setting and for each array:
 *   in CASE DTYPE RANK SIZE... FILE NAME
 *   out CASE TOLERANCE DTYPE RANK SIZE... FILE NAME */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANK = 8, MAX_ARRAYS = 256, MAX_SETTINGS = 64, MAX_LINE = 4096, USAGE = 2, DIFFERS = 3, FAILED = 5 };

typedef struct {
  int is_output, number, rank; /* number: of the case */
  double tolerance;            /* of an output: largest error over largest expected value */
  char dtype[16];
  int64_t shape[MAX_RANK];
  size_t count, bytes;
  void *data; /* C order, at an address that is a multiple of 64 */
  char *name;
} GoldenArray;

typedef struct {
  char *key, *value;
} GoldenSetting;

typedef struct {
  int cases, arrays, settings;
  GoldenArray array[MAX_ARRAYS];
  GoldenSetting setting[MAX_SETTINGS];
} Golden;

static void golden_fail(const char *what, const char *found) {
  fprintf(stderr, "error: %s: %s\n", what, found);
  exit(USAGE);
}

static char *golden_copy(const char *text) {
  char *copy = (char *)malloc(strlen(text) + 1);
  if (copy == NULL) golden_fail("out of memory", text);
  return strcpy(copy, text);
}

static size_t golden_size(const char *dtype) {
  static const struct {
    const char *name;
    size_t size;
  } known[] = {{"float32", 4}, {"float64", 8}, {"float16", 2}, {"int8", 1},   {"uint8", 1},  {"int16", 2},
               {"uint16", 2},  {"int32", 4},   {"uint32", 4},  {"int64", 8}, {"uint64", 8}, {"bool", 1}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (strcmp(known[i].name, dtype) == 0) return known[i].size;
  golden_fail("element type without a reader", dtype);
  return 0;
}

static char *golden_word(char **rest) {
  char *word = *rest, *end = strchr(word, ' ');
  if (end == NULL || end == word) golden_fail("bundle.txt: a line is cut short", word);
  *end = '\0';
  *rest = end + 1;
  return word;
}

static void golden_read_file(GoldenArray *array, const char *folder, const char *file) {
  char path[2 * MAX_LINE];
  snprintf(path, sizeof path, "%s/%s", folder, file);
  FILE *stream = fopen(path, "rb");
  if (stream == NULL) golden_fail("cannot be opened", path);
  if (posix_memalign(&array->data, 64, array->bytes + 64) != 0) golden_fail("out of memory", path);
  if (fread(array->data, 1, array->bytes, stream) != array->bytes || fgetc(stream) != EOF)
    golden_fail("is not as long as its shape says", path);
  fclose(stream);
}

static void golden_add_array(Golden *golden, const char *folder, int is_output, char *rest) {
  if (golden->arrays == MAX_ARRAYS) golden_fail("bundle.txt", "too many arrays");
  GoldenArray *array = &golden->array[golden->arrays++];
  array->is_output = is_output;
  array->number = atoi(golden_word(&rest));
  if (is_output) array->tolerance = strtod(golden_word(&rest), NULL);
  snprintf(array->dtype, sizeof array->dtype, "%s", golden_word(&rest));
  array->rank = atoi(golden_word(&rest));
  if (array->rank < 0 || array->rank > MAX_RANK) golden_fail("bundle.txt", "too many dimensions");
  array->count = 1;
  for (int i = 0; i < array->rank; i++) {
    array->shape[i] = strtoll(golden_word(&rest), NULL, 10);
    if (array->shape[i] < 0 || array->shape[i] > INT32_MAX) golden_fail("bundle.txt", "a size out of range");
    array->count *= (size_t)array->shape[i];
  }
  array->bytes = array->count * golden_size(array->dtype);
  golden_read_file(array, folder, golden_word(&rest));
  array->name = golden_copy(rest);
  if (array->number + 1 > golden->cases) golden->cases = array->number + 1;
}

static Golden *golden_read(const char *folder) {
  char line[MAX_LINE];
  snprintf(line, sizeof line, "%s/bundle.txt", folder);
  FILE *stream = fopen(line, "r");
  if (stream == NULL) golden_fail("cannot be opened", line);
  Golden *golden = (Golden *)calloc(1, sizeof *golden);
  if (golden == NULL) golden_fail("out of memory", folder);
  while (fgets(line, sizeof line, stream) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char *rest = line, *key = golden_word(&rest);
    if (strcmp(key, "in") == 0 || strcmp(key, "out") == 0) {
      golden_add_array(golden, folder, key[0] == 'o', rest);
    } else {
      if (golden->settings == MAX_SETTINGS) golden_fail("bundle.txt", "too many settings");
      golden->setting[golden->settings].key = golden_copy(key);
      golden->setting[golden->settings++].value = golden_copy(rest);
    }
  }
  fclose(stream);
  if (golden->cases == 0) golden_fail("bundle.txt", "no golden case");
  return golden;
}

/* The setting with this key; a program that needs one that is not there ends. */
static const char *golden_setting(const Golden *golden, const char *key) {
  for (int i = 0; i < golden->settings; i++)
    if (strcmp(golden->setting[i].key, key) == 0) return golden->setting[i].value;
  golden_fail("bundle.txt has no line for", key);
  return NULL;
}

static double golden_half(uint16_t bits) {
  int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  double size = exponent == 31  ? (mantissa ? NAN : INFINITY)
                : exponent == 0 ? ldexp(mantissa, -24)
                                : ldexp(1024 + mantissa, exponent - 25);
  return bits >> 15 ? -size : size;
}

static double golden_at(const void *data, const char *dtype, size_t i) {
  if (strcmp(dtype, "float32") == 0) return ((const float *)data)[i];
  if (strcmp(dtype, "float64") == 0) return ((const double *)data)[i];
  if (strcmp(dtype, "float16") == 0) return golden_half(((const uint16_t *)data)[i]);
  if (strcmp(dtype, "int8") == 0) return ((const int8_t *)data)[i];
  if (strcmp(dtype, "int16") == 0) return ((const int16_t *)data)[i];
  if (strcmp(dtype, "uint16") == 0) return ((const uint16_t *)data)[i];
  if (strcmp(dtype, "int32") == 0) return ((const int32_t *)data)[i];
  if (strcmp(dtype, "uint32") == 0) return ((const uint32_t *)data)[i];
  if (strcmp(dtype, "int64") == 0) return (double)((const int64_t *)data)[i];
  if (strcmp(dtype, "uint64") == 0) return (double)((const uint64_t *)data)[i];
  return ((const uint8_t *)data)[i];
}

/* max |want - got| / max |want|; NAN if NaN or infinity are at other places. got has the type and shape of want. */
static double golden_error(const GoldenArray *want, const void *got) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < want->count; i++) {
    double a = golden_at(want->data, want->dtype, i), b = golden_at(got, want->dtype, i);
    if (isfinite(a) && isfinite(b)) {
      worst = fmax(worst, fabs(a - b));
      scale = fmax(scale, fabs(a));
    } else if (!(isnan(a) && isnan(b)) && a != b) {
      return NAN;
    }
  }
  return scale > 0 ? worst / scale : worst == 0 ? 0 : INFINITY;
}

/* Prints one output's line; 1 if it is within its tolerance. */
static int golden_report(const GoldenArray *want, double error) {
  int ok = error <= want->tolerance; /* false for NaN */
  printf("case %d  output %s  error %.3g  allowed %.3g  %s\n", want->number, want->name, error, want->tolerance,
         ok ? "ok" : "DIFFERS");
  return ok;
}

#endif
