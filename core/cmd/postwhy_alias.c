/* postwhy: aliases(5), as local(8) follows them: aliases of aliases, :include: files, and
 * what it hands to cleanup again, which then is routed as any other mail.  Files and
 * commands are named; .forward files belong to others, and are not read.  See postwhy.h. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/alias.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/service.h>
#include "core/cmd/postwhy_engine.h"

#define MEMBERS_MAX 1000u          /* looked at of one recipient */
#define INCLUDE_MAX (1u << 20)     /* bytes that are read of a file */

/* An alias that led here. */
struct name {
    const struct name *up;
    ph_str alias;
    int owned;                     /* its members get a message of its own */
    int depth;
};

struct walk {
    struct why_engine *e;
    struct why_report *r;
    ph_str sender, transport;
    unsigned members;
};

static void begin(const struct walk *w)
{
    w->e->stage = "alias";
    w->e->conf_now = w->e->conf;
}

static void see(struct walk *w, const struct name *up, ph_str address) PH_YIELDS;
static void members(struct walk *w, const struct name *up, ph_str list, int listed) PH_YIELDS;

/* ---- a user, or nobody ---- */

static int goes_on(const struct walk *w)
{
    static const char *const names[] = { "mailbox_transport", "mailbox_transport_maps", "fallback_transport", "fallback_transport_maps", "luser_relay" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ph_conf_value(w->e->conf, w->r->scope, names[i]).n) {
            ph_why(names[i], "decides, where .forward does not");
            return 1;
        }
    return 0;
}

static void see_user(const struct walk *w, ph_str local)
{
    ph_str user, ext;
    char delimiter;

    ph_address_extension(local, w->e->delimiters, &user, &ext, &delimiter);
    int known = getpwnam(ph_cstr_dup(w->r->scope, user)) != NULL;
    if (known)
        ph_why(NULL, "%.*s is a user: his .forward, or his mailbox", PH_FMT(user));
    if (goes_on(w) || known || ph_str_eq(user, PH_STR("postmaster")) || ph_str_eq(user, PH_STR("mailer-daemon")))
        return;
    ph_why(NULL, "%.*s is neither alias nor user", PH_FMT(user));
    why_report_refuse(w->r, WHY_REFUSED, ph_str_printf(w->r->scope, "5.1.1 unknown user: \"%.*s\"", PH_FMT(user)));
}

/* ---- members ---- */

/* A new message, through cleanup. */
static void see_forwarded(const struct walk *w, ph_str address)
{
    struct why_rcpt rcpt = { .address = address };

    ph_why(NULL, "%.*s gets a message of its own", PH_FMT(ph_address_external(w->r->scope, address)));
    w->e->nested++;
    why_route(w->e, w->r, "bounce map", w->sender, &rcpt);
    w->e->nested--;
}

static int ask(const struct walk *w, const char *op, ph_str address, struct ph_frame **got)
{
    struct ph_frame *f = why_question(w->r, op, PH_STR(""));

    ph_frame_str(f, "address", address);
    if (why_call(w->r, "rewrite", f, got) == 0)
        return 1;
    why_note_failure(w->r);
    return 0;
}

/* listed: named by a file of a list, not by an alias. */
static void see_address(struct walk *w, const struct name *up, ph_str in, int listed)
{
    struct ph_frame *got;
    ph_str whole;

    begin(w);
    if (!ask(w, "rewrite", ph_address_external(w->r->scope, in), &got))
        return;
    whole = ph_address_bare(w->r->scope, ph_frame_value(got, "address"));
    if (!ask(w, "resolve", whole, &got))
        return;
    if (ph_str_eq(ph_frame_value(got, "transport"), w->transport) && !listed && !up->owned)
        see(w, up, ph_frame_value(got, "recipient").n ? ph_frame_value(got, "recipient") : whole);
    else
        see_forwarded(w, whole);
}

/* The caller may be somebody who may not read it. */
static void see_file(struct walk *w, const struct name *up, ph_str path)
{
    struct name here = { .up = up, .alias = path, .owned = up->owned, .depth = up->depth + 1 };
    FILE *f = fopen(ph_cstr_dup(w->r->scope, path), "re");
    ph_str line;
    size_t at = 0;

    ph_why(NULL, "the members in %.*s%s%s", PH_FMT(path), f ? "" : " cannot be read here: ", f ? "" : strerror(errno));
    if (!f)
        return;
    char *text = ph_alloc(w->r->scope, INCLUDE_MAX);
    ph_str all = { text, fread(text, 1, INCLUDE_MAX, f) };
    fclose(f);
    while (ph_alias_line(all, &at, &line))
        members(w, &here, line, 1);
}

