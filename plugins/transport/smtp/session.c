/* session: from connect to a session ready for MAIL, RFC 5321 3.1, 4.1.1.1,
 * RFC 2033 4.1; and its end. */
#include <string.h>
#include "smtp.h"

#define REPLY_BYTES 8192u

static struct smtp_session *session_new(struct smtp *agent, const struct smtp_host *h)
{
    struct ph_scope *scope = ph_scope_new(NULL);   /* its task outlives what the agent's scope frees first */
    struct smtp_session *s = ph_new(scope, struct smtp_session);

    s->scope = scope;
    s->agent = agent;
    s->host = *h;
    s->host.name = ph_str_dup(scope, h->name);
    s->host.path = ph_str_dup(scope, h->path);
    ph_str where = h->path.n ? h->path : ph_ip_format(scope, &h->ip);
    s->peer = ph_str_printf(scope, "%.*s[%.*s]", PH_FMT(h->name), PH_FMT(where));
    s->relay = h->path.n ? s->peer : ph_str_printf(scope, "%.*s:%u", PH_FMT(s->peer), h->port);
    s->born = ph_now_ms();
    ph_buf_init(&s->text, scope, REPLY_BYTES);
    return s;
}

void smtp_session_drop(struct smtp_session *s)
{
    if (s->io)
        ph_stream_close(s->io);
    ph_scope_free(s->scope);
}

static void wait_for_bye(void *arg)
{
    struct smtp_session *s = arg;

    smtp_reply_read(s, s->agent->p.quit_timeout, 0);
    smtp_session_drop(s);
}

/* RFC 5321 4.1.1.10.  Errors mean nothing: the mail's fate is known. */
void smtp_session_end(struct smtp_session *s)
{
    int waits = s->io && !s->broken && !ph_cancelled();

    if (waits && !s->quit_sent) {
        ph_stream_str(s->io, PH_STR("QUIT\r\n"));
        ph_stream_deadline(s->io, ph_in_ms(s->agent->p.quit_timeout * 1000));
        waits = ph_stream_flush(s->io) == 0;
    }
    waits = waits && !s->agent->p.skip_quit;
    if (!waits || ph_spawn(s->agent->group, "last reply", wait_for_bye, s) < 0)
        smtp_session_drop(s);
}

/* The words of the cause alone. */
static int dial_socket(struct smtp_session *s, int64_t deadline)
{
    const char *path = s->host.path.p[0] == '/' ? s->host.path.p :
                       ph_str_printf(s->scope, "%.*s/%.*s", PH_FMT(s->agent->queue_directory), PH_FMT(s->host.path)).p;
    int rc = ph_dial_unix(s->scope, path, deadline, &s->io);
    ph_str why = ph_cstr(ph_error()), where = ph_str_printf(s->scope, "connect to %s: ", path);

    if (rc < 0 && ph_str_starts(why, where)) {
        why = ph_str_dup(s->scope, ph_str_from(why, where.n));
        ph_fail(rc, "%.*s", PH_FMT(why));
    }
    return rc;
}

static int dial(struct smtp_session *s)
{
    const struct smtp *a = s->agent;
    const struct ph_ip *bind = s->host.ip.family == 6 ? &a->bind6 : &a->bind4;
    int64_t deadline = a->p.connect_timeout ? ph_in_ms(a->p.connect_timeout * 1000) : PH_FOREVER;

    if (s->host.path.n)
        return dial_socket(s, deadline);
    int rc = ph_dial_ip(s->scope, &s->host.ip, s->host.port, bind->family ? bind : NULL, deadline, &s->io);
    if (rc != PH_CONF || a->p.bind_enforce)
        return rc;
    ph_log_warn("%.*s: %s; another is used", PH_FMT(s->peer), ph_error());
    return ph_dial_ip(s->scope, &s->host.ip, s->host.port, NULL, deadline, &s->io);
}

static struct smtp_verdict *connect_failed(struct smtp_job *j, const struct smtp_session *s, int rc)
{
    struct smtp_verdict *v = smtp_verdict(j, PH_RCPT_DEFERRED, "4.4.1", "connect to %.*s: %s", PH_FMT(s->relay),
                                          rc == PH_TIMEOUT ? "Connection timed out" : ph_error());

    v->dead_site = 1;
    v->logged = 1;
    ph_log("%.*s", PH_FMT(v->text));
    return v;
}

/* --- the greeting --- */

static struct smtp_verdict *greeting_refused(struct smtp_job *j, struct smtp_session *s)
{
    const struct smtp_params *p = &s->agent->p;
    unsigned class = s->reply.code / 100;

    if (class == 4 && !s->agent->lmtp && !p->skip_4xx)
        j->no_more = 1;
    if (class != 5 || !p->skip_5xx)
        return smtp_refused(j, s);
    s->reply.dsn[0] = '4';
    struct smtp_verdict *v = smtp_refused(j, s);
    v->status = PH_RCPT_DEFERRED;
    v->dead_site = 1;
    return v;
}

/* "220 ****2**0***": a firewall that lets no extension through. */
static int is_blotted(ph_str greeting)
{
    size_t stars = 0;

    for (size_t i = 4; i < greeting.n; i++)
        stars += greeting.p[i] == '*';
    return stars >= 5 && stars * 2 >= greeting.n - 4;
}

