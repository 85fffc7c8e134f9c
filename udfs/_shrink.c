/* Shrinking by areas, as `shrink.py` has it. All arguments are checked against the sizes of the buffers before the first
   pixel is read. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Four floats, at any address of an array of floats: the three channels of a pixel and a value that nobody reads. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

/* Of one source line, the weighted sum of `taps` neighbours for each column of the result. */
static void
across(const float *line, float *sums, Py_ssize_t columns, Py_ssize_t taps, const int32_t *first, const float *weight)
{
    for (Py_ssize_t column = 0; column < columns; column++, first += taps, weight += taps) {
        four sum = *(const four *)(line + first[0]) * weight[0];
        for (Py_ssize_t tap = 1; tap < taps; tap++)
            sum += *(const four *)(line + first[tap]) * weight[tap];
        *(four *)(sums + 4 * column) = sum;
    }
}

/* Adding 1.5 * 2^23 leaves a float no bits after the point: its last bits are the nearest whole number, halves to even. */
static void
rounded(const float *sums, uint8_t *out, Py_ssize_t columns)
{
    for (Py_ssize_t column = 0; column < columns; column++) {
        four sum = *(const four *)(sums + 4 * column) + 12582912.0f;
        int32_t bits[4];
        memcpy(bits, &sum, sizeof bits);
        for (int channel = 0; channel < 3; channel++) {
            int32_t level = bits[channel] - 0x4B400000;
            out[3 * column + channel] = (uint8_t)(level > 255 ? 255 : level);
        }
    }
}

static int
all_below(const int32_t *values, Py_ssize_t count, int64_t bound)
{
    for (Py_ssize_t at = 0; at < count; at++)
        if (values[at] < 0 || values[at] >= bound)
            return 0;
    return 1;
}

PyDoc_STRVAR(shrink_doc,
    "shrink(rgb, height, width, columns, column_weights, taps, rows, row_weights, row_ends, out)\n\n"
    "Weighted means of neighbours, lines first. rgb: uint8[height, width, 3]. columns: int32[m, taps], 3 times the\n"
    "place of a pixel in its line; column_weights: float32[m, taps]. rows: int32[k], lines; row_weights: float32[k];\n"
    "row_ends: int32[n], where those of each line of the result end. out: uint8[n, m, 3].");

static PyObject *
shrink(PyObject *module, PyObject *args)
{
    Py_buffer rgb, columns, column_weights, rows, row_weights, row_ends, out;
    Py_ssize_t height, width, taps;
    if (!PyArg_ParseTuple(args, "y*nny*y*ny*y*y*w*", &rgb, &height, &width, &columns, &column_weights, &taps,
                          &rows, &row_weights, &row_ends, &out))
        return NULL;
    Py_ssize_t count = taps > 0 ? columns.len / (Py_ssize_t)sizeof(int32_t) / taps : 0;
    Py_ssize_t lines = row_ends.len / (Py_ssize_t)sizeof(int32_t), steps = rows.len / (Py_ssize_t)sizeof(int32_t);
    const int32_t *first = columns.buf, *line_of = rows.buf, *ends = row_ends.buf;
    const float *weight = column_weights.buf, *share = row_weights.buf;
    int fits = height > 0 && width > 0 && taps > 0 && count > 0 && width < INT32_MAX / 3
        && height <= PY_SSIZE_T_MAX / 3 / width && rgb.len == height * width * 3
        && columns.len == count * taps * (Py_ssize_t)sizeof(int32_t) && column_weights.len == columns.len
        && row_weights.len == rows.len && out.len == lines * count * 3
        && all_below(first, count * taps, 3 * (int64_t)width - 2) && all_below(line_of, steps, height);
    for (Py_ssize_t line = 0, begin = 0; fits && line < lines; begin = ends[line++])
        fits = begin < ends[line] && ends[line] <= steps;
    float *space = fits ? PyMem_RawMalloc((3 * (size_t)width + 1 + 8 * (size_t)count) * sizeof(float)) : NULL;
    if (space != NULL) {
        float *pixels = space, *crossed = space + 3 * width + 1, *sums = crossed + 4 * count;
        const uint8_t *source = rgb.buf;
        uint8_t *target = out.buf;
        Py_ssize_t have = -1, step = 0;
        Py_BEGIN_ALLOW_THREADS
        pixels[3 * width] = 0;
        for (Py_ssize_t line = 0; line < lines; line++) {
            for (Py_ssize_t begin = step; step < ends[line]; step++) {
                if (line_of[step] != have) {
                    have = line_of[step];
                    for (Py_ssize_t at = 0; at < 3 * width; at++)
                        pixels[at] = source[have * width * 3 + at];
                    across(pixels, crossed, count, taps, first, weight);
                }
                for (Py_ssize_t at = 0; at < 4 * count; at++)
                    sums[at] = (step == begin ? 0 : sums[at]) + crossed[at] * share[step];
            }
            rounded(sums, target + line * count * 3, count);
        }
        Py_END_ALLOW_THREADS
        PyMem_RawFree(space);
    }
    Py_buffer *held[] = {&rgb, &columns, &column_weights, &rows, &row_weights, &row_ends, &out};
    for (size_t at = 0; at < sizeof held / sizeof *held; at++)
        PyBuffer_Release(held[at]);
    if (!fits)
        return PyErr_Format(PyExc_ValueError, "sizes, places or ends do not fit each other");
    if (space == NULL)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"shrink", shrink, METH_VARARGS, shrink_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_shrink", NULL, 0, methods};

PyMODINIT_FUNC
PyInit__shrink(void)
{
    return PyModule_Create(&definition);
}
