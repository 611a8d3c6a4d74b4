/* sendmail_smtp: SMTP on stdin and stdout (sendmail -bs), RFC 5321, for programs
 * that speak it to a pipe.  Each message goes through postdrop like any other
 * submission, so this needs no running mail system and no rights, and there is
 * nothing to guard: the user may submit anyway. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/address.h>
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
    printf("250-%.*s\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n", PH_FMT(host));
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

/* RFC 1652 BODY, RFC 1870 SIZE (postdrop counts for itself), RFC 6531. */
static int mail_parameters(struct session *s, ph_str rest)
{
    ph_str word;

    while ((word = ph_str_word(&rest)).n)
        if (ph_str_eq_nocase(word, PH_STR("BODY=8BITMIME")))
            s->m->envelope.body = PH_STR("8BITMIME");
        else if (ph_str_eq_nocase(word, PH_STR("BODY=7BIT")))
            s->m->envelope.body = PH_STR("7BIT");
        else if (ph_str_eq_nocase(word, PH_STR("SMTPUTF8")))
            s->m->envelope.smtputf8 = 1;
        else if (!ph_str_starts_nocase(word, PH_STR("SIZE=")))
            return 0;
    return 1;
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
    if (!mail_parameters(s, rest)) {
        reset(s);
        reply("555 5.5.4 Unsupported option");
        return;
    }
    s->m->envelope.sender = ph_str_dup(s->transaction, address);
    s->m->envelope.has_sender = s->has_sender = 1;
    reply("250 2.1.0 Ok");
}

static void do_rcpt(struct session *s, ph_str rest)
{
    ph_str address;

    if (!s->has_sender) {
        reply("503 5.5.1 Error: need MAIL command");
        return;
    }
    if (!ph_str_starts_nocase(rest, PH_STR("TO:")) ||
        ph_address_parse_path(s->transaction, ph_str_from(rest, 3), 0, &address, &rest) != 1 || address.n == 0 ||
        ph_str_trim(rest).n) {
        reply("501 5.5.4 Syntax: RCPT TO:<address>");
        return;
    }
    if (s->m->envelope.rcpt_count >= PH_MAILDROP_RCPTS / 2) {
        reply("452 4.5.3 Error: too many recipients");
        return;
    }
    sendmail_add_rcpt(s->m, ph_str_dup(s->transaction, address));
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
    else
        printf("%s Error: %s\r\n", rc == 75 || rc == 71 ? "451 4.3.0" : "554 5.3.0", ph_error());
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

static void do_vrfy(struct session *s PH_UNUSED, ph_str rest PH_UNUSED)
{
    reply("252 2.0.0 Cannot verify here; send and see");
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
    { "RSET", do_rset }, { "NOOP", do_noop }, { "VRFY", do_vrfy }, { "QUIT", do_quit },
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
    return fflush(stdout) == 0 ? 0 : 74;
}
