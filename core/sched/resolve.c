/* resolve: asks rewrite for the transport and the next hop of each recipient,
 * at every activation, so that changes of tables count for the next attempt.
 *
 * One request carries the recipients of many messages (of one sender, when
 * routes may depend on it).  Answers are kept for a few seconds: for the whole
 * domain when no table looks at addresses and the answer did not either, else
 * for the address. */
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include "core/sched/qmgr_priv.h"

#define KEEP_MS       5000
#define KEEP_MAX      10000u       /* answers */
#define ASK_MAX       500u         /* addresses in one request */

struct route {
    int64_t until;
    ph_str transport, nexthop;
    ph_str address;                /* empty: as it was asked */
    ph_str error;                  /* not empty: no mail can go there, and why */
};

/* ---- what is known ---- */

void ph_resolve_forget(struct qmgr *q)
{
    ph_scope_free(q->routes_scope);
    q->routes_scope = ph_scope_new(q->scope);
    q->routes = ph_map_new(q->routes_scope);
}

/* Addresses whose local part says where to go, whatever the domain. */
static int local_part_is_plain(ph_str local)
{
    return ph_str_find(local, '%') < 0 && ph_str_find(local, '!') < 0 && ph_str_find(local, '@') < 0 && local.n > 0;
}

static ph_str domain_key(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    if (q->p.address_counts || !domain.n || !local_part_is_plain(local))
        return (ph_str){ NULL, 0 };
    return ph_str_printf(s, "@%.*s %.*s", PH_FMT(ph_str_lower(s, domain)), PH_FMT(q->p.sender_counts ? sender : PH_STR("")));
}

static ph_str address_key(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    return ph_str_printf(s, "%.*s %.*s", PH_FMT(address), PH_FMT(q->p.sender_counts ? sender : PH_STR("")));
}

static const struct route *look_up(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    ph_str key = domain_key(q, s, sender, address);
    const struct route *r = key.n ? ph_map_get(q->routes, key) : NULL;

    if (!r || r->until < ph_now_ms())
        r = ph_map_get(q->routes, address_key(q, s, sender, address));
    return r && r->until >= ph_now_ms() ? r : NULL;
}

static void keep(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address, const struct route *r)
{
    ph_str key = r->address.n || r->error.n ? (ph_str){ NULL, 0 } : domain_key(q, s, sender, address);

    if (ph_map_count(q->routes) >= KEEP_MAX)
        ph_resolve_forget(q);
    struct route *copy = ph_new(q->routes_scope, struct route);

    *copy = (struct route){
        .until = ph_in_ms(KEEP_MS),
        .transport = ph_str_dup(q->routes_scope, r->transport), .nexthop = ph_str_dup(q->routes_scope, r->nexthop),
        .address = ph_str_dup(q->routes_scope, r->address), .error = ph_str_dup(q->routes_scope, r->error),
    };
    ph_map_set(q->routes, key.n ? key : address_key(q, s, sender, address), copy);
}

/* ---- asking ---- */

struct question {
    ph_str sender;
    ph_str *address;
    uint32_t n;
    struct ph_map *seen;
};

static void ask_about(struct qmgr *q, struct ph_scope *s, struct question *ask, const struct ph_qmsg *m)
{
    for (uint32_t i = 0; i < m->rcpt_count && ask->n < ASK_MAX; i++) {
        ph_str a = m->rcpt[i].address;

        if (m->rcpt[i].state != PH_STATE_PENDING || look_up(q, s, ask->sender, a) || ph_map_get(ask->seen, a))
            continue;
        ph_map_set(ask->seen, a, ask);
        ask->address[ask->n++] = ph_str_dup(s, a);      /* m may be over before the answer is there */
    }
}

/* Groups of attributes, one per address, each begun by "transport". */
static int read_routes(const struct ph_frame *f, struct route *list, uint32_t n)
{
    uint32_t k = 0;
    size_t at = 0;

    for (ph_str name, value; ph_frame_next(f, &at, &name, &value); ) {
        if (ph_str_eq(name, PH_STR("transport")) && k < n)
            list[k++].transport = value;
        else if (ph_str_eq(name, PH_STR("transport")))
            return 0;
        else if (k && ph_str_eq(name, PH_STR("nexthop")))
            list[k - 1].nexthop = value;
        else if (k && ph_str_eq(name, PH_STR("recipient")))
            list[k - 1].address = value;
        else if (k && ph_str_eq(name, PH_STR("error")))
            list[k - 1].error = value;
    }
    return k == n;
}