static uint32_t pix_of_list(ph_str list)
{
    uint32_t pix = 0;

    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, PH_STR("disable_esmtp")))
            pix |= SMTP_PIX_NO_ESMTP;
        else if (ph_str_eq_nocase(w, PH_STR("delay_dotcrlf")))
            pix |= SMTP_PIX_DELAY_DOT;
        else
            ph_log_warn("unknown workaround \"%.*s\"", PH_FMT(w));
    return pix;
}

/* Only for mail that waits already: most such servers work as they are. */
static void note_pix(const struct smtp_job *j, struct smtp_session *s)
{
    const struct smtp *a = s->agent;
    ph_str list = a->p.pix_workarounds, found;

    if (!is_blotted(s->reply.text) || ph_wall_us() - j->d->message->arrival_us < a->p.pix_threshold * 1000000)
        return;
    if (a->pix_maps && !s->host.path.n &&
        ph_maps_find(a->pix_maps, ph_ip_format(s->scope, &s->host.ip), s->scope, &found) == PH_FOUND)
        list = found;
    s->pix = pix_of_list(list);
    if (s->pix)
        ph_log("%.*s: enabling PIX workarounds: %.*s for %.*s", PH_FMT(j->d->message->queue_id), PH_FMT(list), PH_FMT(s->relay));
}

/* A server that names itself as we do is ourselves, behind some translation of
 * addresses; on another port it is another program. */
static int names_us(const struct smtp_session *s)
{
    ph_str text = ph_str_from(s->reply.text, 4);

    return !s->agent->lmtp && s->host.port == SMTP_PORT && ph_str_eq_nocase(ph_str_word(&text), s->agent->hostname);
}

static struct smtp_verdict *greet(struct smtp_job *j, struct smtp_session *s)
{
    int rc = smtp_reply_read(s, s->agent->p.helo_timeout, 0);

    if (rc < 0)
        return smtp_lost(j, s, rc, "receiving the initial server greeting");
    if (s->reply.code / 100 != 2)
        return greeting_refused(j, s);
    note_pix(j, s);
    if (names_us(s))
        ph_log_warn("host %.*s greeted me with my own hostname %.*s", PH_FMT(s->relay), PH_FMT(s->agent->hostname));
    return NULL;
}

/* --- EHLO, HELO, LHLO --- */

static int says_esmtp(ph_str greeting)
{
    for (ph_str w; (w = ph_str_word(&greeting)).n;)
        if (ph_str_eq_nocase(w, PH_STR("ESMTP")))
            return 1;
    return 0;
}

/* Say hello: 1 the server went along, 0 and its reply is there, negative. */
static int hello(struct smtp_session *s, const char *verb)
{
    const struct smtp_params *p = &s->agent->p;
    int rc;

    ph_stream_printf(s->io, "%s %.*s\r\n", verb, PH_FMT(p->helo_name));
    if ((rc = smtp_reply_read(s, p->helo_timeout, verb[0] != 'H')) < 0)
        return rc;
    smtp_ehlo_log(s);
    return s->reply.code / 100 == 2;
}

static int uses_ehlo(const struct smtp_session *s)
{
    const struct smtp_params *p = &s->agent->p;

    return !p->never_ehlo && !(s->pix & SMTP_PIX_NO_ESMTP) && (p->always_ehlo || says_esmtp(s->reply.text));
}

/* HELO when EHLO is refused, but not after 421, which ends the session. */
static int introduce_smtp(struct smtp_session *s)
{
    int rc;

    if (uses_ehlo(s)) {
        if ((rc = hello(s, "EHLO")) != 0 || s->reply.code == 421)
            return rc;
        s->features = 0;
        s->size_limit = 0;
    }
    return hello(s, "HELO");
}

static struct smtp_verdict *introduce(struct smtp_job *j, struct smtp_session *s, ph_str dest)
{
    if (smtp_ehlo_forget(s) < 0)
        return smtp_verdict(j, PH_RCPT_DEFERRED, "4.3.0", "%s", ph_error());
    int rc = s->agent->lmtp ? hello(s, "LHLO") : introduce_smtp(s);

    if (rc < 0)
        return smtp_lost(j, s, rc, s->agent->lmtp ? "performing the LHLO handshake" : "performing the EHLO handshake");
    if (rc == 0)
        return smtp_refused(j, s);
    if (!names_us(s))
        return NULL;
    ph_log_warn("host %.*s replied to HELO/EHLO with my own hostname %.*s", PH_FMT(s->relay), PH_FMT(s->agent->hostname));
    struct smtp_verdict *v = smtp_verdict(j, PH_RCPT_BOUNCED, "5.4.6", "mail for %.*s loops back to myself", PH_FMT(dest));
    v->relay = ph_str_dup(j->scope, s->relay);
    return v;
}

struct smtp_session *smtp_session_open(struct smtp_job *j, const struct smtp_host *h, ph_str dest, struct smtp_verdict **why)
{
    struct smtp_session *s = session_new(j->agent, h);
    int rc = dial(s);

    *why = NULL;
    if (rc < 0)
        *why = rc == PH_CANCEL ? NULL : connect_failed(j, s, rc);
    else if (!(*why = greet(j, s)) && !(*why = introduce(j, s, dest)))
        return s;
    smtp_session_end(s);
    return NULL;
}
