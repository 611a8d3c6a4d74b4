/* Headers: the walk, what cleanup makes of a message, addresses mapped on the
 * way out, a sender's name, dates.  First byte of the input: which of them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/date.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/wire.h>
#include "plugins/service/cleanup/cleanup.h"
#include "plugins/transport/smtp/smtp.h"
#include "fuzz.h"

/* --- one logical header after another --- */

static void walk_one(struct ph_scope *s, const struct ph_header *h)
{
    struct ph_header again;
    size_t at = 0, n = 0;
    ph_str line = ph_header_unfold(s, h->value);

    FUZZ_CHECK(h->name.n && h->name.p == h->raw.p, "the name begins the header");
    FUZZ_CHECK(h->value.p >= h->raw.p + h->name.n && h->value.p + h->value.n <= h->raw.p + h->raw.n, "the value lies in it");
    FUZZ_CHECK(ph_header_next(h->raw, &at, &again) == 1 && at == h->raw.n, "alone it is a header, too");
    FUZZ_SAME(again.value, h->value, "of the same value");
    for (size_t i = 0; i < h->value.n; i++)
        if (h->value.p[i] != '\r' && h->value.p[i] != '\n')
            FUZZ_CHECK(n < line.n && line.p[n++] == h->value.p[i], "unfolding drops line ends only");
    FUZZ_CHECK(n == line.n, "and adds nothing");
    fuzz_saw(h->name);
    fuzz_saw(line);
}

static void walk(struct ph_scope *s, ph_str in)
{
    struct ph_header h, found;
    size_t at = 0, sum = 0;
    int rc;

    while ((rc = ph_header_next(in, &at, &h)) == 1) {
        sum += h.raw.n;
        FUZZ_CHECK(h.raw.n && sum == at && h.raw.p + h.raw.n == in.p + at, "no byte between headers");
        walk_one(s, &h);
        FUZZ_CHECK(ph_header_find(in, h.name, &found) == 1 && found.raw.p <= h.raw.p, "the first of the name is found");
    }
    FUZZ_CHECK(rc == 0 || rc == PH_PERM, "%d", rc);
    FUZZ_CHECK(at == sum, "at stays where no header is");
    fuzz_saw_number(rc);
}

/* --- cleanup, with a queue that is a buffer --- */

struct ph_intake {
    struct ph_buf content;
    size_t header_n;
    int in_body;
};

int ph_intake_write(struct ph_intake *q, ph_str bytes)
{
    return ph_buf_str(&q->content, bytes) ? 0 : ph_fail(PH_PERM, "too large");
}

int ph_intake_write_plain(struct ph_intake *q, ph_str bytes)
{
    return ph_find_stray(bytes) < bytes.n ? PH_NONE : ph_intake_write(q, bytes);
}

int ph_intake_body(struct ph_intake *q)
{
    q->header_n = q->content.n;
    return q->in_body++ ? 0 : ph_intake_write(q, PH_STR("\r\n"));
}

static struct message *message(struct ph_scope *s, struct cleanup_params *p)
{
    struct message *m = ph_new(s, struct message);

    m->scope = s;
    m->p = p;
    m->intake = ph_new(s, struct ph_intake);
    m->id = PH_STR("4XyZ0123456789z");
    m->sender = PH_STR("a@b.test");
    ph_buf_init(&m->line, s, (size_t)p->header_limit);
    ph_buf_init(&m->header, s, (size_t)p->header_limit);
    ph_buf_init(&m->intake->content, s, 1u << 20);
    return m;
}

static struct message *clean(struct ph_scope *s, struct cleanup_params *p, ph_str in, size_t cut)
{
    struct message *m = message(s, p);
    size_t first = cut < in.n ? cut : in.n, second = (in.n - first) / 2;

    FUZZ_CHECK(cleanup_content(m, ph_str_first(in, first)) == 0 &&
               cleanup_content(m, ph_str_first(ph_str_from(in, first), second)) == 0 &&
               cleanup_content(m, ph_str_from(in, first + second)) == 0 && cleanup_content_end(m) == 0, "%s", ph_error());
    FUZZ_CHECK(m->part == IN_BODY && (m->error || m->intake->in_body == 1), "headers end once");
    return m;
}

static void no_strays(ph_str b)
{
    for (size_t i = 0; i < b.n; i++)
        FUZZ_CHECK(b.p[i] == '\r' ? i + 1 < b.n && b.p[i + 1] == '\n' : b.p[i] != '\n' || (i && b.p[i - 1] == '\r'), "stray line end at %zu", i);
}

