/* bounce_template: the words of notices: the built-in ones, and those of a
 * file.  See posthorn/bounce_template.h; bounce_expand.c puts values in. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/bounce_template.h>
#include <posthorn/error.h>

#define FILE_BYTES 1000000u        /* of a template file */
#define LINE_BYTES 998u            /* of a header or text line, RFC 5322 2.1.1 */

#define FROM   PH_STR_INIT("Mail Delivery System <MAILER-DAEMON>")
#define ASCII  PH_STR_INIT("us-ascii")
#define HELLO  "The mail system at host $myhostname reports:\n\n"
#define HELP   "\nYour postmaster can help when he sees this report. Please send it along,\n" \
               "without your own text if you like.\n"

static const struct ph_bounce_template built_in[PH_TEMPLATES] = {
    [PH_TEMPLATE_FAILURE] = { "failure", ASCII, FROM, PH_STR_INIT("Undelivered Mail Returned to Sender"),
        PH_STR_INIT("Postmaster Copy: Undelivered Mail"), PH_STR_INIT(HELLO
        "Your message could not be delivered to the recipients below. It comes\n"
        "back with this report, and nothing more will be tried.\n" HELP), 0 },
    [PH_TEMPLATE_DELAY] = { "delay", ASCII, FROM, PH_STR_INIT("Delayed Mail (still being retried)"),
        PH_STR_INIT("Postmaster Warning: Delayed Mail"), PH_STR_INIT(HELLO
        "*** This is only a warning. Please do not send your message again. ***\n"
        "\n"
        "Your message has been waiting for more than $delay_warning_time_hours hours. We go on trying\n"
        "to deliver it to the recipients below until it is $maximal_queue_lifetime_days days old.\n" HELP), 0 },
    [PH_TEMPLATE_SUCCESS] = { "success", ASCII, FROM, PH_STR_INIT("Successful Mail Delivery Report"), PH_STR_INIT(""),
        PH_STR_INIT(HELLO
        "Your message reached the destinations below, and you asked to be told.\n"
        "Where it went to a mailbox nothing more will follow. Where it was passed\n"
        "on, other systems may yet report that they could not deliver it.\n"), 0 },
    [PH_TEMPLATE_VERIFY] = { "verify", ASCII, FROM, PH_STR_INIT("Mail Delivery Status Report"), PH_STR_INIT(""),
        PH_STR_INIT(HELLO "This is the report on your message that you asked for.\n"), 0 },
};

void ph_bounce_templates_default(struct ph_bounce_template t[PH_TEMPLATES])
{
    memcpy(t, built_in, sizeof built_in);
}

/* ---- a file ---- */

struct reading {
    struct ph_scope *scope;
    ph_str rest;
    unsigned line;                 /* number of the line that was read last */
    const char *where;
    void (*warn)(void *arg, const char *text);
    void *arg;
    struct ph_bounce_template *t;
};

static void warn(struct reading *r, const char *fmt, ...) PH_PRINTF(2, 3);
static void warn(struct reading *r, const char *fmt, ...)
{
    PH_SCOPED(s, NULL);
    va_list ap;

    va_start(ap, fmt);
    ph_str text = ph_str_vprintf(s, fmt, ap);
    va_end(ap);
    r->warn(r->arg, ph_str_printf(s, "%s, line %u: %.*s", r->where, r->line, PH_FMT(text)).p);
}

static int next_line(struct reading *r, ph_str *line)
{
    if (!r->rest.n)
        return 0;
    *line = ph_str_cut(&r->rest, '\n');
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    r->line++;
    return 1;
}

