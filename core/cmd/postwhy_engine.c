/* postwhy: one configuration.  Its own services answer, opened in this process with the
 * rights of who calls; no running system is asked, and the queue is not touched.  See
 * postwhy.h. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/policy.h>
#include "core/cmd/postwhy_engine.h"
#include "core/ipc/client.h"
#include "core/net/dns.h"
#include "core/plugin/inline.h"
#include "core/plugin/registry.h"

#define CALL_MS 3600000            /* no service is waited for longer */
#define CLEANUP "cleanup itself"   /* its name here: smtpd talks to why_take_message */
#define LOCAL_FLAGS "bcc map"      /* what is done to mail that comes from sendmail */

/* ---- steps ---- */

static int names_no_file(ph_str table)
{
    return table.n == 0 || ph_str_search(table, PH_STR(":{")) >= 0 || ph_str_search(table, PH_STR(":/")) < 0;
}

/* What decided stands in the parameter itself, and not in a file that it names. */
static int is_of_parameter(const struct why_line *l)
{
    switch (l->kind) {
    case PH_WHY_LOOKUP: return l->answer == PH_FOUND && names_no_file(l->table);
    case PH_WHY_MATCH: return l->table.n > 0;
    case PH_WHY_RULE:
    case PH_WHY_NOTE: return 1;
    default: return 0;
    }
}

/* Where the parameter is set, or that it is not. */
static void find_parameter(struct why_engine *e, struct why_line *l)
{
    struct ph_place place = { 0 };
    ph_str value;

    if (l->what.n == 0)
        return;
    if (ph_conf_raw_set(e->conf_now, l->what, &value, &place) == PH_FOUND && place.file) {
        l->parameter_file = ph_cstr(place.file);
        l->parameter_line = place.line;
    }
    if (l->file.n || !is_of_parameter(l))
        return;
    l->file = l->parameter_file;
    l->line = l->parameter_line;
    if (l->file.n == 0 && l->remark.n == 0 && ph_conf_name_kind(e->conf_now, l->what) == PH_NAME_KNOWN)
        l->remark = PH_STR("by default");
}

/* Whether the recipient exists is asked with what was asked before, and so is where mail
 * goes that is forwarded: that is not said again. */
static int is_repeated(const struct why_engine *e, const struct why_line *l)
{
    if (!ph_str_eq(l->stage, PH_STR("recipient")) && !e->nested)
        return 0;
    for (const struct why_line *old = e->report->first; old; old = old->next)
        if (!ph_str_eq(old->stage, PH_STR("smtpd")) && old->kind == l->kind && old->answer == l->answer && ph_str_eq(old->what, l->what) &&
            ph_str_eq(old->table, l->table) && ph_str_eq(old->key, l->key) && ph_str_eq(old->value, l->value))
            return 1;
    return 0;
}

static void put(struct ph_why_sink *w, const struct ph_why_step *s)
{
    struct why_engine *e = w->arg;
    struct why_line l = { .kind = s->kind, .depth = s->depth, .line = s->line, .answer = s->answer, .stage = ph_cstr(e->stage),
                          .what = ph_cstr(s->what ? s->what : ""), .table = s->table, .key = s->key, .value = s->value, .file = s->file,
                          .remark = s->remark };

    if (!e->report || is_repeated(e, &l))
        return;
    e->report->failed |= l.answer < 0;
    find_parameter(e, &l);
    why_report_step(e->report, &l);
}

static void begin_stage(struct why_engine *e, const char *stage, const struct ph_service *v)
{
    e->stage = stage;
    e->conf_now = v->conf;
}

/* ---- opening ---- */

static const struct ph_service_def *find_smtpd(const struct why_engine *e)
{
    for (size_t i = 0; i < e->master->services_count; i++) {
        const struct ph_service_def *d = &e->master->services[i];

        if (d->enabled && d->kind == PH_DEF_PLUGIN && ph_str_eq(d->code, PH_STR("smtpd")) &&
            (!e->o->service || ph_str_eq(d->name, ph_cstr(e->o->service))))
            return d;
    }
    ph_cmd_fatal("%s: there is no %s%sservice of smtpd", e->master->file, e->o->service ? e->o->service : "", e->o->service ? ", a " : "");
}

static struct ph_service *open_service(struct why_engine *e, const struct ph_service_def *d)
{
    struct ph_service *v;