/* All that cleanup may do to blanks and line ends left out. */
static ph_str squeeze(struct ph_scope *s, ph_str b)
{
    struct ph_buf out;

    ph_buf_init(&out, s, b.n);
    for (size_t i = 0; i < b.n; i++)
        if (!ph_is_space(b.p[i]))
            ph_buf_putc(&out, b.p[i]);
    return ph_buf_view(&out);
}

/* Headers up to the empty line, none with a blank before its colon. */
static int is_plain(ph_str in)
{
    struct ph_header h;
    size_t at = 0;
    int rc;

    while ((rc = ph_header_next(in, &at, &h)) == 1)
        if (h.raw.p[h.name.n] != ':')
            return 0;
    return rc == 0 && ph_str_starts(ph_str_from(in, at), PH_STR("\r\n"));
}

static void headers_are_headers(ph_str block)
{
    struct ph_header h;
    size_t at = 0;
    int rc;

    while ((rc = ph_header_next(block, &at, &h)) == 1)
        ;
    FUZZ_CHECK(rc == 0 && at == block.n, "what is no header stands among headers, at %zu of %zu", at, block.n);
}

static void cleanup(struct ph_scope *s, ph_str in)
{
    unsigned how = fuzz_choice(&in, 4);
    size_t cut = in.n * fuzz_choice(&in, 10) / 9;
    struct cleanup_params p = { .header_limit = how & 2 ? 100 : 100000, .hop_limit = 5, .replace_stray = how & 1, .detect_8bit = 1,
                                .myhostname = PH_STR("mx.test"), .undisclosed = PH_STR("To: undisclosed-recipients:;") };
    struct message *m = clean(s, &p, in, in.n), *split = clean(s, &p, in, cut);
    ph_str out = ph_buf_view(&m->intake->content);

    FUZZ_SAME(ph_buf_view(&split->intake->content), out, "pieces make no difference");
    FUZZ_CHECK(split->error == m->error && split->facts == m->facts && split->saw == m->saw, "nor to what is known of it");
    FUZZ_SAME(split->message_id, m->message_id, "nor to its id");
    FUZZ_CHECK(out.n <= in.n + 8, "%zu bytes of %zu", out.n, in.n);
    fuzz_saw(out);
    fuzz_saw_number(m->error * 1000 + m->facts);
    if (m->error)
        return;
    headers_are_headers(ph_str_first(out, m->intake->header_n));
    if (p.replace_stray)
        no_strays(out);
    else if (!(how & 2)) {
        FUZZ_SAME(squeeze(s, out), squeeze(s, in), "bytes stay");
        if (is_plain(in))
            FUZZ_SAME(out, in, "ordinary content is not touched");
    }
    p.add_missing = 1;
    p.header_limit = 100000;
    m = clean(s, &p, out, cut);
    out = ph_buf_view(&m->intake->content);
    if (!m->error)
        FUZZ_SAME(ph_buf_view(&clean(s, &p, out, 0)->intake->content), out, "once complete, always complete");
}

/* --- a full name becomes a phrase --- */

static int digit64(char c)
{
    const char *all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", *at = c ? strchr(all, c) : NULL;

    return at ? (int)(at - all) : -1;
}

/* RFC 2047 words back to text; *is_utf8: each word on its own. */
static ph_str decode_words(struct ph_scope *s, ph_str b, int *is_utf8)
{
    struct ph_buf out;
    ph_str word;

    *is_utf8 = 1;
    ph_buf_init(&out, s, b.n);
    while ((word = ph_str_word(&b)).n && ph_str_starts(word, PH_STR("=?utf-8?B?"))) {
        size_t start = out.n;
        uint32_t bits = 0, have = 0;

        FUZZ_CHECK(word.n <= 75 && ph_str_ends(word, PH_STR("?=")), "RFC 2047 2: %.*s", PH_FMT(word));
        for (size_t i = 10; i < word.n - 2 && word.p[i] != '='; i++) {
            FUZZ_CHECK(digit64(word.p[i]) >= 0, "%.*s", PH_FMT(word));
            bits = bits << 6 | (uint32_t)digit64(word.p[i]);
            if ((have += 6) >= 8)
                ph_buf_putc(&out, (char)(bits >> (have -= 8)));
        }
        *is_utf8 &= ph_str_is_utf8((ph_str){ out.p + start, out.n - start });
    }
    return ph_buf_view(&out);
}

