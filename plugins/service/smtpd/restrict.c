/* restrict: restriction lists: reading them at start, running them.
 *
 * An unknown name, a missing argument or a table that cannot be opened ends
 * the start: a server that runs without one of its rules would be open.  When
 * a rule cannot decide, the answer is 4xx. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/why.h>
#include "smtpd.h"

#define DEPTH_MAX 100
#define STICKY_MAX 512u            /* of the reply that a HELO left behind */

enum kind { RULE_PERMIT, RULE_REJECT, RULE_DEFER, RULE_DEFER_IF_PERMIT, RULE_DEFER_IF_REJECT, RULE_PIPELINING, RULE_CLASS, RULE_CHECK };

struct rule {
    struct rule *next;
    enum kind kind;
    int warn;                      /* warn_if_reject stood in front */
    const char *name;
    struct rule_list *list;        /* of a class */
    struct ph_restriction *check;
    int is_table;                  /* check_*_access: the answer is a reason, not a reply */
};

static const struct { const char *name; enum kind kind; } words[] = {
    { "permit", RULE_PERMIT }, { "reject", RULE_REJECT }, { "defer", RULE_DEFER }, { "defer_if_permit", RULE_DEFER_IF_PERMIT },
    { "defer_if_reject", RULE_DEFER_IF_REJECT }, { "reject_unauth_pipelining", RULE_PIPELINING },
};

/* ---- reading ---- */

/* What "type:table" alone means in each list. */
static const char *natural(const char *list)
{
    if (strstr(list, "client"))
        return "check_client_access";
    if (strstr(list, "helo"))
        return "check_helo_access";
    if (strstr(list, "etrn"))
        return "check_etrn_access";
    return strstr(list, "sender") ? "check_sender_access" : "check_recipient_access";
}

static int open_check(struct smtpd_conf *c, struct ph_scope *s, struct rule *r, ph_str name, ph_str argument)
{
    int rc = ph_restriction_open(c->conf, s, name, argument, &r->check);

    if (rc < 0)
        return rc;
    r->kind = RULE_CHECK;
    r->name = r->check->name;
    r->is_table = ph_str_starts(name, PH_STR("check_")) && ph_str_ends(name, PH_STR("_access"));
    return 0;
}

static int is_word(struct rule *r, ph_str word)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ph_str_eq(word, ph_cstr(words[i].name))) {
            r->kind = words[i].kind;
            r->name = words[i].name;
            return 1;
        }
    return 0;
}

/* One entry; its argument, when it takes one, is cut off *list. */
static int read_rule(struct smtpd_conf *c, struct ph_scope *s, const char *what, ph_str word, ph_str *list, struct rule *r)
{
    int rc;

    if (is_word(r, word))
        return 0;
    if ((r->list = ph_map_get(c->classes, word))) {
        r->kind = RULE_CLASS;
        r->name = r->list->name;
        return 0;
    }
    if (ph_str_find(word, ':') > 0)
        return open_check(c, s, r, ph_cstr(natural(what)), word);
    if ((rc = ph_restriction_has_argument(word)) < 0)
        return rc;
    ph_str argument = rc == PH_FOUND ? ph_str_list(list) : PH_STR("");
    return open_check(c, s, r, word, argument);
}

static int read_list(struct smtpd_conf *c, struct ph_scope *s, const char *what, ph_str list, struct rule_list *out)
{
    ph_str word;
    int warn = 0, ended = 0;

    out->name = what;
    out->first = NULL;
    out->last = &out->first;
    while ((word = ph_str_list(&list)).n) {
        if (ph_str_eq(word, PH_STR("warn_if_reject"))) {
            warn = 1;
            continue;
        }
        struct rule *r = ph_new(s, struct rule);
        int rc = read_rule(c, s, what, word, &list, r);
        if (rc < 0)
            return ph_wrap(rc, "%s", what);
        if (ended)
            ph_log_warn("%s: restriction %s after a permit, reject or defer is ignored", what, r->name);
        r->warn = warn;
        ended = !warn && (r->kind == RULE_PERMIT || r->kind == RULE_REJECT || r->kind == RULE_DEFER);
        warn = 0;
        *out->last = r;
        out->last = &r->next;
    }
    return 0;
}