/* One header of a template: 1, or 0 and the warning is given. */
static int take_header(struct reading *r, struct ph_bounce_template *t, ph_str line)
{
    ph_str value = line, name = ph_str_trim(ph_str_cut(&value, ':'));
    struct { const char *name; ph_str *member; } known[] = {
        { "Charset", &t->charset }, { "From", &t->from }, { "Subject", &t->subject },
        { "Postmaster-Subject", &t->postmaster_subject },
    };

    value = ph_str_trim(value);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq_nocase(name, ph_cstr(known[i].name))) {
            if (known[i].member == &t->postmaster_subject && !t->postmaster_subject.n)
                break;                 /* the postmaster gets none of these */
            *known[i].member = value;
            if (value.n && ph_str_is_ascii(line) && ph_str_find(value, '$') < 0 && line.n <= LINE_BYTES)
                return 1;
            warn(r, "%s_template: %s: must be one line of ASCII text without $", t->name, known[i].name);
            return 0;
        }
    warn(r, "%s_template: unknown or inapplicable header \"%.*s\"", t->name, PH_FMT(ph_str_first(name, 60)));
    return 0;
}

static int is_token(ph_str v)
{
    for (size_t i = 0; i < v.n; i++)
        if (!ph_is_alnum(v.p[i]) && ph_str_find(PH_STR("-_.:+"), v.p[i]) < 0)
            return 0;
    return v.n > 0 && v.n < 60;
}

/* A name and a colon. */
static int is_header(ph_str line)
{
    ptrdiff_t colon = ph_str_find(line, ':');

    return colon > 0 && !ph_is_space(line.p[0]) && is_token(ph_str_trim(ph_str_first(line, (size_t)colon)));
}

/* 1 when the text between the markers makes a template; text has its LF. */
static int read_template(struct reading *r, struct ph_bounce_template *t, ph_str text)
{
    ph_str line;
    int good = 1;

    for (ph_str rest = text; text.n; text = rest) {
        line = ph_str_cut(&rest, '\n');
        if (ph_str_trim(line).n == 0) {
            text = rest;
            break;
        }
        if (!is_header(line))          /* the text begins without an empty line */
            break;
        good &= take_header(r, t, line);
    }
    t->body = text;
    if (good && !ph_str_trim(text).n)
        good = (warn(r, "%s_template: no text behind the headers", t->name), 0);
    if (good && !is_token(t->charset))
        good = (warn(r, "%s_template: bad Charset", t->name), 0);
    if (good && !ph_str_is_ascii(text) && ph_str_eq_nocase(t->charset, PH_STR("us-ascii")))
        good = (warn(r, "%s_template: text that is not ASCII needs another Charset", t->name), 0);
    if (good && ph_str_eq_nocase(t->charset, PH_STR("utf-8")) && !ph_str_is_utf8(text))
        good = (warn(r, "%s_template: the text is not UTF-8", t->name), 0);
    return good;
}

/* The lines up to the marker, with LF; CR in front of LF goes. */
static ph_str gather(struct reading *r, ph_str marker, int *is_closed)
{
    struct ph_buf text;
    ph_str line;

    ph_buf_init(&text, r->scope, FILE_BYTES);
    *is_closed = 0;
    while (next_line(r, &line)) {
        if (ph_str_eq(line, marker)) {
            *is_closed = 1;
            break;
        }
        ph_buf_str(&text, ph_str_first(line, LINE_BYTES));
        ph_buf_putc(&text, '\n');
    }
    return ph_buf_view(&text);
}

static struct ph_bounce_template *find_template(struct ph_bounce_template *t, ph_str name)
{
    for (int i = 0; i < PH_TEMPLATES; i++) {
        ph_str known = ph_cstr(t[i].name);

        if (ph_str_starts(name, known) && ph_str_eq(ph_str_from(name, known.n), PH_STR("_template")))
            return &t[i];
    }
    return NULL;
}