/* From a quoted string or atoms: the name without its control bytes. */
static void name_survives(struct ph_scope *s, ph_str name, ph_str phrase)
{
    struct ph_buf kept;
    size_t at = 0;
    int quoted = ph_str_starts(phrase, PH_STR("\""));

    ph_buf_init(&kept, s, name.n);
    for (size_t i = 0; i < name.n; i++)
        if (ph_is_print(name.p[i]))
            ph_buf_putc(&kept, name.p[i]);
    while (!quoted && at < kept.n && kept.p[at] == ' ')
        at++;
    for (size_t i = (size_t)quoted; i < phrase.n && at < kept.n; i++)
        at += kept.p[at] == phrase.p[i + (quoted && phrase.p[i] == '\\')], i += quoted && phrase.p[i] == '\\';
    FUZZ_CHECK(ph_str_trim(ph_str_from(ph_buf_view(&kept), at)).n == 0, "%.*s of %.*s", PH_FMT(phrase), PH_FMT(name));
}

static void full_name(struct ph_scope *s, ph_str in)
{
    int obsolete = (int)fuzz_choice(&in, 2), whole;
    struct cleanup_params p = { .header_limit = 1000, .add_missing = 1, .from_format = obsolete ? PH_STR("obsolete") : PH_STR("standard") };
    struct message *m = message(s, &p);
    struct ph_header h;
    size_t at = 0, from = 0;
    ph_str address;

    m->saw = SAW_MESSAGE_ID | SAW_DATE | SAW_TO;
    m->full_name = ph_str_first(in, 500);
    FUZZ_CHECK(cleanup_header_end(m) == 0, "%s", ph_error());
    ph_str block = ph_str_first(ph_buf_view(&m->intake->content), m->intake->header_n);
    fuzz_saw(block);
    no_strays(block);
    FUZZ_CHECK(ph_header_next(block, &at, &h) == 1 && at == block.n, "one header: %.*s", PH_FMT(block));
    FUZZ_CHECK(ph_address_next(s, h.value, &from, &address) == 1, "%.*s", PH_FMT(block));
    FUZZ_SAME(address, m->sender, "whatever the name is, the sender is the sender");
    FUZZ_CHECK(ph_address_next(s, h.value, &from, &address) == 0, "and alone: %.*s", PH_FMT(block));
    if (!m->full_name.n || obsolete)
        return;
    ph_str phrase = ph_str_trim(ph_str_first(h.value, (size_t)ph_str_rfind(h.value, '<')));
    if (ph_str_is_ascii(m->full_name))
        name_survives(s, m->full_name, phrase);
    else {
        FUZZ_SAME(decode_words(s, phrase, &whole), m->full_name, "decoded");
        FUZZ_CHECK(whole || !ph_str_is_utf8(m->full_name), "a character is cut: %.*s", PH_FMT(phrase));
    }
}

/* --- smtp_generic_maps: a table that maps some addresses --- */

static int is_mapped(ph_str address)
{
    return address.n && (address.p[0] & 1);
}

static ph_str mapped(struct ph_scope *s, ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    return is_mapped(address) ? ph_str_printf(s, "%.*s \"x@m.test", PH_FMT(local)) : address;
}

int ph_address_map_one(struct ph_address_map *m PH_UNUSED, struct ph_scope *s, ph_str address, ph_str *out)
{
    *out = mapped(s, address);
    return is_mapped(address) ? PH_FOUND : PH_NONE;
}

/* The same table for cleanup; nothing is completed. */
int ph_address_map_settle(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out)
{
    return ph_address_map_one(m, s, address, out);
}

int ph_address_complete(const struct ph_address_rules *r PH_UNUSED, struct ph_scope *s, const char *context PH_UNUSED, ph_str *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        list[i] = ph_address_bare(s, list[i]);
    return 0;
}

static ph_str generic_block;

int smtp_read_headers(struct smtp_job *j PH_UNUSED, ph_str *block)
{
    *block = generic_block;
    return 0;
}

/* The addresses of a value, mapped if asked; *n how many of them change; 0 when it cannot be read. */
static int addresses(struct ph_scope *s, ph_str value, int map, ph_str *list, size_t *n)
{
    struct ph_address_place *place;
    struct ph_buf b;
    size_t count;

    *n = 0;
    if (ph_address_places(s, value, value.n + 1, &place, &count) < 0)
        return 0;
    ph_buf_init(&b, s, 1u << 20);
    for (size_t i = 0; i < count; i++) {
        *n += (size_t)is_mapped(place[i].address);
        ph_buf_printf(&b, "%.*s\n", PH_FMT(map ? mapped(s, place[i].address) : place[i].address));
    }
    *list = ph_buf_view(&b);
    return 1;
}

