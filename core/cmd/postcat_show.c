/* postcat_show: a message file as text.  The labels are those that people and
 * scripts know; -o gives the place of each in our file, -d its old letter. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/message.h>
#include "core/cmd/postcat.h"
#include "core/queue/record.h"

#define MAILDROP_MAGIC "posthorn-maildrop "
#define MAILDROP_MAX   ((int64_t)1 << 30)
#define CHUNK          8192u

static void put_prefix(struct shower *o, int type, uint64_t offset)
{
    if (o->p->show_file)
        printf("%s: ", o->name);
    if (o->p->show_offset)
        printf("%9llu ", (unsigned long long)offset);
    if (o->p->show_type)
        printf("%3d ", type);
}

void show_line(struct shower *o, int type, uint64_t offset, const char *label, ph_str value)
{
    if (offset < o->p->skip)
        return;
    put_prefix(o, type, offset);
    printf("%s: ", label);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
    putchar('\n');
}

void show_attr(struct shower *o, uint64_t offset, const char *name, ph_str value)
{
    PH_SCOPED(s, NULL);

    if (value.n)
        show_line(o, TYPE_ATTR, offset, "named_attribute", ph_str_printf(s, "%s=%.*s", name, PH_FMT(value)));
}

void show_time(struct shower *o, uint64_t offset, const char *label, int64_t seconds)
{
    char text[64] = "";
    time_t t = (time_t)seconds;
    struct tm tm;

    if (localtime_r(&t, &tm))
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
    show_line(o, TYPE_TIME, offset, label, ph_cstr(text));
}

void show_marker(struct shower *o, int type, uint64_t offset, const char *text)
{
    if (!o->p->envelope || offset < o->p->skip)
        return;
    put_prefix(o, type, offset);
    printf("*** %s %s ***\n", text, o->name);
}

/* ---- content ---- */

static void begin_line(struct shower *o, uint64_t offset)
{
    if (o->in_line)
        return;
    put_prefix(o, TYPE_TEXT, offset);
    if (o->p->verbose)
        fputs("regular_text: ", stdout);
    o->in_line = 1;
}

void show_content(struct shower *o, uint64_t offset, ph_str bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        char c = bytes.p[i];

        if (offset + i < o->p->skip)
            continue;
        begin_line(o, offset + i);
        if (o->cr && c != '\n')
            putchar('\r');
        if (!(o->cr = c == '\r'))
            putchar(c);
        if (c == '\n')
            o->in_line = 0;
    }
}

void show_content_end(struct shower *o)
{
    if (o->cr)
        putchar('\r');
    if (o->in_line)
        putchar('\n');
    o->cr = o->in_line = 0;
}

static int show_extent(struct shower *o, int fd, uint64_t from, uint64_t to)
{
    char chunk[CHUNK];

    while (from < to) {
        int64_t n = ph_pread_all(fd, chunk, to - from < sizeof chunk ? (size_t)(to - from) : sizeof chunk, (int64_t)from);

        if (n <= 0)
            return n < 0 ? (int)n : ph_fail(PH_TEMP, "the file is cut short");
        show_content(o, from, (ph_str){ chunk, (size_t)n });
        from += (uint64_t)n;
    }
    return 0;
}

/* ---- a message of the queue ---- */

struct file {
    int fd;
    struct ph_record record;
    ph_str tail;                   /* from the envelope's offset on */
    struct ph_message message;
    char marks[PH_MARKS_HEAD];
};

static int load(struct ph_scope *s, int fd, struct file *f)
{
    char head[PH_RECORD_BYTES];
    uint32_t skipped = 0;
    struct stat st;
    int64_t n;
    int rc;

    f->fd = fd;
    if (fstat(fd, &st) < 0 || (n = ph_pread_all(fd, head, sizeof head, 0)) < 0)
        return ph_fail(PH_TEMP, "cannot be read");
    if ((rc = ph_record_decode(head, (size_t)n, (uint64_t)st.st_size, &f->record)) != 0)
        return rc;
    size_t bytes = (size_t)(f->record.total - f->record.envelope_offset);
    char *p = ph_alloc(s, bytes + 1);

    if ((n = ph_pread_all(fd, p, bytes, (int64_t)f->record.envelope_offset)) < (int64_t)bytes)
        return n < 0 ? (int)n : ph_fail(PH_PERM, "the file is shorter than its record says");
    f->tail = (ph_str){ p, bytes };
    ph_str envelope = ph_str_first(f->tail, (size_t)f->record.envelope_bytes);
    ph_str rcpts = ph_str_first(ph_str_from(f->tail, envelope.n), (size_t)f->record.rcpt_bytes);
    ph_str marks = ph_str_from(f->tail, envelope.n + rcpts.n);

    memcpy(f->marks, marks.p, sizeof f->marks);
    return ph_record_parse(s, &f->record, envelope, rcpts, marks, &f->message, &skipped);
}

