/* listing: see listing.h.  The form is what mailq parsers expect, blank by blank. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include "core/cmd/listing.h"

#define LINE_MAX_BYTES (64u << 10)
#define REASON_END     76              /* columns before the ')' */

static void put(struct listing *l, const char *p, size_t n)
{
    if (!l->broken && fwrite(p, 1, n, stdout) != n)
        l->broken = errno ? errno : EIO;
}

static void put_buf(struct listing *l, const struct ph_buf *b)
{
    put(l, b->p, b->n);
}

/* Nothing that a terminal would obey. */
static ph_str printable(struct ph_scope *s, ph_str v)
{
    char *p = ph_alloc(s, v.n + 1);
    int utf8 = ph_str_is_utf8(v);

    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];

        p[i] = c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : (char)c;
    }
    return (ph_str){ p, v.n };
}

static ph_str shown(struct ph_scope *s, ph_str address)
{
    return printable(s, ph_address_external(s, address));
}

/* ---- lines for people ---- */

static void plain_message(struct listing *l, struct ph_scope *s, const struct ph_frame *f, uint64_t size)
{
    ph_str queue = ph_frame_value(f, "queue_name"), sender = ph_frame_value(f, "sender");
    uint64_t forced = 0;
    int64_t seconds = 0;
    struct ph_buf out;
    char id[64], when[32] = "";
    struct tm tm;
    time_t t;

    ph_buf_init(&out, s, LINE_MAX_BYTES);
    ph_frame_get_u64(f, "forced_expire", &forced);
    ph_frame_get_i64(f, "time", &seconds);
    t = (time_t)seconds;
    if (localtime_r(&t, &tm))
        strftime(when, sizeof when, "%a %b %e %H:%M:%S ", &tm);
    snprintf(id, sizeof id, "%.40s%s%s", ph_cstr_dup(s, printable(s, ph_frame_value(f, "queue_id"))),
             ph_str_eq(queue, PH_STR("active")) ? "*" : ph_str_eq(queue, PH_STR("hold")) ? "!" : "",
             forced ? "#" : "");
    if (l->messages == 1)
        ph_buf_puts(&out, l->long_ids ? "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
                                      : "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n");
    else
        ph_buf_putc(&out, '\n');
    ph_buf_printf(&out, l->long_ids ? "%-17s %8llu %19.19s " : "%-11s %7llu %20.20s ", id, (unsigned long long)size,
                  when);
    ph_buf_str(&out, sender.n ? shown(s, sender) : l->null_sender);
    ph_buf_putc(&out, '\n');
    put_buf(l, &out);
}

/* Once for successive recipients that have the same. */
static void plain_reason(struct listing *l, struct ph_buf *out, ph_str reason)
{
    int width = REASON_END - (int)(reason.n < REASON_END ? reason.n : REASON_END);

    if (reason.n && !(l->had_reason && ph_str_eq(reason, l->reason)))
        ph_buf_printf(out, "%*s(%.*s)\n", width, "", PH_FMT(reason));
    else if (!reason.n && l->had_reason && l->reason.n)
        ph_buf_printf(out, "%*s(reason unavailable)\n", REASON_END - 18, "");
    if (reason.n || l->had_reason) {
        l->reason = reason.n ? ph_str_dup(l->scope, reason) : PH_STR("");
        l->had_reason = 1;
    }
}

static void plain_rcpt(struct listing *l, struct ph_scope *s, ph_str address, ph_str reason)
{
    struct ph_buf out;

    ph_buf_init(&out, s, LINE_MAX_BYTES);
    plain_reason(l, &out, printable(s, reason));
    ph_buf_printf(&out, "%*s", l->long_ids ? 47 : 41, "");
    ph_buf_str(&out, shown(s, address));
    ph_buf_putc(&out, '\n');
    put_buf(l, &out);
}

/* ---- JSON ---- */

/* Length of the UTF-8 sequence at p, 0 when it is none. */
static size_t sequence(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t want = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;

    return want <= n && ph_str_is_utf8((ph_str){ p, want }) ? want : 0;
}

void ph_listing_json(struct ph_buf *out, ph_str v, int ascii)
{
    ph_buf_putc(out, '"');
    for (size_t i = 0; i < v.n;) {
        unsigned char c = (unsigned char)v.p[i];
        size_t n = sequence(v.p + i, v.n - i);
        const char *short_form = c ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;

        if (n == 0 || (n > 1 && ascii)) {
            ph_buf_putc(out, '?');
        } else if (n > 1) {
            ph_buf_put(out, v.p + i, n);
        } else if (c == '"' || c == '\\') {
            ph_buf_printf(out, "\\%c", c);
        } else if (c < 0x20 && short_form) {
            ph_buf_printf(out, "\\%c", short_form[1]);
        } else if (c < 0x20 || c == 0x7f) {
            ph_buf_printf(out, "\\u%04X", c);
        } else {
            ph_buf_putc(out, (char)c);
        }
        i += n ? n : 1;
    }
    ph_buf_putc(out, '"');
}

