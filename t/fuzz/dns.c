/* t/fuzz/dns.c: answers of name servers.
 *
 * Input: byte 0 chooses the question, byte 1 the code that the resolver reports
 * beside the packet; the rest is the packet.
 *
 * Beside sanity, what we take out of a packet must be in it: libresolv reads
 * the same packet, and each record of ours must be one of its. */
#include <arpa/nameser.h>
#include <resolv.h>
#include <string.h>
#include <sys/random.h>
#include <posthorn/error.h>
#include "core/net/dns.h"
#include "fuzz.h"

static ph_str packet;
static int resolver_code;

/* In place of libunbound. */
int ph_dns_query(struct ph_scope *s PH_UNUSED, ph_str name PH_UNUSED, int type PH_UNUSED, ph_str *out, int *rcode, uint32_t *secure)
{
    *out = packet;
    *rcode = resolver_code;
    *secure = 0;
    return 0;
}

/* Chance would make a run impossible to repeat. */
ssize_t getrandom(void *p, size_t n, unsigned flags PH_UNUSED)
{
    memset(p, 0x5a, n);
    return (ssize_t)n;
}

static const struct question { const char *name; int type; } questions[] = {
    { "a.test", PH_DNS_A }, { "a.test", PH_DNS_AAAA }, { "a.test", PH_DNS_MX }, { "a.test", PH_DNS_TXT }, { "192.0.2.1", PH_DNS_PTR },
    { "2001:db8::1", PH_DNS_PTR }, { "a.test.", PH_DNS_MX }, { "A.Test", PH_DNS_A }, { "-", PH_DNS_TXT }, { "..", PH_DNS_A },
};
#define QUESTIONS (sizeof questions / sizeof *questions)

static int ask(struct ph_scope *s, const struct question *q, struct ph_dns_answer *a)
{
    ph_str name = ph_cstr(q->name);
    struct ph_ip ip;

    switch (q->type) {
    case PH_DNS_A:    return ph_dns_find_a(s, name, a);
    case PH_DNS_AAAA: return ph_dns_find_aaaa(s, name, a);
    case PH_DNS_MX:   return ph_dns_find_mx(s, name, a);
    case PH_DNS_TXT:  return ph_dns_find_txt(s, name, a);
    default:          ph_assert(ph_ip_parse(name, &ip)); return ph_dns_find_ptr(s, &ip, a);
    }
}

/* ---- what libresolv reads ---- */

/* A name in the data of a record, as text. */
static int expand(const ns_msg *m, const ns_rr *rr, size_t at, char *out, size_t n)
{
    return ns_rr_rdlen(*rr) > at && dn_expand(ns_msg_base(*m), ns_msg_end(*m), ns_rr_rdata(*rr) + at, out, (int)n) >= 0;
}

/* The strings of a TXT record, joined. */
static int same_text(const ns_rr *rr, ph_str text)
{
    const unsigned char *p = ns_rr_rdata(*rr), *end = p + ns_rr_rdlen(*rr);

    while (p < end) {
        size_t n = *p++;

        if ((size_t)(end - p) < n || text.n < n || memcmp(text.p, p, n) != 0)
            return 0;
        text = ph_str_from(text, n);
        p += n;
    }
    return text.n == 0;
}

static int same_host(const ns_msg *m, const ns_rr *rr, size_t at, ph_str host)
{
    char text[NS_MAXDNAME];

    return expand(m, rr, at, text, sizeof text) && ph_str_eq(ph_cstr(text), host);
}

/* Is record i of *a this one? */
static int is_record(const ns_msg *m, const ns_rr *rr, const struct ph_dns_answer *a, uint32_t i)
{
    size_t n = ns_rr_rdlen(*rr);

    switch (ns_rr_type(*rr)) {
    case ns_t_a:    return n == 4 && memcmp(a->ip[i].bytes, ns_rr_rdata(*rr), 4) == 0;
    case ns_t_aaaa: return n == 16 && memcmp(a->ip[i].bytes, ns_rr_rdata(*rr), 16) == 0;
    case ns_t_mx:   return n > 2 && a->mx[i].preference == ns_get16(ns_rr_rdata(*rr)) && same_host(m, rr, 2, a->mx[i].host);
    case ns_t_txt:  return same_text(rr, a->text[i]);
    default:        return same_host(m, rr, 0, a->text[i]);
    }
}

