/* sendmail_smtp: SMTP on stdin and stdout (sendmail -bs), RFC 5321, for programs
 * that speak it to a pipe.  Each message goes through postdrop like any other
 * submission, so this needs no running mail system and no rights, and there is
 * nothing to guard: the user may submit anyway. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/wire.h>
#include "core/cmd/cmd.h"
#include "core/cmd/sendmail.h"

#define LINE_BYTES 2048u           /* RFC 5321 4.5.3.1.4, and room for parameters */

struct session {
    struct sendmail *m;
    struct ph_scope *transaction;
    char in[8192];
    size_t start, end;
    int64_t size_limit, rcpt_limit;    /* message_size_limit (0: none), smtpd_recipient_limit */
    int32_t no_vrfy, utf8;
    int has_sender, quit;
};

static void reply(const char *text)
{
    printf("%s\r\n", text);
}

static int fill(struct session *s)
{
    ssize_t n;

    if (s->start > 0) {
        memmove(s->in, s->in + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
    }
    fflush(stdout);
    do
        n = read(STDIN_FILENO, s->in + s->end, sizeof s->in - s->end);
    while (n < 0 && errno == EINTR);
    s->end += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* A command line: 1; 2 for one that is too long (and discarded); 0 at the end. */
static int read_line(struct session *s, ph_str *line)
{
    int too_long = 0;

    for (;;) {
        ph_str have = { s->in + s->start, s->end - s->start };
        ptrdiff_t lf = ph_str_find(have, '\n');

        if (lf >= 0) {
            *line = ph_str_trim(ph_str_first(have, (size_t)lf));
            s->start += (size_t)lf + 1;
            return too_long || lf > (ptrdiff_t)LINE_BYTES ? 2 : 1;
        }
        if (have.n > LINE_BYTES) {
            s->start = s->end;
            too_long = 1;
        }
        if (!fill(s))
            return 0;
    }
}

/* Forget the transaction: envelope and memory. */
static void reset(struct session *s)
{
    struct ph_maildrop *e = &s->m->envelope;

    ph_scope_reset(s->transaction);
    s->m->scope = s->transaction;
    s->m->rcpt = NULL;
    s->m->rcpt_room = 0;
    *e = (struct ph_maildrop){ .size = sizeof *e };
    s->has_sender = 0;
}

static void do_ehlo(struct session *s, ph_str rest)
{
    PH_SCOPED(step, NULL);
    ph_str host = ph_conf_value(s->m->conf, step, "myhostname");

    if (rest.n == 0) {
        reply("501 5.5.4 Syntax: EHLO hostname");
        return;
    }
    reset(s);
    printf("250-%.*s\r\n250-PIPELINING\r\n250-SIZE", PH_FMT(host));
    if (s->size_limit > 0)
        printf(" %lld", (long long)s->size_limit);
    printf("\r\n%s250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n%s", s->no_vrfy ? "" : "250-VRFY\r\n",
           s->utf8 ? "250-DSN\r\n250 SMTPUTF8\r\n" : "250 DSN\r\n");
}

static void do_helo(struct session *s, ph_str rest)
{
    PH_SCOPED(step, NULL);

    if (rest.n == 0) {
        reply("501 5.5.4 Syntax: HELO hostname");
        return;
    }
    reset(s);
    printf("250 %.*s\r\n", PH_FMT(ph_conf_value(s->m->conf, step, "myhostname")));
}

/* One parameter of MAIL: NULL, or what to answer.  RFC 1652 BODY, RFC 1870 SIZE
 * (postdrop counts for itself), RFC 3461 RET and ENVID, RFC 6531. */
static const char *mail_parameter(struct session *s, ph_str word)
{
    struct ph_maildrop *e = &s->m->envelope;
    ph_str value = word, name = ph_str_cut(&value, '=');
    uint64_t size;

    if (ph_str_eq_nocase(word, PH_STR("SMTPUTF8")) && s->utf8)
        e->smtputf8 = 1;
    else if (ph_str_eq_nocase(word, PH_STR("BODY=8BITMIME")))
        e->body = PH_STR("8BITMIME");
    else if (ph_str_eq_nocase(word, PH_STR("BODY=7BIT")))
        e->body = PH_STR("7BIT");
    else if (ph_str_eq_nocase(word, PH_STR("RET=FULL")))
        e->ret = PH_STR("FULL");
    else if (ph_str_eq_nocase(word, PH_STR("RET=HDRS")))
        e->ret = PH_STR("HDRS");
    else if (ph_str_eq_nocase(name, PH_STR("SIZE"))) {
        if (!ph_str_u64(value, &size))
            return "501 5.5.4 Bad message size syntax";
        if (s->size_limit > 0 && size > (uint64_t)s->size_limit)
            return "552 5.3.4 Message size exceeds fixed limit";
    } else if (ph_str_eq_nocase(name, PH_STR("ENVID"))) {
        if (value.n > 100 || !ph_xtext_decode(s->transaction, value, &e->envelope_id) || !e->envelope_id.n)
            return "501 5.5.4 Bad ENVID parameter syntax";
    } else
        return "555 5.5.4 Unsupported option";
    return NULL;
}

/* RFC 3461 4.1: NEVER, or a list of the others.  The words in capitals on the
 * transaction, or 0. */
static int parse_notify(struct session *s, ph_str value, ph_str *list)
{
    static const char *const words[] = { "SUCCESS", "FAILURE", "DELAY" };
    struct ph_buf out;

    if (ph_str_eq_nocase(value, PH_STR("NEVER"))) {
        *list = PH_STR("NEVER");
        return 1;
    }
    ph_buf_init(&out, s->transaction, 100);
    while (value.n) {
        ph_str word = ph_str_cut(&value, ',');
        size_t i = 0;

        while (i < 3 && !ph_str_eq_nocase(word, ph_cstr(words[i])))
            i++;
        if (i == 3)
            return 0;
        ph_buf_printf(&out, "%s%s", out.n ? "," : "", words[i]);
    }
    *list = ph_buf_view(&out);
    return out.n > 0 && !out.full;
}

/* One parameter of RCPT: NULL, or what to answer. */
static const char *rcpt_parameter(struct session *s, ph_str word, struct ph_maildrop_rcpt *r)
{
    ph_str value = word, name = ph_str_cut(&value, '=');

    if (ph_str_eq_nocase(name, PH_STR("NOTIFY")))
        return parse_notify(s, value, &r->notify) ? NULL : "501 5.5.4 Error: Bad NOTIFY parameter syntax";
    if (ph_str_eq_nocase(name, PH_STR("ORCPT"))) {
        if (ph_str_find(value, ';') < 1 || value.n > 500)
            return "501 5.5.4 Error: Bad ORCPT parameter syntax";
        r->orcpt = ph_str_dup(s->transaction, value);
        return NULL;
    }
    return "555 5.5.4 Unsupported option";
}

static void do_mail(struct session *s, ph_str rest)
{
    ph_str address;

    if (s->has_sender) {
        reply("503 5.5.1 Error: nested MAIL command");
        return;
    }
    if (!ph_str_starts_nocase(rest, PH_STR("FROM:")) ||
        ph_address_parse_path(s->transaction, ph_str_from(rest, 5), 0, &address, &rest) != 1) {
        reply("501 5.5.4 Syntax: MAIL FROM:<address>");
        return;
    }
    for (ph_str word; (word = ph_str_word(&rest)).n;) {
        const char *wrong = mail_parameter(s, word);

        if (wrong) {
            reset(s);
            reply(wrong);
            return;
        }
    }
    s->m->envelope.sender = ph_str_dup(s->transaction, address);
    s->m->envelope.has_sender = s->has_sender = 1;
    reply("250 2.1.0 Ok");
}

static void do_rcpt(struct session *s, ph_str rest)
{
    struct ph_maildrop_rcpt r = { 0 };
    const char *wrong;
    ph_str address;

    if (!s->has_sender) {
        reply("503 5.5.1 Error: need MAIL command");
        return;
    }
    if (!ph_str_starts_nocase(rest, PH_STR("TO:")) ||
        ph_address_parse_path(s->transaction, ph_str_from(rest, 3), 0, &address, &rest) != 1 || address.n == 0) {
        reply("501 5.5.4 Syntax: RCPT TO:<address>");
        return;
    }
    for (ph_str word; (word = ph_str_word(&rest)).n;)
        if ((wrong = rcpt_parameter(s, word, &r)) != NULL) {
            reply(wrong);
            return;
        }
    if (s->m->envelope.rcpt_count >= s->rcpt_limit || s->m->envelope.rcpt_count >= PH_MAILDROP_RCPTS) {
        reply("452 4.5.3 Error: too many recipients");
        return;
    }
    sendmail_add_rcpt(s->m, ph_str_dup(s->transaction, address));
    s->m->rcpt[s->m->envelope.rcpt_count - 1].notify = r.notify;
    s->m->rcpt[s->m->envelope.rcpt_count - 1].orcpt = r.orcpt;
    reply("250 2.1.5 Ok");
}

/* Content up to the end of data, to postdrop.  1, or 0 when the input ended. */
static int copy_data(struct session *s, struct submit *u)
{
    static char out[2 * sizeof s->in + 2];
    struct ph_dot_decoder d;

    ph_dot_decode_init(&d, PH_BARE_NORMALIZE);
    for (;;) {
        size_t n = 0, used = ph_dot_decode(&d, (ph_str){ s->in + s->start, s->end - s->start }, out, &n);

        s->start += used;
        if (u)
            submit_content(u, (ph_str){ out, n });
        if (d.done)
            return 1;
        if (!fill(s))
            return 0;
    }
}

static void do_data(struct session *s, ph_str rest)
{
    struct submit u;
    int rc;

    if (rest.n || s->m->envelope.rcpt_count == 0) {
        reply(rest.n ? "501 5.5.4 Syntax: DATA" : s->has_sender ? "554 5.5.1 Error: no valid recipients"
                                                              : "503 5.5.1 Error: need RCPT command");
        return;
    }
    reply("354 End data with <CR><LF>.<CR><LF>");
    rc = submit_begin(&u, s->transaction, s->m->conf, &s->m->envelope);
    if (!copy_data(s, rc < 0 ? NULL : &u)) {
        if (rc == 0)
            submit_cancel(&u);
        s->quit = 1;
        return;
    }
    if (rc < 0)
        printf("451 4.3.0 Error: %s\r\n", ph_error());
    else if ((rc = submit_end(&u)) == 0)
        printf("250 2.0.0 Ok: queued as %.*s\r\n", PH_FMT(u.id));
    else if (rc == EX_UNAVAILABLE && s->size_limit > 0)     /* postdrop's word for too big */
        reply("552 5.3.4 Error: message file too big");
    else
        printf("%s Error: %s\r\n", rc == EX_TEMPFAIL || rc == EX_OSERR ? "451 4.3.0" : "554 5.3.0", ph_error());
    reset(s);
}

static void do_rset(struct session *s, ph_str rest PH_UNUSED)
{
    reset(s);
    reply("250 2.0.0 Ok");
}

static void do_noop(struct session *s PH_UNUSED, ph_str rest PH_UNUSED)
{
    reply("250 2.0.0 Ok");
}

static void do_vrfy(struct session *s, ph_str rest)
{
    if (s->no_vrfy)
        reply("502 5.5.1 VRFY command is disabled");
    else if (rest.n == 0)
        reply("501 5.5.4 Syntax: VRFY address");
    else
        reply("252 2.0.0 Cannot verify here; send and see");
}

/* The queue is not within reach of the user who talks here. */
static void do_etrn(struct session *s PH_UNUSED, ph_str rest PH_UNUSED)
{
    reply("458 Unable to queue messages");
}

static void do_quit(struct session *s, ph_str rest PH_UNUSED)
{
    s->quit = 1;
    reply("221 2.0.0 Bye");
}

static const struct verb {
    const char *name;
    void (*run)(struct session *s, ph_str rest);
} verbs[] = {
    { "EHLO", do_ehlo }, { "HELO", do_helo }, { "MAIL", do_mail }, { "RCPT", do_rcpt }, { "DATA", do_data },
    { "RSET", do_rset }, { "NOOP", do_noop }, { "VRFY", do_vrfy }, { "ETRN", do_etrn },
    { "QUIT", do_quit },
};

static void run_command(struct session *s, ph_str line)
{
    ph_str word = ph_str_word(&line);

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (ph_str_eq_nocase(word, ph_cstr(verbs[i].name))) {
            verbs[i].run(s, line);
            return;
        }
    reply("502 5.5.2 Error: command not recognized");
}

int sendmail_smtp(struct sendmail *m)
{
    static struct session s;        /* 8 KiB, and there is one stdin */
    struct ph_scope *scope = m->scope;
    ph_str line;
    int rc;

    s.m = m;
    if (ph_conf_get_i64(m->conf, "message_size_limit", &s.size_limit) < 0 ||
        ph_conf_get_i64(m->conf, "smtpd_recipient_limit", &s.rcpt_limit) < 0 ||
        ph_conf_get_bool(m->conf, "disable_vrfy_command", &s.no_vrfy) < 0 ||
        ph_conf_get_bool(m->conf, "smtputf8_enable", &s.utf8) < 0)
        ph_cmd_fatal("%s", ph_error());
    s.transaction = ph_scope_new(scope);
    reset(&s);
    printf("220 %.*s ESMTP %.*s\r\n", PH_FMT(ph_conf_value(m->conf, scope, "myhostname")),
           PH_FMT(ph_conf_value(m->conf, scope, "mail_name")));
    while (!s.quit && (rc = read_line(&s, &line)) != 0)
        if (rc == 2)
            reply("500 5.5.2 Error: line too long");
        else
            run_command(&s, line);
    m->scope = scope;
    return fflush(stdout) == 0 ? 0 : EX_TEMPFAIL;
}
