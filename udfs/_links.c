/* The pictures among the links of a WAT record, taken out of its JSON before a parser makes objects of them all. What is
   not of the one form in which Common Crawl writes its links is left to the parser: the answer is None then. Of links that
   are not kept nobody asks whether their bytes are UTF-8. */

#define _GNU_SOURCE /* memmem */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LINKS "\"Links\":["
#define PICTURE "IMG@/src"

typedef const uint8_t *Place;

/* A string between its quotes. */
typedef struct {
    Place start, end;
    int is_escaped;
} Text;

/* Texts one after the other, and the size of each. */
typedef struct {
    uint8_t *bytes;
    Py_ssize_t size;
    int32_t *sizes;
} Column;

static int
nibble(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits; -1 if there are none. */
static int
unit(Place at, Place end)
{
    int found = 0;
    if (end - at < 4)
        return -1;
    for (int place = 0; place < 4; place++) {
        int value = nibble(at[place]);
        if (value < 0)
            return -1;
        found = found * 16 + value;
    }
    return found;
}

#ifdef __SSE2__
/* Which of 16 bytes end a run of text. */
static inline uint64_t
ends_of(Place at)
{
    __m128i block = _mm_loadu_si128((const __m128i *)at);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    __m128i other = _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')), _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
    return (uint64_t)(unsigned)_mm_movemask_epi8(_mm_or_si128(control, other));
}
#endif

/* The first byte that ends a run of text: a quote, a backslash or a control character. */
static inline Place
run_end(Place at, Place end)
{
#ifdef __SSE2__
    for (; end - at >= 64; at += 64) {
        uint64_t ends = ends_of(at) | ends_of(at + 16) << 16 | ends_of(at + 32) << 32 | ends_of(at + 48) << 48;
        if (ends)
            return at + __builtin_ctzll(ends);
    }
#endif
    while (at < end && *at != '"' && *at != '\\' && *at >= 0x20)
        at++;
    return at;
}

/* A string from its opening quote on. Returns what follows it; NULL if there is none. */
static inline Place
string_at(Place at, Place end, Text *text)
{
    if (at >= end || *at != '"')
        return NULL;
    text->start = ++at;
    text->is_escaped = 0;
    for (;;) {
        at = run_end(at, end);
        if (at >= end || *at < 0x20)
            return NULL;
        if (*at == '"') {
            text->end = at;
            return at + 1;
        }
        text->is_escaped = 1;
        if (end - at < 2)
            return NULL;
        if (at[1] == 'u' ? unit(at + 2, end) < 0 : at[1] == 0 || strchr("\"\\/bfnrt", at[1]) == NULL)
            return NULL;
        at += at[1] == 'u' ? 6 : 2;
    }
}

/* What a string says, in UTF-8. Returns the end of it; NULL of half a surrogate pair. */
static uint8_t *
unescaped(const Text *text, uint8_t *out)
{
    Place at = text->start;
    if (!text->is_escaped) {
        memcpy(out, at, (size_t)(text->end - at));
        return out + (text->end - at);
    }
    while (at < text->end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        uint8_t kind = at[1];
        if (kind != 'u') {
            *out++ = kind == 'b' ? '\b' : kind == 'f' ? '\f' : kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind;
            at += 2;
            continue;
        }
        uint32_t point = (uint32_t)unit(at + 2, text->end);
        at += 6;
        if (point >= 0xD800 && point < 0xE000) {
            int low = text->end - at >= 6 && at[0] == '\\' && at[1] == 'u' ? unit(at + 2, text->end) : -1;
            if (point >= 0xDC00 || low < 0xDC00 || low >= 0xE000)
                return NULL;
            point = 0x10000 + ((point - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
            at += 6;
        }
        /* No more bytes than the escape had. */
        if (point < 0x80)
            *out++ = (uint8_t)point;
        else {
            int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
            *out++ = (uint8_t)((more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0) | (point >> (6 * more)));
            while (more--)
                *out++ = (uint8_t)(0x80 | ((point >> (6 * more)) & 0x3F));
        }
    }
    return out;
}

static int
is_ascii(Place at, Place end)
{
    uint8_t all = 0;
    for (; at < end; at++)
        all |= *at;
    return all < 0x80;
}

/* Whether bytes are UTF-8 as RFC 3629 has it: shortest forms, no surrogates, up to U+10FFFF. */
static int
is_utf8(Place at, Place end)
{
    if (is_ascii(at, end))
        return 1;
    while (at < end) {
        uint8_t first = *at++;
        if (first < 0x80)
            continue;
        int more = first >= 0xC2 && first < 0xE0 ? 1 : first >= 0xE0 && first < 0xF0 ? 2 : first >= 0xF0 && first < 0xF5 ? 3 : 0;
        if (more == 0 || end - at < more)
            return 0;
        uint8_t least = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80, most = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (*at < least || *at > most)
            return 0;
        for (at++; --more; at++)
            if ((*at & 0xC0) != 0x80)
                return 0;
    }
    return 1;
}

/* What is kept of a link, by its key, as most links have them; TEXT is not kept, and neither is any other. */
enum { PATH, URL, TEXT, ALT, REL, OTHER };

#define IS(word) (end - at >= (Py_ssize_t)sizeof word && memcmp(at, word, sizeof word - 1) == 0)

/* A key and its colon. Returns what follows them; NULL if there are none. */
static inline Place
key_at(Place at, Place end, int *key)
{
    Text other;
    if (IS("\"path\":"))
        return *key = PATH, at + 7;
    if (IS("\"url\":"))
        return *key = URL, at + 6;
    if (IS("\"text\":"))
        return *key = TEXT, at + 7;
    if (IS("\"alt\":"))
        return *key = ALT, at + 6;
    if (IS("\"rel\":"))
        return *key = REL, at + 6;
    *key = OTHER;
    at = string_at(at, end, &other);
    return at == NULL || other.is_escaped || at >= end || *at != ':' ? NULL : at + 1;
}

/* The value of a path. The two that are nearly all of them need no search for their end. */
static inline Place
path_at(Place at, Place end, Text *text)
{
    if (!IS("\"A@/href\"") && !IS("\"" PICTURE "\""))
        return string_at(at, end, text);
    text->start = at + 1;
    text->end = at + (at[1] == 'A' ? sizeof "\"A@/href" : sizeof "\"" PICTURE) - 1;
    text->is_escaped = 0;
    return text->end + 1;
}

static int
added(Column *column, Py_ssize_t row, const Text *text)
{
    uint8_t *start = column->bytes + column->size, *end = text == NULL ? start : unescaped(text, start);
    if (end == NULL || !is_utf8(start, end))
        return 0;
    column->sizes[row] = (int32_t)(end - start);
    column->size += end - start;
    return 1;
}

/* What is found in a record. */
typedef struct {
    Column urls, captions;
    Py_ssize_t count, most;
    uint8_t *rest;
    Py_ssize_t rest_size;
} Found;

/* One link. Returns what follows it; NULL if it is not of the form. */
static Place
link_at(Place at, Place end, Found *found)
{
    Place start = at;
    Text texts[OTHER + 1];
    unsigned there = 0;
    if (at >= end || *at != '{')
        return NULL;
    do {
        int key;
        at = key_at(at + 1, end, &key);
        at = at == NULL ? NULL : key == PATH ? path_at(at, end, &texts[key]) : string_at(at, end, &texts[key]);
        if (at == NULL || at >= end)
            return NULL;
        if (there >> key & 1 && key != OTHER)
            return NULL;
        there |= 1u << key;
    } while (*at == ',');
    if (*at++ != '}' || !(there >> PATH & 1) || texts[PATH].is_escaped)
        return NULL;
    int is_picture = texts[PATH].end - texts[PATH].start == sizeof PICTURE - 1
        && memcmp(texts[PATH].start, PICTURE, sizeof PICTURE - 1) == 0;
    if (there >> REL & 1) {
        if (is_picture)
            return NULL;
        found->rest[found->rest_size++] = ',';
        memcpy(found->rest + found->rest_size, start, (size_t)(at - start));
        found->rest_size += at - start;
    } else if (is_picture) {
        if (found->count < found->most
            && !(added(&found->urls, found->count, there >> URL & 1 ? &texts[URL] : NULL)
                 && added(&found->captions, found->count, there >> ALT & 1 ? &texts[ALT] : NULL)))
            return NULL;
        found->count++;
    }
    return at;
}

static Place
place_of_links(Place from, Place end)
{
    return memmem(from, (size_t)(end - from), LINKS, sizeof LINKS - 1);
}

static int
divided(Place start, Place end, const Py_buffer *mark, Found *found)
{
    Place links = place_of_links(start, end);
    if (links == NULL || links == start || (links[-1] != '{' && links[-1] != ','))
        return 0;
    Place first = links + sizeof LINKS - 1, at = first;
    memcpy(found->rest, start, (size_t)(first - start));
    found->rest_size = first - start;
    memcpy(found->rest + found->rest_size, mark->buf, (size_t)mark->len);
    found->rest_size += mark->len;
    do {
        at = link_at(at, end, found);
        if (at == NULL || at >= end)
            return 0;
    } while (*at++ == ',');
    if (at[-1] != ']' || place_of_links(at, end) != NULL)
        return 0;
    found->rest[found->rest_size++] = ']';
    memcpy(found->rest + found->rest_size, at, (size_t)(end - at));
    found->rest_size += end - at;
    return 1;
}

/* Nearly every record fits; it is used by one call at a time, as calls hold the interpreter's lock. */
static int32_t usual_space[1 << 18];

PyDoc_STRVAR(pictures_doc,
    "pictures(content, most, mark)\n\n"
    "The pictures of a WAT record, up to `most` of them, and the record with `mark`, a link, in place of its links, and those\n"
    "with a `rel` after it: who finds the mark among a page's links knows whose they were. Returns the latter, how many\n"
    "pictures there are, their URLs one after the other, the size of each as int32, their texts, and the sizes of these;\n"
    "None if it is not written in the usual form.");

static PyObject *
pictures(PyObject *module, PyObject *args)
{
    Py_buffer content, mark;
    Py_ssize_t most;
    if (!PyArg_ParseTuple(args, "y*ny*", &content, &most, &mark))
        return NULL;
    PyObject *answer = NULL;
    if (most < 0 || content.len > INT32_MAX || mark.len > INT16_MAX) {
        PyBuffer_Release(&content);
        PyBuffer_Release(&mark);
        return PyErr_Format(PyExc_ValueError, "fewer than no pictures, a record of more than 2 GiB, or a long mark");
    }
    size_t size = (size_t)content.len, shown = size / (sizeof "{\"path\":\"" PICTURE "\"}" - 1) + 1;
    /* Texts take no more than they took in JSON, and each picture its path besides. */
    size_t needed = 2 * shown * sizeof(int32_t) + 3 * size + (size_t)mark.len + 1;
    int32_t *space = needed <= sizeof usual_space ? usual_space : PyMem_RawMalloc(needed);
    if (space == NULL) {
        PyBuffer_Release(&content);
        PyBuffer_Release(&mark);
        return PyErr_NoMemory();
    }
    uint8_t *bytes = (uint8_t *)(space + 2 * shown);
    Found found = {
        .urls = {bytes, 0, space}, .captions = {bytes + size, 0, space + shown}, .most = most, .rest = bytes + 2 * size,
    };
    int is_usual = divided(content.buf, (Place)content.buf + size, &mark, &found);
    PyBuffer_Release(&content);
    PyBuffer_Release(&mark);
    if (is_usual) {
        Py_ssize_t rows = found.count < most ? found.count : most, width = rows * (Py_ssize_t)sizeof(int32_t);
        answer = Py_BuildValue("(y#ny#y#y#y#)", found.rest, found.rest_size, found.count, found.urls.bytes, found.urls.size,
                               (char *)found.urls.sizes, width, found.captions.bytes, found.captions.size,
                               (char *)found.captions.sizes, width);
    }
    if (space != usual_space)
        PyMem_RawFree(space);
    if (answer == NULL && !PyErr_Occurred())
        Py_RETURN_NONE;
    return answer;
}

static PyMethodDef methods[] = {
    {"pictures", pictures, METH_VARARGS, pictures_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_links", NULL, 0, methods};

PyMODINIT_FUNC
PyInit__links(void)
{
    return PyModule_Create(&definition);
}
