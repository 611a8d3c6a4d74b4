/* transcript: see posthorn/transcript.h. */
#include <string.h>
#include <time.h>
#include <posthorn/buf.h>
#include <posthorn/clock.h>
#include <posthorn/date.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/submission.h>
#include <posthorn/transcript.h>

#define HEAD_BYTES 8192u           /* how a session began is kept */
#define TAIL_BYTES 16384u          /* and how it ended */
#define LINE_BYTES 500u            /* of one line */
#define NOTICES_MAX 100u           /* in a window: strangers decide how many sessions fail */
#define WINDOW_MS  3600000

/* What was sent lately, by all sessions of the service in this process. */
struct budget {
    int64_t until;                 /* end of the window */
    uint32_t sent;
};

struct ph_transcript_rules {
    uint32_t classes;
    const char *program;
    ph_str recipient, sender;      /* with their domain */
    ph_str myhostname, myorigin, mail_name;
    int filter;                    /* 1: through content filters */
    struct budget *budget;
};

struct ph_transcript {
    const struct ph_transcript_rules *r;
    struct ph_scope *scope;
    ph_str peer;
    uint32_t met;
    int is_notice;                 /* 1: mail of ours to the postmaster is under way */
    int is_cut;                    /* 1: lines between head and tail were left out */
    struct ph_buf head, tail;
};

static const struct { const char *name; uint32_t flag; } known[] = {
    { "policy", PH_ERROR_POLICY }, { "protocol", PH_ERROR_PROTOCOL }, { "resource", PH_ERROR_RESOURCE },
    { "software", PH_ERROR_SOFTWARE }, { "data", PH_ERROR_DATA },
};

static ph_str qualified(struct ph_scope *s, ph_str address, ph_str origin)
{
    return ph_str_rfind(address, '@') >= 0 ? address : ph_str_printf(s, "%.*s@%.*s", PH_FMT(address), PH_FMT(origin));
}

static int is_listed(ph_str list, const char *name)
{
    for (ph_str w; (w = ph_str_list(&list)).n; )
        if (ph_str_eq_nocase(w, ph_cstr(name)))
            return 1;
    return 0;
}