/* cleanup does to a header block what smtp does. */
static void cleanup_agrees(struct ph_scope *s, const struct smtp_job *j)
{
    struct cleanup_params p = { .header_limit = 100000, .hop_limit = 5, .header_tokens = 1 << 20, .mapped = CLASS_ALL };
    struct message *m = message(s, &p);

    if (generic_block.n > 90000)
        return;
    p.canonical[2] = (struct mapping){ .map = (void *)&p, .classes = CLASS_ALL };
    m->rewrites = m->maps = m->local = 1;
    m->saw = SAW_MESSAGE_ID | SAW_DATE | SAW_FROM;
    FUZZ_CHECK(cleanup_content(m, generic_block) == 0 && cleanup_content(m, PH_STR("\r\n")) == 0 && cleanup_content_end(m) == 0 && !m->error, "%s", ph_error());
    FUZZ_SAME(ph_str_first(ph_buf_view(&m->intake->content), m->intake->header_n), j->headers.p ? j->headers : generic_block, "two ways to change headers");
}

static void generic(struct ph_scope *s, ph_str in)
{
    struct smtp agent = { .generic = (void *)&agent, .header_tokens = 1 << 20 };
    struct ph_message msg = { .header_bytes = 0 };
    struct ph_delivery d = { .message = &msg };
    struct smtp_job j = { .agent = &agent, .d = &d, .scope = s };
    struct ph_header h, other;
    ph_str want, got;
    size_t at = 0, changes, again;

    generic_block = ph_str_printf(s, "Subject: x\r\nTo: ");
    struct ph_buf b;
    ph_buf_init(&b, s, in.n + 100);
    ph_buf_str(&b, generic_block);
    ph_buf_str(&b, in);
    ph_buf_puts(&b, "\r\n");
    generic_block = ph_buf_view(&b);
    if (ph_header_next(generic_block, &at, &h) != 1 || ph_header_next(generic_block, &at, &h) != 1 || at != generic_block.n)
        return;
    int readable = addresses(s, h.value, 1, &want, &changes);
    FUZZ_CHECK(smtp_generic(&j) == 0, "%s", ph_error());
    fuzz_saw(j.headers);
    cleanup_agrees(s, &j);
    if (!readable || !changes) {
        FUZZ_CHECK(!j.headers.p, "changed: %.*s", PH_FMT(j.headers));
        return;
    }
    FUZZ_CHECK(ph_str_starts(j.headers, PH_STR("Subject: x\r\nTo:")), "%.*s", PH_FMT(j.headers));
    at = 12;
    FUZZ_CHECK(ph_header_next(j.headers, &at, &other) == 1 && at == j.headers.n, "one header became more: %.*s", PH_FMT(j.headers));
    FUZZ_CHECK(addresses(s, other.value, 0, &got, &again), "no longer readable: %.*s", PH_FMT(j.headers));
    FUZZ_SAME(got, want, "the mapped addresses stand where the others stood");
}

/* --- dates --- */

static void date(struct ph_scope *s, ph_str in)
{
    static const char *const zones[] = { "UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<-0330>3:30", "XYZ-14" };
    int64_t t = 0;
    struct tm tm = { 0 };

    setenv("TZ", zones[fuzz_choice(&in, 4)], 1);
    tzset();
    for (size_t i = 0; i < 8; i++)
        t = (int64_t)((uint64_t)t << 8 | fuzz_byte(&in));
    ph_str d = ph_date_format(s, t, 1), plain = ph_date_format(s, t, 0);
    fuzz_saw(d);
    FUZZ_CHECK(d.n <= 60 && ph_str_starts(d, plain), "%.*s", PH_FMT(d));
    if (t < -62135596800 + 86400 || t >= 253402300800 - 86400)
        return;                    /* the years 1 to 9999 */
    const char *end = strptime(ph_cstr_dup(s, plain), "%a, %d %b %Y %H:%M:%S %z", &tm);
    long off = tm.tm_gmtoff;
    FUZZ_CHECK(end && !*end && timegm(&tm) - off == t, "%lld is %.*s", (long long)t, PH_FMT(d));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { walk, cleanup, full_name, generic, date };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    fuzz_quiet();
    modes[fuzz_choice(&in, 5)](s, in);
    return 0;
}