/* Does the list end in a refusal of strangers somewhere?  Section "relay guard". */
static int guards(const struct rule_list *l, int depth)
{
    for (const struct rule *r = l->first; r && depth < DEPTH_MAX; r = r->next) {
        if (r->warn)
            continue;
        if (r->kind == RULE_REJECT || r->kind == RULE_DEFER || r->kind == RULE_DEFER_IF_PERMIT)
            return 1;
        if (r->kind == RULE_CHECK && (strcmp(r->name, "reject_unauth_destination") == 0 || strcmp(r->name, "defer_unauth_destination") == 0))
            return 1;
        if (r->kind == RULE_CLASS && guards(r->list, depth + 1))
            return 1;
    }
    return 0;
}

/* Classes may name each other: all names first, then their lists. */
static int open_classes(struct smtpd_conf *c)
{
    ph_str list = c->p.classes, word, text;
    int rc;

    c->classes = ph_map_new(c->scope);
    while ((word = ph_str_list(&list)).n) {
        struct rule_list *l = ph_new(c->scope, struct rule_list);

        l->name = ph_cstr_dup(c->scope, word);
        l->last = &l->first;
        ph_map_set(c->classes, word, l);
    }
    list = c->p.classes;
    while ((word = ph_str_list(&list)).n) {
        struct rule_list *l = ph_map_get(c->classes, word);

        if ((rc = ph_conf_get(c->conf, c->scope, l->name, &text)) != PH_FOUND)
            return rc < 0 ? rc : ph_fail(PH_CONF, "smtpd_restriction_classes: %s is not defined", l->name);
        if ((rc = read_list(c, c->scope, l->name, text, l)) < 0)
            return rc;
    }
    return 0;
}

int restrict_open(struct smtpd_conf *c)
{
    const struct { const char *name; ph_str text; } lists[LISTS] = {
        [LIST_CLIENT] = { "smtpd_client_restrictions", c->p.client_list }, [LIST_HELO] = { "smtpd_helo_restrictions", c->p.helo_list },
        [LIST_SENDER] = { "smtpd_sender_restrictions", c->p.sender_list }, [LIST_RELAY] = { "smtpd_relay_restrictions", c->p.relay_list },
        [LIST_RECIPIENT] = { "smtpd_recipient_restrictions", c->p.recipient_list }, [LIST_DATA] = { "smtpd_data_restrictions", c->p.data_list },
        [LIST_EOD] = { "smtpd_end_of_data_restrictions", c->p.eod_list }, [LIST_ETRN] = { "smtpd_etrn_restrictions", c->p.etrn_list },
    };
    int rc = open_classes(c);

    for (int i = 0; rc == 0 && i < LISTS; i++)
        rc = read_list(c, c->scope, lists[i].name, lists[i].text, &c->list[i]);
    if (rc < 0)
        return rc;
    if (!guards(&c->list[LIST_RELAY], 0) && !guards(&c->list[LIST_RECIPIENT], 0))
        return ph_fail(PH_CONF, "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: "
                       "reject_unauth_destination, defer_unauth_destination, reject, defer, defer_if_permit: anybody could relay");
    if (c->p.unlisted_rcpt && c->check_unlisted && (rc = ph_restriction_open(c->conf, c->scope, PH_STR("reject_unlisted_recipient"), PH_STR(""), &c->unlisted_rcpt)) < 0)
        return rc;
    return c->p.unlisted_sender && c->check_unlisted ? ph_restriction_open(c->conf, c->scope, PH_STR("reject_unlisted_sender"), PH_STR(""), &c->unlisted_sender) : 0;
}

/* ---- running ---- */

struct run {
    struct session *s;
    struct ph_scope *out;
    uint32_t stage;
    const char *where;
    ph_str rcpt;
    ph_str defer_if_permit, defer_if_reject;
    int cancelled, saw_unlisted;
    enum list list;                /* the one that runs: what "reject" in it is about */
};

static struct subject subject_of(const struct run *x, uint32_t needs)
{
    struct session *s = x->s;