    if (ph_inline_open(e->scope, e->conf, d, &v) < 0)
        ph_cmd_fatal("%s", ph_error());
    return v;
}

static struct ph_service *open_named(struct why_engine *e, const char *name, const char *as)
{
    const struct ph_service_def *d = ph_master_find_unix(e->master, ph_cstr(name));

    if (!d)
        ph_cmd_fatal("%s: service \"%s\" is not declared", e->master->file, name);
    struct ph_service *v = open_service(e, d);
    ph_inline_serve(as, e->tasks, v);
    return v;
}

static void open_smtpd(struct why_engine *e)
{
    e->smtpd = open_service(e, find_smtpd(e));
    ph_client_inline("cleanup", e->tasks, why_take_message, &e->session);
}

/* Who exists, and what local(8) makes of a name. */
static void open_recipients(struct why_engine *e)
{
    e->delimiters = ph_conf_value(e->conf, e->scope, "recipient_delimiter");
    if (ph_restriction_open(e->conf, e->scope, PH_STR("reject_unlisted_recipient"), PH_STR(""), &e->unlisted) < 0 ||
        ph_maps_open(e->conf, e->scope, "alias_maps", ph_conf_value(e->conf, e->scope, "alias_maps"), PH_MAPS_FOLD | PH_MAPS_SECURE, &e->aliases) < 0)
        ph_cmd_fatal("%s", ph_error());
}

struct why_engine *why_engine_open(const struct postwhy *o, const char *dir)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct why_engine *e = ph_new(s, struct why_engine);

    e->scope = s;
    e->o = o;
    e->stage = "";
    e->sink = (struct ph_why_sink){ .put = put, .arg = e };
    e->conf = ph_cmd_conf(s, dir);
    e->conf_now = e->conf;
    e->tasks = ph_group_new(s);
    if (ph_registry_open(e->conf) < 0 || ph_master_open(s, e->conf, ph_conf_dir(e->conf), &e->master) < 0 ||
        ph_dns_open(ph_conf_value(e->conf, s, "dns_servers")) < 0)
        ph_cmd_fatal("%s", ph_error());
    ph_client_setup(PH_STR(""), CALL_MS);      /* what is not here is nowhere */
    e->rewrite = open_named(e, "rewrite", "rewrite");
    e->cleanup = open_named(e, "cleanup", CLEANUP);
    open_recipients(e);
    if (o->client)
        open_smtpd(e);
    return e;
}

void why_engine_close(struct why_engine *e)
{
    ph_client_forget();
    ph_group_cancel(e->tasks);
    ph_group_wait(e->tasks, PH_FOREVER);
    ph_scope_free(e->scope);       /* holds e */
    ph_dns_close();
}

/* ---- asking ---- */

/* Without the brackets around it. */
static ph_str typed(ph_str text)
{
    if (text.n >= 2 && text.p[0] == '<' && text.p[text.n - 1] == '>')
        text = ph_str_first(ph_str_from(text, 1), text.n - 2);
    return text;
}

/* Internal form of what was typed; as it stands when it has none. */
static ph_str internal_of(struct ph_scope *s, ph_str text)
{
    ph_str internal;

    return ph_address_internal(s, typed(text), &internal) ? internal : typed(text);
}

/* What a client would say for it: what has no internal form goes as it stands, if it can. */
static ph_str external_of(struct ph_scope *s, ph_str text)
{
    ph_str internal;

    if (ph_address_internal(s, typed(text), &internal))
        return ph_address_external(s, internal);
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return ph_address_external(s, typed(text));
    return typed(text);
}

/* 0 and the answer, or negative. */
int why_call(struct why_report *r, const char *service, const struct ph_frame *f, struct ph_frame **got)
{
    int rc = ph_service_call(r->scope, service, f, got);

    if (rc < 0)
        return rc;
    return ph_str_eq(ph_frame_value(*got, "status"), PH_STR("ok")) ? 0 : ph_fail(PH_TEMP, "%.*s", PH_FMT(ph_frame_value(*got, "reason")));
}

struct ph_frame *why_question(struct why_report *r, const char *op, ph_str sender)
{
    struct ph_frame *f = ph_frame_new(r->scope);

    ph_frame_cstr(f, "op", op);
    ph_frame_str(f, "sender", sender);
    return f;
}