/* Where a view of the envelope stands in the file. */
static uint64_t place(const struct file *f, ph_str v)
{
    return f->record.envelope_offset + (v.p >= f->tail.p && v.p <= f->tail.p + f->tail.n ? (uint64_t)(v.p - f->tail.p) : 0);
}

static const struct { uint32_t bit; const char *name; } facts[] = {
    { PH_FACT_8BIT, "8bit" }, { PH_FACT_UTF8_HEADER, "utf8_header" }, { PH_FACT_LEADING_DOT, "leading_dot" },
    { PH_FACT_NUL, "nul" }, { PH_FACT_BARE_CR, "bare_cr" }, { PH_FACT_BARE_LF, "bare_lf" },
    { PH_FACT_NO_FINAL_EOL, "no_final_eol" }, { PH_FACT_SMTPUTF8, "smtputf8" }, { PH_FACT_BODY_8BIT, "body_8bit" },
    { PH_FACT_BODY_7BIT, "body_7bit" },
};

/* The record: the numbers in the columns of the old size record. */
static void show_record(struct shower *o, const struct file *f)
{
    const struct ph_record *r = &f->record;
    unsigned long long size = ph_message_bytes(&f->message);
    PH_SCOPED(s, NULL);
    struct ph_buf words;

    show_line(o, TYPE_SIZE, 0, "message_size", ph_str_printf(s, "%15llu %15llu %15u %15u %15llu %15u", size,
              (unsigned long long)r->header_offset, r->rcpt_count, r->flags, size, 0u));
    show_time(o, 0, "message_arrival_time", r->arrival_us / 1000000);
    if (!o->p->verbose)
        return;
    ph_buf_init(&words, s, 1000);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (r->facts & facts[i].bit)
            ph_buf_printf(&words, "%s%s", words.n ? " " : "", facts[i].name);
    show_attr(o, 0, "facts", ph_buf_view(&words));
    show_attr(o, 0, "longest_line", ph_str_printf(s, "%llu", (unsigned long long)r->longest_line));
    show_attr(o, 0, "queue_id", ph_cstr(r->id));
}

/* NEVER 1, SUCCESS 2, FAILURE 4, DELAY 8, as ever. */
static unsigned notify_mask(ph_str list)
{
    static const char *const words[] = { "NEVER", "SUCCESS", "FAILURE", "DELAY" };
    unsigned mask = 0;

    while (list.n) {
        ph_str word = ph_str_cut(&list, ',');

        for (unsigned i = 0; i < 4; i++)
            if (ph_str_eq(word, ph_cstr(words[i])))
                mask |= 1u << i;
    }
    return mask;
}

static void show_known_attr(struct shower *o, uint64_t at, ph_str name, ph_str value)
{
    PH_SCOPED(s, NULL);

    if (ph_str_eq(name, PH_STR("sender")))
        show_line(o, TYPE_SENDER, at, "sender", value);
    else if (ph_str_eq(name, PH_STR("full_name")))
        show_line(o, TYPE_NAME, at, "sender_fullname", value);
    else if (ph_str_eq(name, PH_STR("dsn_ret")))
        show_attr(o, at, "ret_flags", ph_str_eq(value, PH_STR("FULL")) ? PH_STR("1") : PH_STR("2"));
    else
        show_attr(o, at, ph_cstr_dup(s, name), value);
}

static void show_attrs(struct shower *o, const struct file *f)
{
    ph_str rest = ph_str_first(f->tail, (size_t)f->record.envelope_bytes), name, value;

    while (ph_record_next_attr(&rest, &name, &value) == 1)
        show_known_attr(o, place(f, name) - 1, name, value);
    if (f->marks[PH_MARK_AT_WARNED] == 'W')
        show_attr(o, f->record.marks_offset, "flags", PH_STR("delay warning sent"));
    if (f->marks[PH_MARK_AT_EXPIRED] == 'E')
        show_attr(o, f->record.marks_offset + 1, "flags", PH_STR("forced to expire"));
}