    switch (needs) {
    case PH_STAGE_HELO: return (struct subject){ "Helo command", s->helo };
    case PH_STAGE_MAIL: return (struct subject){ "Sender address", s->t.sender };
    case PH_STAGE_RCPT: return (struct subject){ "Recipient address", x->rcpt };
    case PH_STAGE_ETRN: return (struct subject){ "Etrn command", s->facts.etrn_domain };
    default: return (struct subject){ "Client host", s->name_addr };
    }
}

/* What a table looks at: by its name. */
static uint32_t needs_of(const char *name)
{
    if (strstr(name, "helo"))
        return PH_STAGE_HELO;
    if (strstr(name, "etrn"))
        return PH_STAGE_ETRN;
    if (strstr(name, "sender"))
        return PH_STAGE_MAIL;
    return strstr(name, "recipient") ? PH_STAGE_RCPT : PH_STAGE_CONNECT;
}

/* What a table of that name looks at. */
static struct subject subject_of_table(const struct run *x, const char *name)
{
    if (strstr(name, "reverse_client"))
        return (struct subject){ "Unverified Client host", x->s->w.reverse };
    return subject_of(x, needs_of(name));
}

static struct subject subject_of_list(const struct run *x)
{
    switch (x->list) {
    case LIST_CLIENT: return subject_of(x, PH_STAGE_CONNECT);
    case LIST_HELO: return subject_of(x, PH_STAGE_HELO);
    case LIST_SENDER: return subject_of(x, PH_STAGE_MAIL);
    case LIST_DATA: return (struct subject){ "Data command", PH_STR("DATA") };
    case LIST_EOD: return (struct subject){ "End-of-data", PH_STR("END-OF-MESSAGE") };
    case LIST_ETRN: return subject_of(x, PH_STAGE_ETRN);
    case LIST_RELAY:
    case LIST_RECIPIENT:
    case LISTS: break;
    }
    return subject_of(x, PH_STAGE_RCPT);
}

static void fill_facts(struct run *x)
{
    struct session *s = x->s;
    struct ph_policy_facts *f = &s->facts;
    uint64_t bytes = x->stage == PH_STAGE_EOD ? f->message_bytes : s->t.args.size;

    *f = (struct ph_policy_facts){
        .size = sizeof *f, .stage = x->stage, .client_name = s->w.name, .client_address = s->w.addr, .reverse_name = s->w.reverse,
        .client_port = s->w.port, .client_name_status = ph_cstr(s->w.name_status), .server_address = s->w.server_addr,
        .server_port = s->w.server_port, .helo = s->helo, .protocol = s->esmtp ? PH_STR("ESMTP") : PH_STR("SMTP"), .sender = s->t.sender,
        .recipient = x->rcpt, .queue_id = s->t.queue_id, .message_bytes = bytes, .recipient_count = s->t.rcpt_count,
        .has_sender = (uint32_t)s->t.open, .has_recipient = x->rcpt.n > 0, .has_helo = s->helo.n > 0, .instance = s->t.instance,
        .sasl_method = s->w.sasl_method, .sasl_username = s->w.sasl_user,
        .sasl_sender = s->t.args.auth, .reverse_name_status = ph_cstr(s->w.reverse_status), .etrn_domain = f->etrn_domain,
    };
}

static enum verdict run_list(struct run *x, const struct rule_list *l, int warn, int depth, ph_str *text);

/* A table may answer with names of restrictions. */
static enum verdict run_names(struct run *x, ph_str names, int warn, int depth, ph_str *text)
{
    struct rule_list l;

    if (depth >= DEPTH_MAX || read_list(x->s->c, x->out, "access table", names, &l) < 0) {
        ph_log_warn("%s", depth >= DEPTH_MAX ? "restrictions are nested too deep" : ph_error());
        return V_FAIL;
    }
    return run_list(x, &l, warn, depth + 1, text);
}

static enum verdict failed(struct run *x, const struct rule *r, ph_str *text)
{
    struct subject sub = r->is_table ? subject_of_table(x, r->name) : subject_of_list(x);

    ph_log_warn("%.*s: %s", PH_FMT(x->s->name_addr), ph_error());
    *text = r->is_table ? ph_str_printf(x->out, "451 4.3.5 <%.*s>: %s rejected: Server configuration error", PH_FMT(ph_str_first(sub.name, 200)), sub.class_)
                        : ph_str_printf(x->out, "451 4.3.0 <%.*s>: Temporary lookup failure", PH_FMT(ph_str_first(sub.name, 200)));
    return V_REJECT;
}