void why_note_failure(struct why_report *r)
{
    r->failed = 1;
    why_report_refuse(r, WHY_TEMP, ph_str_printf(r->scope, "451 4.3.0 %s", ph_error()));
}

static int is(ph_str a, const char *b)
{
    return ph_str_eq(a, ph_cstr(b));
}

/* 1 when there is such a recipient, as smtpd would ask; whom there is not our own
 * transports return. */
static int exists(struct why_engine *e, struct why_report *r, ph_str sender, ph_str address)
{
    struct ph_policy_facts f = { .size = sizeof f, .stage = PH_STAGE_RCPT, .sender = sender, .recipient = address, .has_sender = 1, .has_recipient = 1 };
    ph_str action;

    e->stage = "recipient";
    e->conf_now = e->conf;
    int rc = ph_restriction_check(e->unlisted, &f, r->scope, &action);
    if (rc < 0)
        why_note_failure(r);
    else if (rc == PH_FOUND)
        why_report_refuse(r, action.n && action.p[0] == '4' ? WHY_TEMP : WHY_REFUSED, action);
    return rc == PH_NONE;
}

/* What keeps qmgr from giving mail to that transport, in its words; NULL: nothing. */
static const char *hindrance(const struct why_engine *e, struct ph_scope *s, ph_str transport)
{
    ph_str names = ph_conf_value(e->conf, s, "defer_transports");

    for (ph_str w; (w = ph_str_list(&names)).n; )
        if (ph_str_eq(w, transport)) {
            ph_why("defer_transports", "%.*s waits until postqueue -f", PH_FMT(transport));
            return "4.3.2 deferred transport";
        }
    if (ph_master_find_unix(e->master, transport))
        return NULL;
    ph_why(NULL, "%s declares no transport %.*s", e->master->file, PH_FMT(transport));
    return "4.3.0 mail transport unavailable";
}

/* Notices that come back to where they were sent from: qmgr drops them. */
static int is_dropped(const struct why_engine *e, struct why_report *r, const struct why_result *n)
{
    ph_str local, domain;

    ph_address_split(n->recipient, &local, &domain);
    if (!is(n->class_, "local") || !ph_str_eq_nocase(local, ph_conf_value(e->conf, r->scope, "double_bounce_sender")))
        return 0;
    ph_why("double_bounce_sender", "mail for it is discarded");
    why_report_refuse(r, WHY_OK, PH_STR("accepted and discarded"));
    return 1;
}

/* Addresses as they stand in the log. */
static void put_result(struct why_report *r, const struct why_result *n)
{
    struct why_result shown = *n;
    ph_str *const all[] = { &shown.recipient, &shown.generic_sender, &shown.generic_recipient };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = ph_address_external(r->scope, *all[i]);
    why_report_result(r, &shown);
}

/* Where one recipient goes. */
static void resolve(struct why_engine *e, struct why_report *r, ph_str sender, ph_str address)
{
    struct ph_frame *f = why_question(r, "resolve", sender), *got;

    begin_stage(e, "resolve", e->rewrite);
    ph_frame_str(f, "address", address);
    if (why_call(r, "rewrite", f, &got) < 0) {
        why_note_failure(r);
        return;
    }
    struct why_result n = { .recipient = ph_frame_value(got, "recipient"), .class_ = ph_frame_value(got, "class"),
                            .transport = ph_frame_value(got, "transport"), .nexthop = ph_frame_value(got, "nexthop") };
    if (is_dropped(e, r, &n))
        return;
    const char *waits = hindrance(e, r->scope, n.transport);
    why_generic(e, r, sender, &n);
    put_result(r, &n);
    if (waits)
        why_report_refuse(r, WHY_TEMP, ph_cstr(waits));
    else if (is(n.transport, "error"))
        why_report_refuse(r, WHY_REFUSED, n.nexthop);
    else if (is(n.transport, "retry"))
        why_report_refuse(r, WHY_TEMP, n.nexthop);
    else if ((is(n.transport, "virtual") || is(n.transport, "local")) && exists(e, r, sender, n.recipient) && is(n.transport, "local"))
        why_alias(e, r, sender, &n);
}

