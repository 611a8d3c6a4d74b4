/* resolve: asks rewrite for the transport and the next hop of each recipient,
 * at every activation, so that changes of tables count for the next attempt.
 *
 * One request carries the recipients of many messages (of one sender, when
 * routes may depend on it).  Answers are kept for a few seconds: for the whole
 * domain when no table looks at addresses and the answer did not either, else
 * for the address. */
#include <posthorn/address.h>
#include "core/sched/qmgr_priv.h"

#define KEEP_MS       5000
#define KEEP_MAX      10000u       /* answers */
#define ASK_MAX       500u         /* addresses in one request */

struct route {
    int64_t until;
    ph_str transport, nexthop;
    ph_str address;                /* empty: as it was asked */
    ph_str error;                  /* not empty: no mail can go there, and why */
    int is_local;                  /* of the class of this host's own domains */
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
    return ph_str_find(local, '%') < 0 && ph_str_find(local, '!') < 0 && ph_str_find(local, '@') < 0 && local.n > 0 && local.p[0] != '-';
}

static ph_str domain_key(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    if (q->p.address_counts || !domain.n || !local_part_is_plain(local))
        return (ph_str){ NULL, 0 };
    domain = ph_str_lower(s, domain);
    return ph_str_printf(s, "@%.*s %.*s", PH_FMT(domain), PH_FMT(q->p.sender_counts ? sender : PH_STR("")));
}

/* "@domain" is an address, too, and not its domain: they begin differently. */
static ph_str address_key(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    return ph_str_printf(s, "=%.*s %.*s", PH_FMT(address), PH_FMT(q->p.sender_counts ? sender : PH_STR("")));
}

static const struct route *look_up(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address)
{
    ph_str key = domain_key(q, s, sender, address);
    const struct route *r = key.n ? ph_map_get(q->routes, key) : NULL;

    if (!r || r->until < ph_now_ms())
        r = ph_map_get(q->routes, address_key(q, s, sender, address));
    return r && r->until >= ph_now_ms() ? r : NULL;
}

static struct route *copy_of(struct ph_scope *s, const struct route *r)
{
    struct route *copy = ph_new(s, struct route);

    *copy = (struct route){ .transport = ph_str_dup(s, r->transport), .nexthop = ph_str_dup(s, r->nexthop),
                            .address = ph_str_dup(s, r->address), .error = ph_str_dup(s, r->error), .is_local = r->is_local };
    return copy;
}

static void keep(struct qmgr *q, struct ph_scope *s, ph_str sender, ph_str address, const struct route *r)
{
    ph_str key = r->address.n || r->error.n ? (ph_str){ NULL, 0 } : domain_key(q, s, sender, address);

    if (ph_map_count(q->routes) >= KEEP_MAX)
        ph_resolve_forget(q);
    struct route *copy = copy_of(q->routes_scope, r);

    copy->until = ph_in_ms(KEEP_MS);
    ph_map_set(q->routes, key.n ? key : address_key(q, s, sender, address), copy);
}

/* ---- asking ---- */

struct question {
    ph_str sender;
    ph_str *address;
    uint32_t n;
    struct ph_map *seen;
};

