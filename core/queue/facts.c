/* Facts of content, found while it passes: 8-bit bytes, NUL, leading dots, bare
 * CR and LF, the longest line.  Any split of the input gives the same answer. */
#include "core/base/scan.h"
#include "core/queue/facts.h"

/* The lines that end within 64 bytes from `at` on: their lengths, and the rest. */
static void measure(struct ph_facts *f, uint64_t lf, uint64_t after_cr, size_t n)
{
    size_t from = 0;

    for (; lf; lf &= lf - 1) {
        unsigned i = ph_scan_first(lf);
        uint64_t line = f->line + (i - from) - (after_cr >> i & 1);

        if (line > f->longest)
            f->longest = line;
        f->line = 0;
        from = i + 1;
    }
    f->line += n - from;
}

static void scan_block(struct ph_facts *f, const char *p, size_t n)
{
    struct ph_scan s;

    ph_scan_load(&s, p, n);
    uint64_t cr = ph_scan_find(&s, '\r'), lf = ph_scan_find(&s, '\n');
    uint64_t after_cr = cr << 1 | (uint64_t)f->cr, starts = lf << 1 | (f->line == 0);

    if (ph_scan_8bit(&s))
        f->bits |= PH_FACT_8BIT;
    if (ph_scan_find(&s, 0))
        f->bits |= PH_FACT_NUL;
    if (ph_scan_find(&s, '.') & starts)
        f->bits |= PH_FACT_LEADING_DOT;
    if (after_cr & ~lf & s.known)
        f->bits |= PH_FACT_BARE_CR;
    if (lf & ~after_cr)
        f->bits |= PH_FACT_BARE_LF;
    measure(f, lf, after_cr, n);
    f->cr = (int)(cr >> (n - 1) & 1);
}

void ph_facts_scan(struct ph_facts *f, ph_str s)
{
    for (size_t at = 0; at < s.n; at += PH_SCAN_BYTES)
        scan_block(f, s.p + at, s.n - at < PH_SCAN_BYTES ? s.n - at : PH_SCAN_BYTES);
    if (f->line - (uint64_t)f->cr > f->longest)
        f->longest = f->line - (uint64_t)f->cr;
}
