/* The elementwise half of an LSTM step, for CPUs: one pass over the gates in place of a dozen.
 *
 * Optional: built where there is a compiler; elmo_cli/nn/kernels/lstm_step.py holds the same step in torch, its oracle and its replacement.
 * Gates are in the order i, j (candidate), f, o; the forget bias is in `inputs`.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bfloat16;

INLINE float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

INLINE float widen(bfloat16 value) { return bits_to_float((uint32_t)value << 16); }

/* To nearest, ties to even; a NaN stays one. */
INLINE bfloat16 narrow(float value) {
    uint32_t bits = float_to_bits(value);
    bfloat16 nearest = (bfloat16)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    return value != value ? (bfloat16)0x7FC0 : nearest;
}

/* e^x by 2^n * e^r, |r| <= ln(2)/2, a Taylor polynomial of degree 7 for e^r: within 2 ulp. The argument is kept where neither end leaves
 * float's range; a NaN stays one. */
INLINE float exponential(float given) {
    float x = given > -87.0f ? given : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float n = (x * 1.44269504f + shift) - shift;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return given != given ? given : p * bits_to_float((uint32_t)((int32_t)n + 127) << 23);
}

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

/* Near 0, where 1 - 2/(1 + e^2x) would lose digits, the odd series by a quotient (Lambert's continued fraction): within 2 ulp to 0.6. */
INLINE float hyperbolic_tangent(float x) {
    float square = x * x;
    float small = x * (10395.0f + square * (1260.0f + square * 21.0f)) / (10395.0f + square * (4725.0f + square * (210.0f + square)));
    float large = 1.0f - 2.0f / (1.0f + exponential(2.0f * x));
    return square < 0.36f ? small : large;
}

#define DEFINE_STEP(NAME, NUMBER, LOAD, STORE, INPUT)                                                                                       \
    FOR_EACH_PROCESSOR static void NAME(const NUMBER *restrict products, const float *restrict inputs, const int64_t *restrict rows,        \
                                        int64_t n_rows, int64_t dim, float clip, const float *restrict before,                              \
                                        const int64_t *restrict parents, float *restrict cells, NUMBER *restrict outputs) {                 \
        for (int64_t row = 0; row < n_rows; row++) {                                                                                        \
            const NUMBER *restrict z = products + row * 4 * dim;                                                                            \
            const float *restrict x = inputs ? inputs + (rows ? rows[row] : row) * 4 * dim : (const float *)0;                              \
            float *restrict cell = cells + row * dim;                                                                                       \
            NUMBER *restrict output = outputs + row * dim;                                                                                  \
            if (before)                                                                                                                     \
                memcpy(cell, before + parents[row] * dim, (size_t)dim * sizeof *cell);                                                      \
            for (int64_t k = 0; k < dim; k++) {                                                                                             \
                float i = sigmoid(LOAD(z[k]) + INPUT(x[k]));                                                                                \
                float j = hyperbolic_tangent(LOAD(z[dim + k]) + INPUT(x[dim + k]));                                                         \
                float f = sigmoid(LOAD(z[2 * dim + k]) + INPUT(x[2 * dim + k]));                                                            \
                float o = sigmoid(LOAD(z[3 * dim + k]) + INPUT(x[3 * dim + k]));                                                            \
                float c = f * cell[k] + i * j;                                                                                              \
                c = c > clip ? clip : c;                                                                                                    \
                c = c < -clip ? -clip : c;                                                                                                  \
                cell[k] = c;                                                                                                                \
                output[k] = STORE(o * hyperbolic_tangent(c));                                                                               \
            }                                                                                                                               \
        }                                                                                                                                   \
    }

#define SAME(value) (value)
#define NOTHING(value) 0.0f
DEFINE_STEP(step_float32, float, SAME, SAME, SAME)
DEFINE_STEP(step_bfloat16, bfloat16, widen, narrow, SAME)
DEFINE_STEP(step_float32_alone, float, SAME, SAME, NOTHING)
DEFINE_STEP(step_bfloat16_alone, bfloat16, widen, narrow, NOTHING)

/* step_from(is_bfloat16, products, inputs or 0, rows or 0, n_rows, dim, clip, before or 0, parents, cells, outputs): addresses of arrays that the
 * caller keeps alive. With `before`, row r starts from its row parents[r], copied into `cells`, which is another array. */
static PyObject *step(PyObject *module, PyObject *arguments) {
    int is_bfloat16;
    unsigned long long products, inputs, rows, before, parents, cells, outputs;
    long long n_rows, dim;
    float clip;
    if (!PyArg_ParseTuple(arguments, "pKKKLLfKKKK", &is_bfloat16, &products, &inputs, &rows, &n_rows, &dim, &clip, &before, &parents, &cells,
                          &outputs))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    const float *x = (const float *)(uintptr_t)inputs;
    const int64_t *index = (const int64_t *)(uintptr_t)rows, *chosen = (const int64_t *)(uintptr_t)parents;
    const float *source = (const float *)(uintptr_t)before;
    if (is_bfloat16)
        (x ? step_bfloat16 : step_bfloat16_alone)((const bfloat16 *)(uintptr_t)products, x, index, n_rows, dim, clip, source, chosen,
                                                  (float *)(uintptr_t)cells, (bfloat16 *)(uintptr_t)outputs);
    else
        (x ? step_float32 : step_float32_alone)((const float *)(uintptr_t)products, x, index, n_rows, dim, clip, source, chosen,
                                                (float *)(uintptr_t)cells, (float *)(uintptr_t)outputs);
    Py_END_ALLOW_THREADS;
    (void)module;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"step_from", step, METH_VARARGS, "One step of the cells of a layer and direction."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_lstm_step", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit__lstm_step(void) { return PyModule_Create(&definition); }