/* smtpd_log_access_permit_actions: who let it pass. */
static void log_permit(struct run *x, ph_str action, struct subject sub, ph_str table)
{
    struct ph_match *m = x->s->c->permit_actions;

    if (!m || ph_match(m, action, PH_STR("")) != PH_FOUND)
        return;
    log_decision(x->s, "permit", x->where,
                 ph_str_printf(x->out, "action=%.*s for %s=%.*s %s%.*s", PH_FMT(action), sub.class_, PH_FMT(ph_str_first(sub.name, 200)), table.n ? "from " : "",
                               PH_FMT(table)), x->rcpt);
}

/* A restriction that is no table, or what a table said, let it pass. */
static void check_passed(struct run *x, const struct rule *r, ph_str action, struct subject sub)
{
    ph_str word = ph_str_word(&action);

    if (!r->is_table)
        log_permit(x, ph_cstr(r->name), subject_of(x, strstr(r->name, "destination") ? PH_STAGE_RCPT : PH_STAGE_CONNECT), PH_STR(""));
    else if (!ph_str_eq_nocase(word, PH_STR("DISCARD")))
        log_permit(x, word, sub, r->check->argument);
}

static enum verdict run_check(struct run *x, const struct rule *r, int warn, int depth, ph_str *text)
{
    struct subject sub = subject_of_table(x, r->name);
    ph_str action;

    fill_facts(x);
    int rc = ph_restriction_check(r->check, &x->s->facts, x->out, &action);
    if (strcmp(r->name, "reject_unlisted_recipient") == 0)
        x->saw_unlisted = 1;
    if (rc == PH_CANCEL) {
        x->cancelled = 1;
        return V_REJECT;
    }
    if (rc == PH_NONE)
        return V_DUNNO;
    if (rc < 0)
        return failed(x, r, text);
    /* The sticky flag of the session is known here, not to the plugin. */
    enum verdict v = action_parse(x->s, x->out, r->is_table ? &sub : NULL, x->where, x->rcpt, action, text);
    if (v == V_OK)
        check_passed(x, r, action, sub);
    if (v == V_RULES)
        v = run_names(x, *text, warn, depth, text);
    if (v == V_FAIL) {
        *text = PH_STR("451 4.3.5 Server configuration error");
        return V_REJECT;
    }
    return v;
}

static enum verdict run_rule(struct run *x, const struct rule *r, int warn, int depth, ph_str *text)
{
    struct smtpd_params *p = &x->s->c->p;
    struct subject sub = subject_of_list(x);

    switch (r->kind) {
    case RULE_PERMIT:
        log_permit(x, ph_cstr(r->name), sub, PH_STR(""));
        return V_OK;
    case RULE_REJECT:
        *text = ph_str_printf(x->out, "%lld %c.7.1 <%.*s>: %s rejected: Access denied", (long long)p->reject_code, p->reject_code < 500 ? '4' : '5',
                              PH_FMT(ph_str_first(sub.name, 200)), sub.class_);
        return V_REJECT;
    case RULE_DEFER:
        *text = ph_str_printf(x->out, "%lld 4.3.2 <%.*s>: %s rejected: Try again later", (long long)p->defer_code, PH_FMT(ph_str_first(sub.name, 200)), sub.class_);
        return V_REJECT;
    case RULE_DEFER_IF_PERMIT:
    case RULE_DEFER_IF_REJECT:
        *text = ph_str_printf(x->out, "450 4.7.0 <%.*s>: %s rejected: %s requested", PH_FMT(ph_str_first(sub.name, 200)), sub.class_, r->name);
        return r->kind == RULE_DEFER_IF_PERMIT ? V_DEFER_IF_PERMIT : V_DEFER_IF_REJECT;
    case RULE_PIPELINING:
        if (!x->s->bad_pipelining)
            return V_DUNNO;
        *text = ph_str_printf(x->out, "503 5.5.0 <%.*s>: %s rejected: Improper use of SMTP command pipelining", PH_FMT(ph_str_first(sub.name, 200)), sub.class_);
        return V_REJECT;
    case RULE_CLASS:
        return run_list(x, r->list, warn, depth + 1, text);
    case RULE_CHECK:
        return run_check(x, r, warn, depth, text);
    }
    return V_DUNNO;
}