static int ask(struct qmgr *q, struct ph_scope *s, const struct question *what)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    struct route *list = ph_alloc_array(s, what->n, sizeof *list);
    int rc;

    ph_frame_cstr(f, "op", "resolve");
    ph_frame_str(f, "sender", what->sender);
    for (uint32_t i = 0; i < what->n; i++)
        ph_frame_str(f, "address", what->address[i]);
    if ((rc = q->call(s, "rewrite", f, &reply)) < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")) || !read_routes(reply, list, what->n))
        return ph_fail(PH_TEMP, "bad answer of rewrite: %.*s", PH_FMT(ph_frame_value(reply, "reason")));
    for (uint32_t i = 0; i < what->n; i++) {
        if (ph_str_eq(list[i].address, what->address[i]))
            list[i].address.n = 0;
        keep(q, s, what->sender, what->address[i], &list[i]);
    }
    return 0;
}

/* ---- from routes to the scheduler ---- */

static int is_deferred_transport(struct qmgr *q, ph_str transport)
{
    ph_str names = q->p.defer_transports;

    for (ph_str w; (w = ph_str_list(&names)).n; )
        if (ph_str_eq(w, transport))
            return 1;
    return 0;
}

/* The destination of a transport that takes one recipient at a time: without
 * the extension, so that user+a and user+b share it. */
static ph_str recipient_key(struct qmgr *q, struct ph_scope *s, ph_str address, ph_str nexthop)
{
    ph_str local, domain, user, ext;
    char delimiter;

    ph_address_split(address, &local, &domain);
    ph_address_extension(local, q->p.recipient_delimiter, &user, &ext, &delimiter);
    return ph_str_lower(s, ph_str_printf(s, "%.*s@%.*s %.*s", PH_FMT(user), PH_FMT(domain), PH_FMT(nexthop)));
}

enum hindrance { NONE, UNRESOLVED, HELD_BACK, REFUSED };

static enum hindrance hindrance(const struct mail *mail, const struct route *r)
{
    return !r ? UNRESOLVED : r->error.n ? REFUSED :
           !mail->flushed && is_deferred_transport(mail->q, r->transport) ? HELD_BACK : NONE;
}

/* Say one thing of all recipients that have this hindrance. */
static void settle_all(struct mail *mail, struct ph_scope *s, const struct route **routes, enum hindrance what,
                       const char *dsn, const char *text)
{
    uint32_t *list = ph_alloc_array(s, mail->m->rcpt_count, sizeof *list), n = 0;

    for (uint32_t i = 0; i < mail->m->rcpt_count; i++)
        if (mail->m->rcpt[i].state == PH_STATE_PENDING && hindrance(mail, routes[i]) == what)
            list[n++] = i;
    if (n)
        ph_settle_ourselves(mail, list, n, PH_RCPT_DEFERRED, ph_cstr(dsn), ph_cstr(text));
}

static void settle_refused(struct mail *mail, const struct route **routes)
{
    for (uint32_t i = 0; i < mail->m->rcpt_count; i++) {
        ph_str dsn = PH_STR("5.1.3"), text;

        if (mail->m->rcpt[i].state != PH_STATE_PENDING || hindrance(mail, routes[i]) != REFUSED)
            continue;
        if (!ph_dsn_parse(routes[i]->error, &dsn, &text))
            text = routes[i]->error;
        ph_settle_ourselves(mail, &i, 1, PH_RCPT_BOUNCED, dsn, text);
    }
}

/* Recipients that have no route are settled here.  Yields. */
static void settle_routeless(struct mail *mail, struct ph_scope *s, const struct route **routes)
{
    settle_all(mail, s, routes, UNRESOLVED, "4.3.0", "address resolver failure");
    settle_all(mail, s, routes, HELD_BACK, "4.3.2", "deferred transport");
    settle_refused(mail, routes);
}