static void ask_about(struct qmgr *q, struct ph_scope *s, struct question *ask, const struct batch *b)
{
    for (uint32_t k = 0; b && k < b->n && ask->n < ASK_MAX; k++) {
        ph_str a = b->rcpt[k]->address;

        if (b->rcpt[k]->expanded || look_up(q, s, ask->sender, a) || ph_map_get(ask->seen, a))
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
        else if (k && ph_str_eq(name, PH_STR("class")))
            list[k - 1].is_local = ph_str_eq(value, PH_STR("local"));
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

/* The sender of notices about undeliverable notices reads no mail: what comes back ends here. */
static int ends_here(const struct qmgr *q, const struct route *r, ph_str address)
{
    ph_str local, domain;

    if (!r->is_local)
        return 0;
    ph_address_split(r->address.n ? r->address : address, &local, &domain);
    return ph_str_eq_nocase(local, q->p.double_bounce);
}

enum hindrance { NONE, EXPANDED, UNRESOLVED, HELD_BACK, REFUSED, EXCESS, DISCARDED };

static enum hindrance hindrance(const struct mail *mail, uint32_t k)
{
    const struct route *r = mail->batch->route[k];

    if (mail->batch->rcpt[k]->expanded)
        return EXPANDED;
    return mail->excess ? EXCESS : !r ? UNRESOLVED : r->error.n ? REFUSED :
           ends_here(mail->q, r, mail->batch->rcpt[k]->address) ? DISCARDED :
           !mail->flushed && is_deferred_transport(mail->q, r->transport) ? HELD_BACK : NONE;
}

/* Say one thing of all recipients that have this hindrance. */
static void settle_all(struct mail *mail, enum hindrance what, uint32_t status, const char *dsn, const char *text)
{
    const struct batch *b = mail->batch;
    PH_SCOPED(s, NULL);
    uint32_t *list = ph_alloc_array(s, b->n + 1u, sizeof *list), n = 0;

    for (uint32_t k = 0; k < b->n; k++)
        if (hindrance(mail, k) == what)
            list[n++] = b->which[k];
    if (n)
        ph_settle_ourselves(mail, list, n, status, ph_cstr(dsn), ph_cstr(text));
}

static void settle_refused(struct mail *mail)
{
    const struct batch *b = mail->batch;
    PH_SCOPED(s, NULL);

    for (uint32_t k = 0; k < b->n; k++)
        if (hindrance(mail, k) == REFUSED)
            ph_settle_ourselves(mail, &b->which[k], 1, PH_RCPT_BOUNCED, PH_STR("5.1.3"),
                                ph_str_printf(s, "bad address syntax (%.*s)", PH_FMT(b->route[k]->error)));
}

static void settle_expanded(struct mail *mail)
{
    const struct batch *b = mail->batch;

    for (uint32_t k = 0; k < b->n; k++)
        if (hindrance(mail, k) == EXPANDED)
            ph_settle_expanded(mail, b->which[k]);
}

/* Recipients that have no route are settled here.  Yields. */
static void settle_routeless(struct mail *mail)
{
    settle_expanded(mail);
    settle_all(mail, UNRESOLVED, PH_RCPT_DEFERRED, "4.3.0", "address resolver failure");
    settle_all(mail, HELD_BACK, PH_RCPT_DEFERRED, "4.3.2", "deferred transport");
    settle_all(mail, EXCESS, PH_RCPT_DEFERRED, "4.3.2", "too many address probes are under way");
    settle_all(mail, DISCARDED, PH_RCPT_SENT, "2.0.0", "undeliverable postmaster notification discarded");
    settle_refused(mail);
}

/* Hand one recipient to the scheduler: 1, or 0 when there is nothing to deliver. */
static int add(struct mail *mail, struct ph_scope *s, uint32_t k)
{
    const struct batch *b = mail->batch;
    const struct route *r = b->route[k];

    if (ph_qmsg_state(mail->m, b->which[k]) != PH_STATE_PENDING || mail->wish != WISH_NONE || hindrance(mail, k) != NONE)
        return 0;
    if (r->address.n) {
        if (!b->rcpt[k]->original.n)
            b->rcpt[k]->original = b->rcpt[k]->address;
        b->rcpt[k]->address = ph_str_dup(b->portion[k]->scope, r->address);
    }
    ph_str key = ph_sched_by_recipient(mail->q->sched, r->transport) ? recipient_key(mail->q, s, b->rcpt[k]->address, r->nexthop)
                                                                     : PH_STR("");
    ph_sched_add(mail->sched, r->transport, r->nexthop, key, b->which[k]);
    return 1;
}

/* The end of each batch. */
static void schedule(struct mail *mail)
{
    struct qmgr *q = mail->q;
    const struct batch *b = mail->batch;

    if (mail->sched) {
        ph_sched_reopen(mail->sched, ph_now_ms());
    } else {
        mail->stage = STAGE_ACTIVE;
        mail->sched = ph_sched_open(q->sched, mail, ph_now_ms());
        ph_batch_reserve(mail, 0);
    }
    for (uint32_t k = 0; k < b->n; k++)
        if (!add(mail, b->scope, k))
            ph_portion_drop(b->portion[k], 1);
    ph_sched_unread(mail->sched, mail->wish == WISH_NONE ? mail->unread : 0);
    ph_batch_end(mail);
    if (ph_sched_close(mail->sched)) {
        mail->sched = NULL;
        ph_finish_mail(mail);
    }
}

/* Fill in what is known: 1 when no recipient lacks its route.  Copies on the
 * batch: what is kept may be forgotten while we wait. */
static int fill(struct mail *mail)
{
    struct batch *b = mail->batch;
    int whole = 1;

    for (uint32_t k = 0; k < b->n; k++) {
        const struct route *r;

        if (b->route[k] || b->rcpt[k]->expanded)
            continue;
        if (!(r = look_up(mail->q, b->scope, mail->m->message.sender, b->rcpt[k]->address))) {
            whole = 0;
            continue;
        }
        b->route[k] = copy_of(b->scope, r);
    }
    return whole;
}

static void ask_for(struct mail *mail, struct ph_scope *s, struct question *what)
{
    struct qmgr *q = mail->q;

    *what = (struct question){ .sender = mail->m->message.sender, .address = ph_alloc_array(s, ASK_MAX, sizeof(ph_str)),
                               .seen = ph_map_new(s) };
    ask_about(q, s, what, mail->batch);
    /* Room left: what waits behind asks along, when it would ask the same way. */
    for (struct ph_list *n = q->resolvers.jobs.next; n != &q->resolvers.jobs && what->n < ASK_MAX; n = n->next) {
        const struct mail *other = ph_list_of(ph_list_of(n, struct job, node), struct mail, job);

        if (!q->p.sender_counts || ph_str_eq(other->m->message.sender, what->sender))
            ask_about(q, s, what, other->batch);
    }
}

static void resolve_job(struct job *j)
{
    struct mail *mail = ph_list_of(j, struct mail, job);
    struct qmgr *q = mail->q;
    int rc = mail->batch ? 0 : ph_batch_read(mail, mail->want);

    if (rc < 0 && rc != PH_CANCEL)
        ph_log_warn("%s: reading recipients: %s", mail->m->id, ph_error());
    /* More recipients than one request holds: ask again for the rest. */
    for (rc = rc == PH_CANCEL ? rc : 0; rc >= 0 && !fill(mail); ) {
        PH_SCOPED(step, NULL);
        struct question what;

        ask_for(mail, step, &what);
        rc = ask(q, step, &what);
    }
    if (rc == PH_CANCEL)
        return;
    if (rc < 0)
        ph_log_warn("%s: resolving recipients: %s", mail->m->id, ph_error());
    settle_routeless(mail);
    schedule(mail);
    ph_pump(q);
}

/* A message whose routes are all known need not wait for a task. */
static int is_plain(struct mail *mail)
{
    int plain = fill(mail);

    for (uint32_t k = 0; plain && k < mail->batch->n; k++)
        plain = hindrance(mail, k) == NONE;
    return plain;
}

void ph_resolve_mail(struct mail *mail)
{
    struct qmgr *q = mail->q;

    mail->stage = STAGE_RESOLVING;
    mail->want = mail->m->whole ? mail->m->rcpt_count : ph_sched_appetite(q->sched);
    ph_batch_reserve(mail, mail->want);
    if (mail->m->whole) {
        ph_batch_read(mail, mail->want);           /* does not yield */
        if (mail->m->rcpt_count <= 20 && is_plain(mail)) {
            schedule(mail);
            ph_pump(q);
            return;
        }
    }
    ph_crew_add(&q->resolvers, &mail->job, resolve_job);
}

void ph_resolve_more(struct mail *mail, uint32_t n)
{
    mail->want = n;
    ph_crew_add(&mail->q->resolvers, &mail->job, resolve_job);
}