int ph_transcript_setup(struct ph_conf *c, struct ph_scope *s, const char *program, struct ph_transcript_rules **out)
{
    struct ph_transcript_rules *r = ph_new(s, struct ph_transcript_rules);
    ph_str classes, recipient, sender, filters;
    const struct { const char *name; ph_str *value; } wanted[] = {
        { "notify_classes", &classes }, { "error_notice_recipient", &recipient }, { "double_bounce_sender", &sender },
        { "internal_mail_filter_classes", &filters }, { "myhostname", &r->myhostname }, { "myorigin", &r->myorigin },
        { "mail_name", &r->mail_name },
    };
    int rc;

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if ((rc = ph_conf_get(c, s, wanted[i].name, wanted[i].value)) != PH_FOUND)
            return rc < 0 ? rc : ph_fail(PH_CONF, "%s has no value", wanted[i].name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        r->classes |= is_listed(classes, known[i].name) ? known[i].flag : 0;
    r->program = program;
    r->budget = ph_new(s, struct budget);
    r->recipient = qualified(s, recipient, r->myorigin);
    r->sender = qualified(s, sender, r->myhostname);
    r->filter = is_listed(filters, "notify");
    *out = r;
    return 0;
}

struct ph_transcript *ph_transcript_new(struct ph_scope *s, const struct ph_transcript_rules *r, uint32_t classes, ph_str peer)
{
    if (!(r->classes & classes))
        return NULL;
    struct ph_transcript *t = ph_new(s, struct ph_transcript);

    t->r = r;
    t->scope = s;
    t->peer = ph_str_dup(s, peer);
    ph_buf_init(&t->head, s, HEAD_BYTES);
    ph_buf_init(&t->tail, s, TAIL_BYTES);
    return t;
}

/* Room at the end: the oldest half of the tail goes, whole lines. */
static void make_room(struct ph_transcript *t)
{
    ptrdiff_t eol = ph_str_find(ph_str_from(ph_buf_view(&t->tail), t->tail.n / 2), '\n');

    ph_buf_shift(&t->tail, t->tail.n / 2 + (size_t)(eol + 1));
    t->is_cut = 1;
}

/* Control bytes, and those that are not ASCII, are shown as '?'. */
static void put_line(struct ph_transcript *t, const char *who, ph_str line)
{
    struct ph_buf *b = t->tail.n || t->head.n + LINE_BYTES + 16 > HEAD_BYTES ? &t->tail : &t->head;
    size_t n = line.n < LINE_BYTES ? line.n : LINE_BYTES;

    if (b == &t->tail && b->n + LINE_BYTES + 16 > TAIL_BYTES)
        make_room(t);
    ph_buf_puts(b, who);
    char *to = ph_buf_room(b, n);  /* there is, see above */
    for (size_t i = 0; to && i < n; i++)
        to[i] = line.p[i] >= ' ' && line.p[i] <= '~' ? line.p[i] : '?';
    ph_buf_added(b, to ? n : 0);
    ph_buf_puts(b, "\r\n");
}

static void put_lines(struct ph_transcript *t, const char *who, ph_str text)
{
    if (!t)
        return;
    do {
        ph_str line = ph_str_cut(&text, '\n');

        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        put_line(t, who, line);
    } while (text.n);
}

void ph_transcript_in(struct ph_transcript *t, ph_str line)
{
    put_lines(t, " In:  ", line);
}

void ph_transcript_out(struct ph_transcript *t, ph_str line)
{
    put_lines(t, " Out: ", line);
}

void ph_transcript_error(struct ph_transcript *t, uint32_t classes)
{
    if (t)
        t->met |= classes;
}

void ph_transcript_sender(struct ph_transcript *t, ph_str sender)
{
    if (t && ph_str_eq_nocase(sender, t->r->sender))
        t->is_notice = 1;
}

void ph_transcript_reset(struct ph_transcript *t)
{
    if (!t || (t->met & t->r->classes))
        return;
    t->met = 0;
    t->is_notice = t->is_cut = 0;
    ph_buf_reset(&t->head);
    ph_buf_reset(&t->tail);
}

static void put_header(const struct ph_transcript *t, struct ph_scope *s, struct ph_buf *out, ph_str id)
{
    const struct ph_transcript_rules *r = t->r;
    int64_t now = ph_wall_us() / 1000000;
    ph_str date = ph_date_format(s, now, 1);
    time_t seconds = (time_t)now;
    char stamp[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &tm);
    ph_buf_printf(out, "Received: by %.*s (%.*s)\r\n\tid %.*s; %.*s\r\nDate: %.*s\r\n", PH_FMT(r->myhostname), PH_FMT(r->mail_name),
                  PH_FMT(id), PH_FMT(date), PH_FMT(date));
    ph_buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\nTo: Postmaster <%.*s>\r\n", PH_FMT(r->myorigin),
                  PH_FMT(r->recipient));
    ph_buf_printf(out, "Subject: %.*s %s: errors from %.*s\r\nAuto-Submitted: auto-generated\r\n", PH_FMT(r->mail_name), r->program,
                  PH_FMT(t->peer));
    ph_buf_printf(out, "Message-Id: <%s.%.*s@%.*s>\r\n\r\n", stamp, PH_FMT(id), PH_FMT(r->myhostname));
}

static void put_session(const struct ph_transcript *t, struct ph_buf *out, const char *reason)
{
    ph_buf_puts(out, "Transcript of session follows.\r\n\r\n");
    ph_buf_str(out, ph_buf_view(&t->head));
    if (t->is_cut)
        ph_buf_puts(out, " [lines are left out here]\r\n");
    ph_buf_str(out, ph_buf_view(&t->tail));
    if (*reason)
        ph_buf_printf(out, "\r\nSession aborted, reason: %s\r\n", reason);
    ph_buf_puts(out, "\r\nFor other details, see the local mail logfile\r\n");
}

static int may_send(struct budget *b)
{
    if (ph_now_ms() >= b->until)
        *b = (struct budget){ .until = ph_in_ms(WINDOW_MS) };
    if (b->sent == NOTICES_MAX)
        ph_log_warn("more than %u notices to the postmaster in an hour: for the rest see the log", NOTICES_MAX);
    return b->sent <= NOTICES_MAX && b->sent++ < NOTICES_MAX;
}

int ph_transcript_send(struct ph_transcript *t, const char *reason)
{
    if (!t || !(t->met & t->r->classes) || t->is_notice || !may_send(t->r->budget))
        return 0;
    PH_SCOPED(s, t->scope);
    struct ph_submission sub = { .io = NULL };
    struct ph_buf text;
    int rc = ph_submission_begin(s, t->r->sender, t->r->filter ? "bounce map filter" : "bounce map", 0, &sub);

    if (rc >= 0) {
        ph_buf_init(&text, s, HEAD_BYTES + TAIL_BYTES + 16384);
        put_header(t, s, &text, sub.id);
        put_session(t, &text, reason);
        rc = ph_submission_finish(&sub, s, t->r->recipient, "NEVER", ph_buf_view(&text));
    }
    if (sub.io)
        ph_stream_close(sub.io);
    return rc;
}