/* To who asks why: the rule and what it said. */
static void tell(const struct run *x, const char *list, const struct rule *r, int warn, enum verdict v, ph_str text)
{
    static const char *const verdicts[] = {
        [V_DUNNO] = "DUNNO", [V_OK] = "OK", [V_REJECT] = "REJECT", [V_DEFER_IF_PERMIT] = "DEFER_IF_PERMIT", [V_DEFER_IF_REJECT] = "DEFER_IF_REJECT",
        [V_RULES] = "DUNNO", [V_FAIL] = "REJECT",
    };
    int has_text = v != V_DUNNO && v != V_OK;
    ph_str argument = r->check ? r->check->argument : PH_STR("");

    ph_why_put(&(struct ph_why_step){
        .size = sizeof(struct ph_why_step), .kind = PH_WHY_RULE, .what = list,
        .table = ph_str_printf(x->out, "%s%s%s%.*s", warn ? "warn_if_reject " : "", r->name, argument.n ? " " : "", PH_FMT(argument)),
        .value = ph_str_printf(x->out, "%s%s%.*s", verdicts[v], has_text ? " " : "", PH_FMT(has_text ? text : PH_STR(""))),
    });
}

/* V_DUNNO: the list came to its end; V_OK, V_REJECT: it ended there. */
static enum verdict run_list(struct run *x, const struct rule_list *l, int warn, int depth, ph_str *text)
{
    if (depth > DEPTH_MAX) {
        ph_log_warn("restrictions are nested too deep in %s", l->name);
        *text = PH_STR("451 4.3.5 Server configuration error");
        return V_REJECT;
    }
    for (const struct rule *r = l->first; r; r = r->next) {
        enum verdict v = run_rule(x, r, warn || r->warn, depth, text);

        if (ph_why_is_on())
            tell(x, l->name, r, warn || r->warn, v, *text);
        if (x->cancelled || v == V_OK)
            return v;
        if (v == V_DEFER_IF_PERMIT && !(warn || r->warn) && x->defer_if_permit.n == 0)
            x->defer_if_permit = *text;
        if (v == V_DEFER_IF_REJECT && !(warn || r->warn) && x->defer_if_reject.n == 0)
            x->defer_if_reject = *text;
        if (v != V_REJECT)
            continue;
        /* A failure to decide is no rejection that could be waived. */
        if (!(warn || r->warn) || ph_str_starts(*text, PH_STR("451 4.3.")))
            return v;
        log_decision(x->s, "reject_warning", x->where, *text, x->rcpt);
    }
    return V_DUNNO;
}

/* The lists of a stage, in order; -1 ends. */
static const int *order_of(const struct session *s, uint32_t stage)
{
    static const int client[] = { LIST_CLIENT, -1 }, helo[] = { LIST_HELO, -1 }, sender[] = { LIST_SENDER, -1 }, data[] = { LIST_DATA, -1 },
                     eod[] = { LIST_EOD, -1 }, none[] = { -1 }, relay_first[] = { LIST_CLIENT, LIST_HELO, LIST_SENDER, LIST_RELAY, LIST_RECIPIENT, -1 },
                     relay_last[] = { LIST_CLIENT, LIST_HELO, LIST_SENDER, LIST_RECIPIENT, LIST_RELAY, -1 },
                     etrn[] = { LIST_CLIENT, LIST_HELO, LIST_ETRN, -1 };
    int skip = s->c->p.delay_reject ? 0 : 3, skip_etrn = s->c->p.delay_reject ? 0 : 2;

    switch (stage) {
    case PH_STAGE_CONNECT: return client;
    case PH_STAGE_HELO: return helo;
    case PH_STAGE_MAIL: return sender;
    case PH_STAGE_RCPT:
    case PH_STAGE_VRFY: return (s->c->p.relay_first ? relay_first : relay_last) + skip;
    case PH_STAGE_DATA: return data;
    case PH_STAGE_EOD: return eod;
    case PH_STAGE_ETRN: return etrn + skip_etrn;
    default: return none;
    }
}

