/* Loops over pixels for which numpy has no words. Everything here has a twin in numpy, OpenCV or Pillow that gives the same
   bits and answers where this was not compiled. All arguments are checked against the sizes of the buffers before the
   first pixel is read. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Loops that are compiled twice, for processors with AVX2 and for any other; the loader takes the one that fits. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define LOOP static __attribute__((target_clones("avx2", "default")))
#else
#define LOOP static
#endif

/* Four floats, at any address of an array of floats: the three channels of a pixel and a value that nobody reads. */
typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

#define LINES 4 /* that are weighed together, as they share places and weights */

/* Of each of some source lines, the weighted sums of `taps` neighbours for each column of the result. */
LOOP void
across(const float *lines, Py_ssize_t length, float *sums, Py_ssize_t columns, Py_ssize_t taps, const int32_t *first,
       const float *weight)
{
    for (Py_ssize_t column = 0; column < columns; column++, first += taps, weight += taps) {
        four sum[LINES];
        for (int line = 0; line < LINES; line++)
            sum[line] = *(const four *)(lines + line * length + first[0]) * weight[0];
        for (Py_ssize_t tap = 1; tap < taps; tap++)
            for (int line = 0; line < LINES; line++)
                sum[line] += *(const four *)(lines + line * length + first[tap]) * weight[tap];
        for (int line = 0; line < LINES; line++)
            *(four *)(sums + 4 * (line * columns + column)) = sum[line];
    }
}

/* Adding 1.5 * 2^23 leaves a float no bits after the point: its last bits are the nearest whole number, halves to even. */
LOOP void
rounded(const float *sums, uint8_t *levels, uint8_t *out, Py_ssize_t columns)
{
    for (Py_ssize_t at = 0; at < 4 * columns; at++) {
        float sum = sums[at] + 12582912.0f;
        int32_t bits;
        memcpy(&bits, &sum, sizeof bits);
        bits -= 0x4B400000;
        levels[at] = (uint8_t)(bits > 255 ? 255 : bits);
    }
    for (Py_ssize_t column = 0; column < columns; column++)
        for (int channel = 0; channel < 3; channel++)
            out[3 * column + channel] = levels[4 * column + channel];
}

/* A line of bytes as floats. */
LOOP void
as_floats(const uint8_t *bytes, float *floats, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++)
        floats[at] = bytes[at];
}

/* Add a line with its weight to what is there, or put it there. */
LOOP void
add_weighted(float *sums, const float *line, float weight, int is_first, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++)
        sums[at] = (is_first ? 0 : sums[at]) + line[at] * weight;
}

static int
all_below(const int32_t *values, Py_ssize_t count, int64_t bound)
{
    for (Py_ssize_t at = 0; at < count; at++)
        if (values[at] < 0 || values[at] >= bound)
            return 0;
    return 1;
}

static PyObject *
answer(Py_buffer **held, size_t count, int fits, int had_memory)
{
    for (size_t at = 0; at < count; at++)
        PyBuffer_Release(held[at]);
    if (!fits)
        return PyErr_Format(PyExc_ValueError, "sizes, places, weights or ends do not fit each other");
    if (!had_memory)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
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
    Py_ssize_t length = 3 * width + 1; /* with the value after the last pixel that nobody reads */
    float *space = fits ? PyMem_RawCalloc(LINES * (size_t)length + (4 * LINES + 5) * (size_t)count, sizeof(float)) : NULL;
    if (space != NULL) {
        float *pixels = space, *crossed = space + LINES * length, *sums = crossed + 4 * LINES * count;
        uint8_t *levels = (uint8_t *)(sums + 4 * count);
        const uint8_t *source = rgb.buf;
        uint8_t *target = out.buf;
        Py_ssize_t have = -LINES, step = 0;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t line = 0; line < lines; line++) {
            for (Py_ssize_t begin = step; step < ends[line]; step++) {
                if (line_of[step] < have || line_of[step] >= have + LINES) {
                    have = line_of[step];
                    for (Py_ssize_t line = 0; line < LINES && have + line < height; line++)
                        as_floats(source + (have + line) * width * 3, pixels + line * length, 3 * width);
                    across(pixels, length, crossed, count, taps, first, weight);
                }
                add_weighted(sums, crossed + 4 * count * (line_of[step] - have), share[step], step == begin, 4 * count);
            }
            rounded(sums, levels, target + line * count * 3, count);
        }
        Py_END_ALLOW_THREADS
        PyMem_RawFree(space);
    }
    Py_buffer *held[] = {&rgb, &columns, &column_weights, &rows, &row_weights, &row_ends, &out};
    return answer(held, sizeof held / sizeof *held, fits, space != NULL);
}