static void json_message(struct listing *l, struct ph_scope *s, const struct ph_frame *f, uint64_t size)
{
    uint64_t forced = 0;
    int64_t seconds = 0;
    struct ph_buf out;

    ph_buf_init(&out, s, LINE_MAX_BYTES * 4);
    ph_frame_get_u64(f, "forced_expire", &forced);
    ph_frame_get_i64(f, "time", &seconds);
    ph_buf_puts(&out, "{\"queue_name\": ");
    ph_listing_json(&out, ph_frame_value(f, "queue_name"), l->ascii);
    ph_buf_puts(&out, ", \"queue_id\": ");
    ph_listing_json(&out, ph_frame_value(f, "queue_id"), l->ascii);
    ph_buf_printf(&out, ", \"arrival_time\": %lld, \"message_size\": %llu, \"forced_expire\": %s, \"sender\": ",
                  (long long)seconds, (unsigned long long)size, forced ? "true" : "false");
    ph_str sender = ph_frame_value(f, "sender");

    ph_listing_json(&out, sender.n ? ph_address_external(s, sender) : l->null_sender, l->ascii);
    ph_buf_puts(&out, ", \"recipients\": [");
    put_buf(l, &out);
}

static void json_rcpt(struct listing *l, struct ph_scope *s, ph_str original, ph_str address, ph_str log_class,
                      ph_str reason)
{
    struct ph_buf out;

    ph_buf_init(&out, s, LINE_MAX_BYTES * 4);
    ph_buf_puts(&out, l->in_list ? ", {" : "{");
    if (original.n) {
        ph_buf_puts(&out, "\"orig_address\": ");
        ph_listing_json(&out, ph_address_external(s, original), l->ascii);
        ph_buf_puts(&out, ", ");
    }
    ph_buf_puts(&out, "\"address\": ");
    ph_listing_json(&out, ph_address_external(s, address), l->ascii);
    if (reason.n) {
        ph_buf_printf(&out, ", \"%s_reason\": ", ph_str_eq(log_class, PH_STR("defer")) ? "delay"
                      : ph_str_eq(log_class, PH_STR("bounce")) ? "bounce" : "other");
        ph_listing_json(&out, reason, l->ascii);
    }
    ph_buf_putc(&out, '}');
    l->in_list = 1;
    put_buf(l, &out);
}

static void end_message(struct listing *l)
{
    if (l->in_message && l->json)
        put(l, "]}\n", 3);
    ph_scope_free(l->scope);
    l->scope = NULL;
    l->in_message = l->in_list = l->had_reason = 0;
}

static void begin_message(struct listing *l, struct ph_scope *s, const struct ph_frame *f)
{
    uint64_t size = 0;

    end_message(l);
    ph_frame_get_u64(f, "size", &size);
    l->messages++;
    l->bytes += size;
    l->in_message = 1;
    l->scope = ph_scope_new(NULL);
    if (l->json)
        json_message(l, s, f, size);
    else
        plain_message(l, s, f, size);
}

void ph_listing_frame(struct listing *l, const struct ph_frame *f)
{
    PH_SCOPED(s, NULL);
    ph_str name, value, original = { 0 }, address = { 0 }, log_class = { 0 };

    if (!ph_frame_value(f, "part").n || !l->in_message)
        begin_message(l, s, f);
    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);)
        if (ph_str_eq(name, PH_STR("original_recipient")))
            original = value;
        else if (ph_str_eq(name, PH_STR("recipient")))
            address = value;
        else if (ph_str_eq(name, PH_STR("log_class")))
            log_class = value;
        else if (ph_str_eq(name, PH_STR("reason")) && l->json)
            json_rcpt(l, s, original, address, log_class, value);
        else if (ph_str_eq(name, PH_STR("reason")))
            plain_rcpt(l, s, address, value);
}

void ph_listing_end(struct listing *l)
{
    char line[100];

    end_message(l);
    if (!l->json) {
        if (l->messages == 0)
            snprintf(line, sizeof line, "Mail queue is empty\n");
        else
            snprintf(line, sizeof line, "\n-- %llu Kbytes in %llu Request%s.\n", (unsigned long long)(l->bytes / 1024),
                     (unsigned long long)l->messages, l->messages == 1 ? "" : "s");
        put(l, line, strlen(line));
    }
    if (fflush(stdout) != 0 && !l->broken)
        l->broken = errno;
}