static enum verdict run_unlisted(struct run *x, struct ph_restriction *r, const char *parameter, ph_str *text)
{
    struct rule rule = { .kind = RULE_CHECK, .name = r->name, .check = r };
    enum verdict v = run_check(x, &rule, 0, 0, text);

    if (ph_why_is_on())
        tell(x, parameter, &rule, 0, v, *text);
    return v;
}

/* With smtpd_delay_reject = no a "defer_if_permit" of an early list is kept for
 * the later ones, each on what lives as long as its subject. */
static void inherit(struct run *x)
{
    const struct session *s = x->s;

    if (s->c->p.delay_reject || x->stage == PH_STAGE_CONNECT || x->stage == PH_STAGE_DATA || x->stage == PH_STAGE_EOD)
        return;
    x->defer_if_permit = s->sticky_client;
    if (x->stage != PH_STAGE_HELO && s->sticky_helo.n)
        x->defer_if_permit = s->sticky_helo;
    if (x->stage == PH_STAGE_RCPT && s->t.sticky.n)
        x->defer_if_permit = s->t.sticky;
}

/* HELO may come often: one place for what it leaves. */
static ph_str keep_sticky(struct session *s, ph_str text)
{
    text = ph_str_first(text, STICKY_MAX);
    if (!s->sticky_text)
        s->sticky_text = ph_alloc(s->scope, STICKY_MAX);
    memcpy(s->sticky_text, text.p, text.n);
    return (ph_str){ s->sticky_text, text.n };
}

/* 1 when the stage only raised the flag: the command goes on. */
static int bequeath(struct run *x)
{
    struct session *s = x->s;

    if (s->c->p.delay_reject || x->defer_if_permit.n == 0)
        return 0;
    if (x->stage == PH_STAGE_CONNECT)
        s->sticky_client = ph_str_dup(s->scope, x->defer_if_permit);
    else if (x->stage == PH_STAGE_HELO)
        s->sticky_helo = keep_sticky(s, x->defer_if_permit);
    else if (x->stage == PH_STAGE_MAIL)
        s->t.sticky = ph_str_dup(transaction_scope(s), x->defer_if_permit);
    else
        return 0;
    x->defer_if_permit = PH_STR("");
    return 1;
}

static enum verdict run_stage(struct run *x, ph_str *text)
{
    struct session *s = x->s;
    enum verdict v = V_DUNNO;

    for (const int *at = order_of(s, x->stage); *at >= 0; at++) {
        x->list = (enum list)*at;
        if ((v = run_list(x, &s->c->list[*at], 0, 0, text)) == V_REJECT)
            return v;
    }
    x->list = LIST_RECIPIENT;
    if (!bequeath(x) && x->defer_if_permit.n) {
        *text = x->defer_if_permit;
        return V_REJECT;
    }
    if (x->stage == (s->c->p.delay_reject ? PH_STAGE_RCPT : PH_STAGE_MAIL) && s->c->unlisted_sender && s->t.sender.n &&
        (v = run_unlisted(x, s->c->unlisted_sender, "smtpd_reject_unlisted_sender", text)) == V_REJECT)
        return v;
    if ((x->stage == PH_STAGE_RCPT || x->stage == PH_STAGE_VRFY) && s->c->unlisted_rcpt && !x->saw_unlisted)
        return run_unlisted(x, s->c->unlisted_rcpt, "smtpd_reject_unlisted_recipient", text);
    return v;
}

int restrict_stage(struct session *s, uint32_t stage, const char *where, ph_str rcpt, ph_str *text)
{
    struct ph_scope *keep = transaction_scope(s);
    PH_SCOPED(out, keep);
    struct run x = { .s = s, .out = out, .stage = stage, .where = where, .rcpt = rcpt };
    ph_str why = PH_STR("");
    inherit(&x);
    enum verdict v = run_stage(&x, &why);

    if (x.cancelled)
        return PH_CANCEL;
    if (v != V_REJECT)
        return PH_NONE;
    if (why.n && why.p[0] == '5' && x.defer_if_reject.n)
        why = x.defer_if_reject;
    *text = ph_str_dup(keep, why.n ? why : PH_STR("451 4.3.5 Server configuration error"));
    return PH_FOUND;
}