/* Lines are added up in 16 bits, twice as many at a time as in 32, for as long as no sum of them can need more. */
#define MOST_IN_16_BITS (UINT16_MAX / UINT8_MAX)
#define COLUMNS 4096 /* at a time, so that their sums stay in cache */

LOOP void
add_line(uint16_t *sums, const uint8_t *line, uint16_t weight, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++)
        sums[at] = (uint16_t)(sums[at] + line[at] * weight);
}

LOOP void
add_sums(uint32_t *sums, uint16_t *more, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++)
        sums[at] += more[at];
    memset(more, 0, (size_t)count * sizeof *more);
}

PyDoc_STRVAR(line_sums_doc,
    "line_sums(pixels, height, width, lines, weights, ends, out)\n\n"
    "Weighted sums of lines. pixels: uint8[height, width]. lines: int32[k]; weights: uint16[k], 257 at most; ends:\n"
    "int32[n], where the lines of each sum end. out: uint32[n, width].");

static PyObject *
line_sums(PyObject *module, PyObject *args)
{
    Py_buffer pixels, lines, weights, ends, out;
    Py_ssize_t height, width;
    if (!PyArg_ParseTuple(args, "y*nny*y*y*w*", &pixels, &height, &width, &lines, &weights, &ends, &out))
        return NULL;
    Py_ssize_t steps = lines.len / (Py_ssize_t)sizeof(int32_t), count = ends.len / (Py_ssize_t)sizeof(int32_t);
    const int32_t *line_of = lines.buf, *end = ends.buf;
    const uint16_t *weight = weights.buf;
    int fits = height > 0 && width > 0 && height <= PY_SSIZE_T_MAX / width && pixels.len == height * width
        && weights.len == steps * (Py_ssize_t)sizeof(uint16_t) && width <= PY_SSIZE_T_MAX / 4 / (count + 1)
        && out.len == count * width * (Py_ssize_t)sizeof(uint32_t) && all_below(line_of, steps, height);
    for (Py_ssize_t sum = 0, begin = 0; fits && sum < count; begin = end[sum++]) {
        uint64_t whole = 0;
        fits = begin <= end[sum] && end[sum] <= steps;
        for (Py_ssize_t step = begin; fits && step < end[sum]; step++) {
            whole += weight[step];
            fits = weight[step] <= MOST_IN_16_BITS && whole <= UINT32_MAX / UINT8_MAX;
        }
    }
    uint16_t *few = fits ? PyMem_RawMalloc(COLUMNS * sizeof(uint16_t)) : NULL;
    if (few != NULL) {
        const uint8_t *source = pixels.buf;
        uint32_t *sums = out.buf;
        Py_BEGIN_ALLOW_THREADS
        memset(sums, 0, (size_t)out.len);
        memset(few, 0, COLUMNS * sizeof(uint16_t));
        for (Py_ssize_t first = 0; first < width; first += COLUMNS) {
            Py_ssize_t columns = width - first < COLUMNS ? width - first : COLUMNS, step = 0;
            for (Py_ssize_t sum = 0; sum < count; sum++) {
                unsigned held = 0;
                for (; step < end[sum]; step++) {
                    if (held + weight[step] > MOST_IN_16_BITS) {
                        add_sums(sums + sum * width + first, few, columns);
                        held = 0;
                    }
                    held += weight[step];
                    add_line(few, source + line_of[step] * width + first, weight[step], columns);
                }
                add_sums(sums + sum * width + first, few, columns);
            }
        }
        Py_END_ALLOW_THREADS
        PyMem_RawFree(few);
    }
    Py_buffer *held[] = {&pixels, &lines, &weights, &ends, &out};
    return answer(held, sizeof held / sizeof *held, fits, few != NULL);
}

/* Weights of up to 22 bits and a sign are multiplied in two halves of 16 bits, which processors add up in pairs. */
#define LOW_BITS 12
#define FRACTION_BITS 22

/* Whether no sum of bytes with these weights needs more than 31 bits. */
static int
are_small(const int16_t *high, const int16_t *low, Py_ssize_t results, Py_ssize_t taps)
{
    for (Py_ssize_t result = 0; result < results; result++) {
        int64_t highs = 0, lows = 0;
        for (Py_ssize_t tap = result * taps; tap < (result + 1) * taps; tap++) {
            if (low[tap] < 0)
                return 0;
            highs += high[tap] < 0 ? -high[tap] : high[tap];
            lows += low[tap];
        }
        if (UINT8_MAX * ((highs << LOW_BITS) + lows) + (1 << (FRACTION_BITS - 1)) > INT32_MAX)
            return 0;
    }
    return 1;
}


