/* resolve: asks rewrite for the transport and the next hop of each recipient,
 * at every activation, so that changes of tables count for the next attempt.
 *
 * One request carries the recipients of many messages (of one sender, when
 * routes may depend on it).  Answers are kept for a few seconds: for the whole
 * domain when no table looks at addresses and the answer did not either, else
 * for the address. */
#include <posthorn/address.h>
#include <posthorn/client.h>
#include "core/sched/qmgr_priv.h"

#define KEEP_MS       5000
#define KEEP_MAX      10000u       /* answers */
#define ASK_MAX       500u         /* addresses in one request */

struct route {
    int64_t until;
    ph_str transport, nexthop;
    ph_str address;                /* empty: as it was asked */
    ph_str error;                  /* not empty: no route; error_is_temp says which kind */
    int error_is_temp;
};

/* ---- what is known ---- */

void resolve_forget(struct qmgr *q)
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
        resolve_forget(q);
    struct route *copy = ph_new(q->routes_scope, struct route);

    *copy = (struct route){
        .until = ph_in_ms(KEEP_MS), .error_is_temp = r->error_is_temp,
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
        ask->address[ask->n++] = a;
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

/* "temp text", "perm text". */
static void split_error(struct route *r)
{
    ph_str kind = ph_str_word(&r->error);

    if (!kind.n)
        return;
    r->error_is_temp = !ph_str_eq(kind, PH_STR("perm"));
    if (!r->error.n)
        r->error = PH_STR("address resolver failure");
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
    if ((rc = ph_service_call(s, "rewrite", f, &reply)) < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")) || !read_routes(reply, list, what->n))
        return ph_fail(PH_TEMP, "bad answer of rewrite: %.*s", PH_FMT(ph_frame_value(reply, "reason")));
    for (uint32_t i = 0; i < what->n; i++) {
        split_error(&list[i]);
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

static void say(struct mail *mail, uint32_t i, int is_temp, const char *dsn, ph_str text)
{
    settle_ourselves(mail, &i, 1, is_temp ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED, ph_cstr(dsn), text);
}

/* A recipient that has no route is settled here; the others' routes stand in
 * `routes`.  Yields. */
static void settle_routeless(struct mail *mail, const struct route **routes)
{
    for (uint32_t i = 0; i < mail->m->rcpt_count; i++) {
        const struct route *r = routes[i];

        if (mail->m->rcpt[i].state != PH_STATE_PENDING)
            continue;
        if (!r)
            say(mail, i, 1, "4.3.0", PH_STR("address resolver failure"));
        else if (r->error.n)
            say(mail, i, r->error_is_temp, r->error_is_temp ? "4.3.0" : "5.1.0", r->error);
        else if (is_deferred_transport(mail->q, r->transport))
            say(mail, i, 1, "4.3.2", PH_STR("deferred transport"));
        else
            continue;
        routes[i] = NULL;
    }
}

static void schedule(struct mail *mail, struct ph_scope *s, const struct route **routes)
{
    struct qmgr *q = mail->q;
    struct ph_qmsg *m = mail->m;

    if (mail->wish != WISH_NONE) {
        finish_mail(mail);
        return;
    }
    mail->stage = STAGE_ACTIVE;
    mail->sched = ph_sched_open(q->sched, mail);
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct route *r = routes[i];

        if (m->rcpt[i].state != PH_STATE_PENDING || !r)
            continue;
        if (r->address.n)
            m->rcpt[i].address = ph_str_dup(m->scope, r->address);
        ph_sched_add(mail->sched, r->transport, r->nexthop, recipient_key(q, s, m->rcpt[i].address, r->nexthop), i);
    }
    if (ph_sched_close(mail->sched)) {
        mail->sched = NULL;
        finish_mail(mail);
    }
}

/* Copies on s: what is kept may be forgotten while we wait. */
static const struct route **routes_of(struct mail *mail, struct ph_scope *s)
{
    const struct ph_qmsg *m = mail->m;
    const struct route **list = ph_alloc_array(s, m->rcpt_count + 1u, sizeof *list);

    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct route *r = look_up(mail->q, s, m->message.sender, m->rcpt[i].address);
        struct route *copy;

        if (!r || m->rcpt[i].state != PH_STATE_PENDING)
            continue;
        copy = ph_new(s, struct route);
        *copy = (struct route){ .transport = ph_str_dup(s, r->transport), .nexthop = ph_str_dup(s, r->nexthop),
                                .address = ph_str_dup(s, r->address), .error = ph_str_dup(s, r->error),
                                .error_is_temp = r->error_is_temp };
        list[i] = copy;
    }
    return list;
}

static int is_known(struct mail *mail, struct ph_scope *s)
{
    for (uint32_t i = 0; i < mail->m->rcpt_count; i++)
        if (mail->m->rcpt[i].state == PH_STATE_PENDING &&
            !look_up(mail->q, s, mail->m->message.sender, mail->m->rcpt[i].address))
            return 0;
    return 1;
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
    const struct route **routes;
    int rc = 0;

    /* More recipients than one request holds: ask again for the rest. */
    while (rc >= 0 && !is_known(mail, s)) {
        PH_SCOPED(step, NULL);
        struct question what;

        ask_for(mail, step, &what);
        rc = what.n ? ask(q, step, &what) : 0;
    }
    if (rc == PH_CANCEL)
        return;
    if (rc < 0)
        ph_log_warn("%s: resolving recipients: %s", mail->m->id, ph_error());
    routes = routes_of(mail, s);
    settle_routeless(mail, routes);
    schedule(mail, s, routes);
    pump(q);
}

/* A message whose routes are all known need not wait for a task. */
void resolve_mail(struct mail *mail)
{
    struct qmgr *q = mail->q;
    PH_SCOPED(s, NULL);

    mail->stage = STAGE_RESOLVING;
    if (mail->m->rcpt_count <= 20 && is_known(mail, s)) {
        const struct route **routes = routes_of(mail, s);
        int plain = 1;

        for (uint32_t i = 0; i < mail->m->rcpt_count; i++)
            plain &= mail->m->rcpt[i].state != PH_STATE_PENDING ||
                     (routes[i] && !routes[i]->error.n && !is_deferred_transport(q, routes[i]->transport));
        if (plain) {
            schedule(mail, s, routes);
            pump(q);
            return;
        }
    }
    crew_add(&q->resolvers, &mail->job, resolve_job);
}