static void see_member(struct walk *w, const struct name *up, const struct ph_alias_item *d, int listed)
{
    begin(w);
    switch (d->kind) {
    case PH_ALIAS_COMMAND: ph_why(NULL, "command %.*s", PH_FMT(d->text)); break;
    case PH_ALIAS_FILE:    ph_why(NULL, "file %.*s", PH_FMT(d->text)); break;
    case PH_ALIAS_INCLUDE: see_file(w, up, d->text); break;
    case PH_ALIAS_MAILBOX:
        if (!listed && !up->owned) {
            ph_why(NULL, "the mailbox of %.*s", PH_FMT(d->text));
            break;
        }
        see_address(w, up, d->text, listed);
        break;
    default: see_address(w, up, d->text, listed);
    }
}

static void members(struct walk *w, const struct name *up, ph_str list, int listed)
{
    struct ph_alias_item d;
    struct ph_alias_walk walk = { 0 };
    int rc;

    if (up->depth > 20) {
        ph_why(NULL, "and deeper, which is not looked at");
        return;
    }
    while ((rc = ph_alias_next(w->r->scope, list, &walk, &d)) != 0) {
        if (rc < 0)
            ph_why(NULL, "a destination cannot be read: %s", ph_error());
        else if (w->members++ < MEMBERS_MAX)
            see_member(w, up, &d, listed);
        else
            break;
    }
    if (w->members == MEMBERS_MAX + 1)
        ph_why(NULL, "and more members, which are not looked at");
}

/* ---- names ---- */

static int is_in_chain(const struct name *n, ph_str alias)
{
    for (; n; n = n->up)
        if (ph_str_eq_nocase(n->alias, alias))
            return 1;
    return 0;
}

static int has_owner(const struct walk *w, ph_str alias)
{
    ph_str value, ext;

    return !ph_str_starts(alias, PH_STR("owner-")) &&
           ph_maps_find_address(w->e->aliases, ph_str_printf(w->r->scope, "owner-%.*s", PH_FMT(alias)), PH_STR(""), 1, w->r->scope, &value, &ext) == PH_FOUND;
}

/* What the alias database has for a name of ours. */
static void see(struct walk *w, const struct name *up, ph_str address)
{
    struct name here = { .up = up, .depth = up ? up->depth + 1 : 0 };
    ph_str local, domain, value, ext;

    begin(w);
    ph_address_split(address, &local, &domain);
    local = ph_str_lower(w->r->scope, local);
    /* joe: joe, archive: the member is the user. */
    if (up && ph_str_eq_nocase(up->alias, local)) {
        see_user(w, local);
        return;
    }
    int rc = ph_maps_find_address(w->e->aliases, local, w->e->delimiters, 1, w->r->scope, &value, &ext);
    if (rc < 0)
        why_note_failure(w->r);
    else if (rc == PH_NONE && up)
        see_user(w, local);
    if (rc != PH_FOUND)
        return;
    here.alias = ph_str_first(local, local.n - ext.n);
    if (is_in_chain(up, here.alias)) {
        ph_why(NULL, "alias database loop for %.*s", PH_FMT(here.alias));
        why_report_refuse(w->r, WHY_REFUSED, ph_str_printf(w->r->scope, "5.4.6 alias database loop for %.*s", PH_FMT(up->alias)));
        return;
    }
    here.owned = has_owner(w, here.alias);
    if (here.owned)
        ph_why(NULL, "owner-%.*s is the sender for its members", PH_FMT(here.alias));
    members(w, &here, value, 0);
}

void why_alias(struct why_engine *e, struct why_report *r, ph_str sender, const struct why_result *n)
{
    struct walk w = { .e = e, .r = r, .sender = sender, .transport = n->transport };
    const struct ph_service_def *d = ph_master_find_unix(e->master, n->transport);

    if (!d || !ph_str_eq(d->code, PH_STR("local")) || ph_map_set(e->followed, ph_str_lower(r->scope, n->recipient), e))
        return;                    /* another program has that name, or it was told before */
    see(&w, NULL, n->recipient);
}