LOOP void
squeezed(const uint8_t *line, Py_ssize_t length, int16_t *wide, Py_ssize_t results, const int32_t *begin,
         const int16_t *high, const int16_t *low, Py_ssize_t taps, uint8_t *out)
{
    for (Py_ssize_t at = 0; at < length; at++)
        wide[at] = line[at];
    for (Py_ssize_t result = 0; result < results; result++) {
        int32_t highs = 0, lows = 0;
        for (Py_ssize_t tap = 0; tap < taps; tap++) {
            int16_t value = wide[begin[result] + tap];
            highs += value * high[result * taps + tap];
            lows += value * low[result * taps + tap];
        }
        int32_t level = (highs * (1 << LOW_BITS) + lows + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
        out[result] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

PyDoc_STRVAR(squeeze_doc,
    "squeeze(lines, count, length, first, weights, taps, out)\n\n"
    "Each line filtered with weights of 22 bits after the point, rounded to whole levels. lines: uint8[count, length].\n"
    "first: int32[n], the first of the neighbours of each result; weights: int16[2, n, taps], what they are without\n"
    "their 12 low bits, and these. out: uint8[count, n].");

static PyObject *
squeeze(PyObject *module, PyObject *args)
{
    Py_buffer lines, first, weights, out;
    Py_ssize_t count, length, taps;
    if (!PyArg_ParseTuple(args, "y*nny*y*nw*", &lines, &count, &length, &first, &weights, &taps, &out))
        return NULL;
    Py_ssize_t results = first.len / (Py_ssize_t)sizeof(int32_t);
    const int32_t *begin = first.buf;
    const int16_t *high = weights.buf, *low = high + results * taps;
    int fits = count > 0 && length > 0 && length <= PY_SSIZE_T_MAX / count && lines.len == count * length
        && 0 < taps && taps <= length && results <= length
        && weights.len == 2 * results * taps * (Py_ssize_t)sizeof(int16_t)
        && out.len == count * results && all_below(begin, results, length - taps + 1)
        && are_small(high, low, results, taps);
    int16_t *wide = fits ? PyMem_RawMalloc((size_t)length * sizeof(int16_t)) : NULL;
    if (wide != NULL) {
        const uint8_t *source = lines.buf;
        uint8_t *target = out.buf;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t line = 0; line < count; line++, source += length)
            squeezed(source, length, wide, results, begin, high, low, taps, target + line * results);
        Py_END_ALLOW_THREADS
        PyMem_RawFree(wide);
    }
    Py_buffer *held[] = {&lines, &first, &weights, &out};
    return answer(held, sizeof held / sizeof *held, fits, wide != NULL);
}

/* Pillow's luma: 0.299, 0.587 and 0.114 with 16 bits after the point. */
LOOP void
mixed(const uint8_t *rgb, uint8_t *luma, Py_ssize_t count)
{
    for (Py_ssize_t at = 0; at < count; at++)
        luma[at] = (uint8_t)((rgb[3 * at] * 19595u + rgb[3 * at + 1] * 38470u + rgb[3 * at + 2] * 7471u + 0x8000u) >> 16);
}

PyDoc_STRVAR(luma_doc,
    "luma(rgb, out)\n\n"
    "Luma as Pillow's convert(\"L\") has it. rgb: uint8[n, 3]; out: uint8[n].");

static PyObject *
luma(PyObject *module, PyObject *args)
{
    Py_buffer rgb, out;
    if (!PyArg_ParseTuple(args, "y*w*", &rgb, &out))
        return NULL;
    int fits = rgb.len / 3 == out.len && rgb.len % 3 == 0;
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        mixed(rgb.buf, out.buf, out.len);
        Py_END_ALLOW_THREADS
    }
    Py_buffer *held[] = {&rgb, &out};
    return answer(held, sizeof held / sizeof *held, fits, 1);
}

static PyMethodDef methods[] = {
    {"line_sums", line_sums, METH_VARARGS, line_sums_doc},
    {"luma", luma, METH_VARARGS, luma_doc},
    {"shrink", shrink, METH_VARARGS, shrink_doc},
    {"squeeze", squeeze, METH_VARARGS, squeeze_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pixels", NULL, 0, methods};

PyMODINIT_FUNC
PyInit__pixels(void)
{
    return PyModule_Create(&definition);
}
