/* Facts of content, found while it passes: 8-bit bytes, NUL, leading dots, bare
 * CR and LF, the longest line.  Any split of the input gives the same answer. */
#include <string.h>
#include "core/queue/facts.h"

/* Is there a byte above 127? */
static int has_8bit(const char *p, size_t n)
{
    uint64_t all = 0, word;

    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        all |= word;
    }
    while (n-- > 0)
        all |= (unsigned char)*p++;
    return (all & UINT64_C(0x8080808080808080)) != 0;
}

/* CRs inside a line that are not its end. */
static int has_bare_cr(const char *p, size_t n)
{
    return n > 0 && memchr(p, '\r', n) != NULL;
}

/* p..p+n is one line or a part of one, without its LF. */
static void scan_part(struct ph_facts *f, const char *p, size_t n, int ended)
{
    if (n > 0) {
        if (f->line == 0 && *p == '.')
            f->bits |= PH_FACT_LEADING_DOT;
        if (f->cr || has_bare_cr(p, n - 1))
            f->bits |= PH_FACT_BARE_CR;
        f->cr = p[n - 1] == '\r';
        f->line += n;
    }
    if (f->line - (uint64_t)f->cr > f->longest)
        f->longest = f->line - (uint64_t)f->cr;
    if (!ended)
        return;
    if (!f->cr)
        f->bits |= PH_FACT_BARE_LF;
    f->cr = 0;
    f->line = 0;
}

void ph_facts_scan(struct ph_facts *f, ph_str s)
{
    if (has_8bit(s.p, s.n))
        f->bits |= PH_FACT_8BIT;
    if (s.n > 0 && memchr(s.p, 0, s.n))
        f->bits |= PH_FACT_NUL;
    while (s.n > 0) {
        const char *lf = memchr(s.p, '\n', s.n);
        size_t n = lf ? (size_t)(lf - s.p) : s.n;

        scan_part(f, s.p, n, lf != NULL);
        s = ph_str_from(s, n + (lf != NULL));
    }
}