static void show_rcpt(struct shower *o, const struct file *f, const struct ph_message_rcpt *r)
{
    uint64_t at = place(f, r->address);
    ph_str original = r->original.n ? r->original : r->address;
    PH_SCOPED(s, NULL);

    if (r->dsn_notify.n)
        show_attr(o, place(f, r->dsn_notify), "notify_flags", ph_str_printf(s, "%u", notify_mask(r->dsn_notify)));
    show_attr(o, place(f, r->dsn_orcpt), "dsn_orig_rcpt", r->dsn_orcpt);
    show_line(o, TYPE_ORIG, place(f, original), "original_recipient", original);
    if (r->expanded)
        show_attr(o, at, "state", PH_STR("an alias that was expanded"));
    if (r->state == PH_STATE_FAILED)
        show_attr(o, at, "state", PH_STR("failed, a notice is owed"));
    if (r->state == PH_STATE_DELIVERED || r->state == PH_STATE_TOLD)
        show_line(o, TYPE_DONE, at, "done_recipient", r->address);
    else
        show_line(o, TYPE_RCPT, at, "recipient", r->address);
}

static void show_envelope(struct shower *o, const struct file *f)
{
    if (!o->p->envelope)
        return;
    show_attrs(o, f);
    for (uint32_t i = 0; i < f->message.rcpt_count; i++)
        show_rcpt(o, f, &f->message.rcpt[i]);
}

static int show_parts(struct shower *o, const struct file *f)
{
    const struct ph_record *r = &f->record;
    uint64_t end_of_header = r->header_offset + r->header_bytes;
    int rc = 0;

    show_marker(o, TYPE_CONTENT, r->header_offset, "MESSAGE CONTENTS");
    if (o->p->header)
        rc = show_extent(o, f->fd, r->header_offset, end_of_header);
    if (rc == 0 && o->p->body)
        rc = show_extent(o, f->fd, end_of_header, r->body_offset + r->body_bytes);
    show_content_end(o);
    return rc;
}

static void show_message(struct shower *o, const struct file *f)
{
    int rc;

    show_marker(o, TYPE_SIZE, 0, "ENVELOPE RECORDS");
    if (o->p->envelope)
        show_record(o, f);
    if (!o->p->file_order)
        show_envelope(o, f);
    rc = show_parts(o, f);
    if (o->p->file_order)
        show_envelope(o, f);
    show_marker(o, TYPE_EXTRACT, f->record.total, "HEADER EXTRACTED");
    show_marker(o, TYPE_END, f->record.total, "MESSAGE FILE END");
    if (rc < 0)
        ph_cmd_warn("%s: %s", o->name, ph_error());
}

/* ---- which kind of file ---- */

static int is_maildrop(int fd)
{
    char start[sizeof MAILDROP_MAGIC - 1];

    return ph_pread_all(fd, start, sizeof start, 0) == (int64_t)sizeof start &&
           memcmp(start, MAILDROP_MAGIC, sizeof start) == 0;
}

static void show_submitted(struct shower *o, struct ph_scope *s, int fd)
{
    struct stat st;
    int64_t n;

    if (fstat(fd, &st) < 0 || st.st_size > MAILDROP_MAX) {
        ph_cmd_warn("%s: cannot be read", o->name);
        return;
    }
    char *p = ph_alloc(s, (size_t)st.st_size + 1);

    if ((n = ph_pread_all(fd, p, (size_t)st.st_size, 0)) < 0)
        ph_cmd_warn("%s: %s", o->name, ph_error());
    else
        show_maildrop(o, (ph_str){ p, (size_t)n });
}

void postcat_show(const struct postcat *p, const char *name, int fd)
{
    PH_SCOPED(s, NULL);
    struct shower o = { .p = p, .name = name };
    struct file f;
    int rc;

    if (is_maildrop(fd)) {
        show_submitted(&o, s, fd);
        return;
    }
    if ((rc = load(s, fd, &f)) != 0) {
        ph_cmd_warn("%s: input is not a valid queue file%s%s", name, rc < 0 ? ": " : "", rc < 0 ? ph_error() : "");
        return;
    }
    if (ph_record_check(fd, &f.record) < 0)
        ph_cmd_warn("%s: %s", name, ph_error());
    show_message(&o, &f);
}
