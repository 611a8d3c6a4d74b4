/* fold: see posthorn/fold.h. */
#include <string.h>
#include <posthorn/fold.h>

#define GROWS 3                    /* times at most, in bytes: U+0390 */

struct fold_run { uint32_t first, last, step; int32_t delta; };
struct fold_many { uint32_t from; const char *to; };

#include "core/plugin/fold_table.h"

/* The code point at *p, which is behind it then.  The text is valid. */
static uint32_t take(const char **p)
{
    unsigned char c = (unsigned char)*(*p)++;
    int more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t v = more == 0 ? c : c & (0x3fu >> more);

    for (; more; more--)
        v = v << 6 | ((unsigned char)*(*p)++ & 0x3fu);
    return v;
}

static char *put(char *to, uint32_t v)
{
    static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };

    if (v < 0x80) {
        *to++ = (char)v;
        return to;
    }
    int more = v < 0x800 ? 1 : v < 0x10000 ? 2 : 3;

    *to++ = (char)(lead[more] | v >> 6 * more);
    while (more--)
        *to++ = (char)(0x80u | (v >> 6 * more & 0x3fu));
    return to;
}

static char *put_folded(char *to, uint32_t v)
{
    for (size_t i = 0; i < sizeof several / sizeof *several && several[i].from <= v; i++)
        if (several[i].from == v) {
            size_t n = strlen(several[i].to);

            memcpy(to, several[i].to, n);
            return to + n;
        }
    for (size_t i = 0; i < sizeof runs / sizeof *runs && runs[i].first <= v; i++)
        if (v <= runs[i].last && (v - runs[i].first) % runs[i].step == 0)
            return put(to, (uint32_t)((int64_t)v + runs[i].delta));
    return put(to, v);
}

ph_str ph_key_fold(struct ph_scope *s, ph_str key)
{
    if (ph_str_is_ascii(key) || !ph_str_is_utf8(key))
        return ph_str_lower(s, key);
    char *out = ph_alloc(s, key.n * GROWS + 1), *to = out;

    for (const char *p = key.p; p < key.p + key.n; ) {
        uint32_t v = take(&p);

        to = v < 0x80 ? put(to, (uint32_t)(unsigned char)ph_lower((char)v)) : put_folded(to, v);
    }
    return (ph_str){ out, (size_t)(to - out) };
}
