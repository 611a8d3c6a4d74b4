/* Queue ids: see id.h. */
#include <stdio.h>
#include <string.h>
#include "core/queue/id.h"

/* Digits and consonants: 52 signs, so that no id reads like a word.  Base 51
 * leaves out the last one, z, which stands between time and inode. */
static const char signs[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
#define TIME_BASE  52u
#define INODE_BASE 51u
#define SEC_MIN    6       /* digits of the seconds, zero-padded */
#define USEC_LEN   4

static int sign_value(char c)
{
    const char *p = c ? strchr(signs, c) : NULL;

    return p ? (int)(p - signs) : -1;
}

static size_t put_base(char *out, uint64_t v, unsigned base, size_t min)
{
    char rev[24];
    size_t n = 0;

    do
        rev[n++] = signs[v % base];
    while ((v /= base) > 0);
    while (n < min)
        rev[n++] = '0';
    for (size_t i = 0; i < n; i++)
        out[i] = rev[n - 1 - i];
    return n;
}

/* 1 and *v, or 0: empty, a sign of no such base, or more than 64 bits. */
static int get_base(ph_str s, unsigned base, uint64_t *v)
{
    uint64_t sum = 0;

    if (s.n == 0)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        int d = sign_value(s.p[i]);

        if (d < 0 || (unsigned)d >= base || sum > (UINT64_MAX - (unsigned)d) / base)
            return 0;
        sum = sum * base + (unsigned)d;
    }
    *v = sum;
    return 1;
}

size_t ph_id_format(char out[PH_ID_MAX + 1], int64_t wall_us, uint64_t inode, int is_long)
{
    uint64_t us = wall_us > 0 ? (uint64_t)wall_us : 0;
    size_t n;

    if (!is_long)
        return (size_t)snprintf(out, PH_ID_MAX + 1, "%05X%llX", (unsigned)(us % 1000000u),
                                (unsigned long long)inode);
    /* 8 + 4 + 1 + 12 signs at most: 64-bit microseconds and inodes fit. */
    n = put_base(out, us / 1000000u, TIME_BASE, SEC_MIN);
    n += put_base(out + n, us % 1000000u, TIME_BASE, USEC_LEN);
    out[n++] = 'z';
    n += put_base(out + n, inode, INODE_BASE, 1);
    out[n] = 0;
    return n;
}

static int parse_long_from(ph_str id, uint64_t *second, uint64_t *usec, uint64_t *inode)
{
    ptrdiff_t z = ph_str_rfind(id, 'z');
    uint64_t us;

    if (z < SEC_MIN + USEC_LEN || !get_base(ph_str_first(id, (size_t)z - USEC_LEN), TIME_BASE, second) ||
        !get_base((ph_str){ id.p + z - USEC_LEN, USEC_LEN }, TIME_BASE, &us) || us > 999999 ||
        !get_base(ph_str_from(id, (size_t)z + 1), INODE_BASE, inode))
        return 0;
    *usec = us;
    return 1;
}

static int parse_long(ph_str id, uint64_t *usec, uint64_t *inode)
{
    uint64_t second;

    return parse_long_from(id, &second, usec, inode);
}

static int parse_hex(ph_str s, uint64_t *v)
{
    uint64_t sum = 0;

    if (s.n == 0 || s.n > 16)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!ph_is_digit(c) && (c < 'A' || c > 'F'))
            return 0;
        sum = sum * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
    }
    *v = sum;
    return 1;
}

static int parse_short(ph_str id, uint64_t *usec, uint64_t *inode)
{
    return id.n > 5 && parse_hex(ph_str_first(id, 5), usec) && parse_hex(ph_str_from(id, 5), inode);
}

static int parse_any(ph_str id, uint64_t *usec, uint64_t *inode)
{
    if (id.n > PH_ID_MAX)
        return 0;
    return parse_long(id, usec, inode) || parse_short(id, usec, inode);
}

int ph_id_parse(ph_str id, uint64_t *inode)
{
    uint64_t usec;

    return parse_any(id, &usec, inode);
}

int ph_id_split(ph_str id, int64_t *wall_us, uint64_t *inode, int *is_long)
{
    uint64_t second = 0, us, file;
    char again[PH_ID_MAX + 1];
    int l = id.n <= PH_ID_MAX && parse_long_from(id, &second, &us, &file);

    if (id.n > PH_ID_MAX || (!l && !parse_short(id, &us, &file)) || second > (uint64_t)(INT64_MAX - 999999) / 1000000)
        return 0;
    us += second * 1000000;
    if (ph_id_format(again, (int64_t)us, file, l) != id.n || memcmp(again, id.p, id.n) != 0)
        return 0;
    *wall_us = (int64_t)us;
    *inode = file;
    *is_long = l;
    return 1;
}

int ph_id_is_long(ph_str id)
{
    uint64_t usec, inode;

    return id.n <= PH_ID_MAX && parse_long(id, &usec, &inode);
}

int ph_id_is_name(ph_str id)
{
    if (id.n == 0 || id.n > PH_ID_MAX)
        return 0;
    for (size_t i = 0; i < id.n; i++)
        if (!ph_is_alnum(id.p[i]))
            return 0;
    return 1;
}

void ph_id_hash(ph_str id, char out[6])
{
    uint64_t usec, inode;

    if (!parse_any(id, &usec, &inode))
        usec = ph_str_hash(id) & 0xfffff;      /* a foreign name: any fixed place will do */
    snprintf(out, 6, "%05X", (unsigned)(usec & 0xfffff));
}