/* 1 when libresolv cannot read the packet, so that nothing can be said. */
static int is_there(const struct ph_dns_answer *a, int type, uint32_t i)
{
    ns_msg m;
    ns_rr rr;

    if (ns_initparse((const unsigned char *)packet.p, (int)packet.n, &m) < 0)
        return 1;
    for (int k = 0; k < ns_msg_count(m, ns_s_an); k++) {
        if (ns_parserr(&m, ns_s_an, k, &rr) < 0)
            return 1;
        if ((int)ns_rr_type(rr) == type && ns_rr_class(rr) == ns_c_in && is_record(&m, &rr, a, i))
            return 1;
    }
    return 0;
}

/* ---- what must be true of an answer ---- */

static void check_host(ph_str host)
{
    for (size_t i = 0; i < host.n; i++)
        FUZZ_CHECK(ph_is_alnum(host.p[i]) || ph_str_find(PH_STR("-_."), host.p[i]) >= 0, "a byte of a host name: %.*s", PH_FMT(host));
    FUZZ_CHECK(host.n <= 253, "%zu", host.n);
    fuzz_saw(host);
}

static void check_record(const struct ph_dns_answer *a, int type, uint32_t i)
{
    if (type == PH_DNS_MX) {
        check_host(a->mx[i].host);
        FUZZ_CHECK(i == 0 || a->mx[i - 1].preference <= a->mx[i].preference, "sorted");
    } else if (type == PH_DNS_PTR) {
        check_host(a->text[i]);
        FUZZ_CHECK(a->text[i].n, "a client has a name or none");
    } else if (type == PH_DNS_TXT) {
        FUZZ_CHECK(a->text[i].n <= PH_DNS_TEXT_MAX, "%zu", a->text[i].n);
        fuzz_saw(a->text[i]);
    } else {
        FUZZ_CHECK(a->ip[i].family == (type == PH_DNS_A ? 4u : 6u), "%u", a->ip[i].family);
        fuzz_saw((ph_str){ (const char *)a->ip[i].bytes, sizeof a->ip[i].bytes });
    }
    FUZZ_CHECK(is_there(a, type, i), "record %u is in the packet", i);
}

static void check(int rc, const struct ph_dns_answer *a, int type)
{
    FUZZ_CHECK(rc == PH_FOUND || rc == PH_NONE || rc == PH_TEMP || rc == PH_PERM, "%d", rc);
    FUZZ_CHECK((rc == PH_FOUND) == (a->count > 0) && a->count <= PH_DNS_RECORDS_MAX, "answer %d with %u records", rc, a->count);
    FUZZ_CHECK(rc != PH_NONE || a->why == PH_DNS_NXDOMAIN || a->why == PH_DNS_NODATA, "%u", a->why);
    FUZZ_CHECK(rc != PH_TEMP || a->why == PH_DNS_TEMP, "%u", a->why);
    FUZZ_CHECK(rc != PH_PERM || a->why == PH_DNS_BAD, "%u", a->why);
    FUZZ_CHECK(a->canonical.n <= PH_DNS_NAME_MAX, "%zu", a->canonical.n);
    fuzz_saw_number(rc);
    fuzz_saw_number(a->why);
    fuzz_saw(a->canonical);
    for (uint32_t i = 0; i < a->count; i++)
        check_record(a, type, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };
    struct ph_dns_answer a;

    if (size < 2)
        return 0;
    const struct question *q = &questions[fuzz_byte(&in) % QUESTIONS];
    unsigned code = fuzz_byte(&in);
    resolver_code = code < 240 ? 0 : code & 15;
    packet = ph_str_dup(s, in);
    check(ask(s, q, &a), &a, q->type);
    return 0;
}