/* "NAME = <<WORD" and what follows it. */
static int take_block(struct reading *r, ph_str line)
{
    int has_sign = ph_str_find(line, '=') >= 0, is_closed;
    ph_str rest = line, name = ph_str_trim(ph_str_cut(&rest, '=')), marker = ph_str_trim(rest);

    if (!has_sign || !ph_str_starts(marker, PH_STR("<<")))
        return ph_fail(PH_CONF, "%s, line %u: \"name = <<WORD\" expected, not \"%.*s\"", r->where, r->line, PH_FMT(ph_str_first(line, 60)));
    marker = ph_str_trim(ph_str_from(marker, 2));
    if (!marker.n)
        return ph_fail(PH_CONF, "%s, line %u: no word behind <<", r->where, r->line);
    ph_str text = gather(r, marker, &is_closed);
    struct ph_bounce_template *known = find_template(r->t, name);

    if (!is_closed)
        warn(r, "%.*s: the line \"%.*s\" that ends it is missing", PH_FMT(ph_str_first(name, 60)), PH_FMT(ph_str_first(marker, 60)));
    if (!known) {
        warn(r, "unknown template \"%.*s\"", PH_FMT(ph_str_first(name, 60)));
        return 0;
    }
    struct ph_bounce_template fresh = { .name = known->name, .is_custom = 1 };

    fresh.charset = known->charset;
    fresh.from = known->from;
    fresh.subject = known->subject;
    fresh.postmaster_subject = known->postmaster_subject;
    if (read_template(r, &fresh, text))
        *known = fresh;
    return 0;
}

int ph_bounce_templates_parse(struct ph_scope *s, ph_str text, const char *where,
                              void (*warn_fn)(void *arg, const char *text), void *arg,
                              struct ph_bounce_template t[PH_TEMPLATES])
{
    struct ph_bounce_template fresh[PH_TEMPLATES];
    struct reading r = { .scope = s, .rest = text, .where = where, .warn = warn_fn, .arg = arg, .t = fresh };
    ph_str line;
    int rc = 0;

    memcpy(fresh, t, sizeof fresh);
    while (rc == 0 && next_line(&r, &line))
        if (ph_str_trim(line).n && ph_str_trim(line).p[0] != '#')
            rc = take_block(&r, line);
    if (rc == 0)
        memcpy(t, fresh, sizeof fresh);
    return rc;
}

static int read_file(struct ph_scope *s, const char *path, ph_str *text)
{
    struct ph_buf b;
    ssize_t got = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

    if (fd < 0)
        return ph_fail_errno(PH_CONF, errno, "open %s", path);
    ph_buf_init(&b, s, FILE_BYTES);
    while (got > 0) {
        char *room = ph_buf_room(&b, 4096);

        if (!room) {
            close(fd);
            return ph_fail(PH_CONF, "%s is larger than %u bytes", path, FILE_BYTES);
        }
        if ((got = read(fd, room, 4096)) > 0)
            ph_buf_added(&b, (size_t)got);
    }
    err = errno;
    close(fd);
    *text = ph_buf_view(&b);
    return got < 0 ? ph_fail_errno(PH_CONF, err, "read %s", path) : 0;
}

int ph_bounce_templates_load(struct ph_scope *s, ph_str path, void (*warn_fn)(void *arg, const char *text), void *arg,
                             struct ph_bounce_template t[PH_TEMPLATES])
{
    const char *name = ph_cstr_dup(s, path);
    ph_str text;
    int rc;

    ph_bounce_templates_default(t);
    if (!path.n)
        return 0;
    if ((rc = read_file(s, name, &text)) < 0)
        return rc;
    return ph_bounce_templates_parse(s, text, name, warn_fn, arg, t);
}

void ph_bounce_template_print(struct ph_buf *out, const struct ph_bounce_template *t)
{
    ph_buf_printf(out, "%s_template = <<EOF\nCharset: %.*s\nFrom: %.*s\nSubject: %.*s\n", t->name, PH_FMT(t->charset),
                  PH_FMT(t->from), PH_FMT(t->subject));
    if (t->postmaster_subject.n)
        ph_buf_printf(out, "Postmaster-Subject: %.*s\n", PH_FMT(t->postmaster_subject));
    ph_buf_printf(out, "\n%.*s%sEOF\n", PH_FMT(t->body), ph_str_ends(t->body, PH_STR("\n")) ? "" : "\n");
}