/* The envelope as cleanup would hand it to the queue: 0 and its answer, or negative. */
static int map(struct why_engine *e, struct why_report *r, ph_str flags, ph_str sender, const struct why_rcpt *rcpts, struct ph_frame **got)
{
    struct ph_frame *f = why_question(r, "map", sender);

    begin_stage(e, "map", e->cleanup);
    ph_frame_str(f, "flags", flags);
    for (; rcpts; rcpts = rcpts->next)
        ph_frame_str(f, "address", rcpts->address);
    int rc = why_call(r, CLEANUP, f, got);
    if (rc == 0 && !ph_str_eq(ph_frame_value(*got, "sender"), sender))
        ph_why(NULL, "the sender becomes %.*s", PH_FMT(ph_address_external(r->scope, ph_frame_value(*got, "sender"))));
    return rc;
}

/* Each recipient that would be queued. */
static void resolve_all(struct why_engine *e, struct why_report *r, const struct ph_frame *mapped)
{
    ph_str name, value, sender = ph_frame_value(mapped, "sender");
    size_t at = 0;

    while (ph_frame_next(mapped, &at, &name, &value))
        if (ph_str_eq(name, PH_STR("recipient")))
            resolve(e, r, sender, value);
}

/* Cleanup refuses: a client hears its reply, which does not say why. */
static void note_refusal(const struct why_engine *e, struct why_report *r, const struct ph_frame *got)
{
    ph_str reply = got ? ph_frame_value(got, "reply") : PH_STR("");

    if (reply.n == 0) {
        why_note_failure(r);
    } else if (!e->smtpd) {
        why_report_refuse(r, WHY_TEMP, ph_str_printf(r->scope, "451 4.3.0 %s", ph_error()));
    } else {
        ph_why(NULL, "%s", ph_error());
        r->reply = reply;
        why_report_refuse(r, reply.p[0] == '5' ? WHY_REFUSED : WHY_TEMP, reply);
    }
}

void why_route(struct why_engine *e, struct why_report *r, const char *flags, ph_str sender, const struct why_rcpt *rcpts)
{
    struct ph_frame *mapped = NULL;

    if (map(e, r, ph_cstr(flags), sender, rcpts, &mapped) < 0)
        note_refusal(e, r, mapped);
    else
        resolve_all(e, r, mapped);
}

/* 1 when smtpd takes the message: then *rcpts are its recipients. */
static int is_accepted(struct why_engine *e, struct why_report *r, struct why_rcpt **rcpts, ph_str *flags)
{
    struct why_session x = { .scope = r->scope, .o = e->o, .smtpd = e->smtpd, .sender = external_of(r->scope, r->sender),
                             .address = external_of(r->scope, r->address) };

    begin_stage(e, "smtpd", e->smtpd);
    e->session = &x;
    int rc = why_session_run(&x);
    e->session = NULL;
    r->reply = x.reply;
    if (rc < 0) {
        why_note_failure(r);
        return 0;
    }
    if (x.code >= 400) {
        why_report_refuse(r, x.code < 500 ? WHY_TEMP : WHY_REFUSED, x.reply);
        return 0;
    }
    *rcpts = x.rcpts;
    *flags = x.flags;
    if (x.redirect.n) {
        ph_why(NULL, "an access table sends it to %.*s instead", PH_FMT(x.redirect));
        *rcpts = ph_new(r->scope, struct why_rcpt);
        (*rcpts)->address = x.redirect;
    }
    if (x.hold)
        ph_why(NULL, "the message waits in the hold queue until postsuper -H lets it go");
    if (!x.has_message)
        why_report_refuse(r, WHY_OK, PH_STR("accepted and discarded"));
    return x.has_message;
}

static void ask(struct why_engine *e, struct why_report *r)
{
    ph_str address = internal_of(r->scope, r->address), sender = internal_of(r->scope, r->sender), flags = PH_STR(LOCAL_FLAGS);
    struct why_rcpt own = { .address = address }, *rcpts = &own;

    e->followed = ph_map_new(r->scope);
    if (!e->smtpd || is_accepted(e, r, &rcpts, &flags))
        why_route(e, r, ph_cstr_dup(r->scope, flags), sender, rcpts);
}

struct why_report *why_engine_ask(struct why_engine *e, struct ph_scope *s, ph_str address, int lines)
{
    struct why_report *r = why_report_new(s, address, e->o->sender);

    e->report = r;
    e->sink.no_lines = !lines;
    struct ph_why_sink *old = ph_why_to(&e->sink);
    ask(e, r);
    ph_why_to(old);
    e->report = NULL;
    return r;
}
