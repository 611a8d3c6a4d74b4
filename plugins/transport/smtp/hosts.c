/* hosts: the order of a destination's addresses, RFC 5321 5.1, and how many of
 * them are tried. */
#include <stdlib.h>
#include "smtp.h"

/* splitmix64: the order of equal hosts needs no secret. */
static uint64_t next_random(struct smtp *self)
{
    uint64_t z = self->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void smtp_hosts_add(struct smtp *self, struct smtp_hosts *h, ph_str name, const struct ph_ip *ip, unsigned port, uint32_t preference)
{
    ph_str want = self->p.address_preference;

    if (h->n == h->cap || (ip->family == 6 ? !self->use_ipv6 : !self->use_ipv4))
        return;
    struct smtp_host *host = &h->at[h->n++];
    *host = (struct smtp_host){ .name = name, .ip = *ip, .port = port, .preference = preference };
    host->order = self->p.randomize ? next_random(self) >> 2 : (uint64_t)h->n;
    if (ph_str_eq_nocase(want, PH_STR("ipv4")) || ph_str_eq_nocase(want, PH_STR("ipv6")))
        host->order |= (uint64_t)(ip->family != (uint32_t)(want.p[3] - '0')) << 63;
}

static int cmp_hosts(const void *a, const void *b)
{
    const struct smtp_host *x = a, *y = b;

    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

void smtp_hosts_sort(struct smtp_hosts *h)
{
    qsort(h->at, h->n, sizeof *h->at, cmp_hosts);
}

/* Another port than SMTP's own is another program (a content filter), not a
 * loop; and an LMTP server on this machine is where mail is meant to end. */
int smtp_hosts_drop_ourselves(const struct smtp *self, struct smtp_hosts *h)
{
    for (size_t i = 0; i < h->n && !self->lmtp; i++)
        if (h->at[i].port == SMTP_PORT && ph_ip_is_among(&h->at[i].ip, self->ours, self->our_count)) {
            uint32_t worst = h->at[i].preference;

            while (i && h->at[i - 1].preference == worst)
                i--;
            h->n = i;
            return 1;
        }
    return 0;
}

void smtp_hosts_truncate(struct smtp_hosts *h, size_t limit, int balance)
{
    size_t n6 = 0, kept = 0, left[2];

    if (limit == 0 || h->n <= limit)
        return;
    for (size_t i = 0; i < h->n; i++)
        n6 += h->at[i].ip.family == 6;
    size_t n4 = h->n - n6, half = limit / 2;
    left[1] = n6 < half ? n6 : half;
    left[0] = limit - left[1];
    if (left[0] > n4) {
        left[0] = n4;
        left[1] = limit - n4;
    }
    if (!balance || limit < 2)
        left[0] = left[1] = limit;
    for (size_t i = 0; i < h->n && kept < limit; i++) {
        size_t *quota = &left[h->at[i].ip.family == 6];

        if (*quota) {
            --*quota;
            h->at[kept++] = h->at[i];
        }
    }
    h->n = kept;
}