static void schedule(struct mail *mail, struct ph_scope *s, const struct route **routes)
{
    struct qmgr *q = mail->q;
    struct ph_qmsg *m = mail->m;

    if (mail->wish != WISH_NONE) {
        ph_finish_mail(mail);
        return;
    }
    mail->stage = STAGE_ACTIVE;
    mail->sched = ph_sched_open(q->sched, mail, ph_now_ms());
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct route *r = routes[i];

        if (m->rcpt[i].state != PH_STATE_PENDING || hindrance(mail, r) != NONE)
            continue;
        if (r->address.n)
            m->rcpt[i].address = ph_str_dup(m->scope, r->address);
        ph_sched_add(mail->sched, r->transport, r->nexthop, recipient_key(q, s, m->rcpt[i].address, r->nexthop), i);
    }
    if (ph_sched_close(mail->sched)) {
        mail->sched = NULL;
        ph_finish_mail(mail);
    }
}

/* Fill in what is known: 1 when no pending recipient lacks its route.  Copies
 * on s: what is kept may be forgotten while we wait. */
static int fill(struct mail *mail, struct ph_scope *s, const struct route **list)
{
    const struct ph_qmsg *m = mail->m;
    int whole = 1;

    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct route *r;

        if (m->rcpt[i].state != PH_STATE_PENDING || list[i])
            continue;
        if (!(r = look_up(mail->q, s, m->message.sender, m->rcpt[i].address))) {
            whole = 0;
            continue;
        }
        struct route *copy = ph_new(s, struct route);

        *copy = (struct route){ .transport = ph_str_dup(s, r->transport), .nexthop = ph_str_dup(s, r->nexthop),
                                .address = ph_str_dup(s, r->address), .error = ph_str_dup(s, r->error) };
        list[i] = copy;
    }
    return whole;
}

static const struct route **routes_new(struct mail *mail, struct ph_scope *s)
{
    return ph_alloc_array(s, mail->m->rcpt_count + 1u, sizeof(struct route *));
}

static void ask_for(struct mail *mail, struct ph_scope *s, struct question *what)
{
    struct qmgr *q = mail->q;

    *what = (struct question){ .sender = mail->m->message.sender, .address = ph_alloc_array(s, ASK_MAX, sizeof(ph_str)),
                               .seen = ph_map_new(s) };
    ask_about(q, s, what, mail->m);
    /* Room left: what waits behind asks along, when it would ask the same way. */
    for (struct ph_list *n = q->resolvers.jobs.next; n != &q->resolvers.jobs && what->n < ASK_MAX; n = n->next) {
        const struct mail *other = ph_list_of(ph_list_of(n, struct job, node), struct mail, job);

        if (!q->p.sender_counts || ph_str_eq(other->m->message.sender, what->sender))
            ask_about(q, s, what, other->m);
    }
}

static void resolve_job(struct job *j)
{
    struct mail *mail = ph_list_of(j, struct mail, job);
    struct qmgr *q = mail->q;
    PH_SCOPED(s, NULL);
    const struct route **routes = routes_new(mail, s);
    int rc = 0;

    /* More recipients than one request holds: ask again for the rest. */
    while (rc >= 0 && !fill(mail, s, routes)) {
        PH_SCOPED(step, NULL);
        struct question what;

        ask_for(mail, step, &what);
        rc = ask(q, step, &what);
    }
    if (rc == PH_CANCEL)
        return;
    if (rc < 0)
        ph_log_warn("%s: resolving recipients: %s", mail->m->id, ph_error());
    settle_routeless(mail, s, routes);
    schedule(mail, s, routes);
    ph_pump(q);
}

/* A message whose routes are all known need not wait for a task. */
void ph_resolve_mail(struct mail *mail)
{
    struct qmgr *q = mail->q;
    PH_SCOPED(s, NULL);
    const struct route **routes;
    int plain = mail->m->rcpt_count <= 20;

    mail->stage = STAGE_RESOLVING;
    routes = plain ? routes_new(mail, s) : NULL;
    plain = plain && fill(mail, s, routes);
    for (uint32_t i = 0; plain && i < mail->m->rcpt_count; i++)
        plain = mail->m->rcpt[i].state != PH_STATE_PENDING || hindrance(mail, routes[i]) == NONE;
    if (!plain) {
        ph_crew_add(&q->resolvers, &mail->job, resolve_job);
        return;
    }
    schedule(mail, s, routes);
    ph_pump(q);
}
