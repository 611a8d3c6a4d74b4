/* address_map: one address through the tables of one feature.  See
 * posthorn/address_map.h; address_expand.c has what looks up results in turn. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/fold.h>
#include <posthorn/log.h>
#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include "core/plugin/address_map.h"

#define ASK_ADDRESSES 1000u        /* in one request to rewrite */
#define ASK_BYTES     (PH_FRAME_MAX / 4)

int ph_address_rules_open(struct ph_conf *c, struct ph_scope *s, struct ph_address_rules **out)
{
    struct ph_address_rules *r = ph_new(s, struct ph_address_rules);
    int rc = ph_conf_get_bool(c, "append_dot_mydomain", &r->append_domain);

    if (rc < 0)
        return rc;
    r->scope = s;
    r->conf = c;
    r->origin = ph_conf_value(c, s, "myorigin");
    r->delimiters = ph_conf_value(c, s, "recipient_delimiter");
    r->propagate = ph_conf_value(c, s, "propagate_unmatched_extensions");
    *out = r;
    return 0;
}

static int is_named(ph_str list, const char *name)
{
    for (ph_str word; (word = ph_str_list(&list)).n; )
        if (ph_str_eq_nocase(word, ph_cstr(name)))
            return 1;
    return 0;
}

/* Which domains are local, once there is a map to ask for a user of them. */
static int open_local(struct ph_address_rules *r)
{
    if (r->local)
        return 0;
    int rc = ph_own_addresses(r->conf, r->scope, &r->own, &r->own_count);
    return rc < 0 ? rc : ph_match_open(r->conf, r->scope, "mydestination", ph_conf_value(r->conf, r->scope, "mydestination"), PH_MATCH_STRING,
                                       &r->local);
}

int ph_address_map_open(struct ph_address_rules *r, const char *what, ph_str list, const char *feature, struct ph_address_map **out)
{
    struct ph_address_map *m = ph_new(r->scope, struct ph_address_map);
    int rc = ph_maps_open(r->conf, r->scope, what, list, PH_MAPS_FOLD, &m->maps);

    *out = NULL;
    if (rc < 0 || ph_maps_is_empty(m->maps))
        return rc;
    m->rules = r;
    m->what = what;
    m->keeps_ext = feature && is_named(r->propagate, feature);
    if ((rc = open_local(r)) < 0)
        return rc;
    *out = m;
    return 0;
}

/* ---- standard form ---- */

/* Behind the last "@" outside quotes; 0: there is none. */
static size_t domain_of(ph_str external)
{
    size_t behind = 0;
    int quoted = 0;

    if (ph_str_find(external, '"') < 0 && ph_str_find(external, '\\') < 0)
        return (size_t)(ph_str_rfind(external, '@') + 1);
    for (size_t i = 0; i < external.n; i++)
        if (external.p[i] == '\\')
            i++;
        else if (external.p[i] == '"')
            quoted = !quoted;
        else if (external.p[i] == '@' && !quoted)
            behind = i + 1;
    return behind;
}

int ph_address_is_whole(const struct ph_address_rules *r, ph_str external)
{
    size_t at = domain_of(external);
    ph_str domain = ph_str_from(external, at);

    return at > 1 && domain.n && external.p[0] != '@' && domain.p[domain.n - 1] != '.' &&
           (!r->append_domain || domain.p[0] == '[' || ph_str_find(domain, '.') >= 0);
}

/* Send the question that is ready, and put the answers where `at` says. */
static int ask(struct ph_scope *s, const struct ph_frame *question, ph_str *list, const size_t *at, size_t n)
{
    struct ph_frame *reply;
    size_t walk = 0, got = 0;
    ph_str name, value;
    int rc = ph_service_call(s, "rewrite", question, &reply);

    if (rc < 0)
        return rc == PH_CANCEL ? rc : ph_wrap(PH_TEMP, "completing an address");
    if (!ph_str_eq(ph_frame_value(reply, "status"), PH_STR("ok")))
        return ph_fail(PH_TEMP, "rewrite: %.*s", PH_FMT(ph_frame_value(reply, "reason")));
    while (ph_frame_next(reply, &walk, &name, &value))
        if (ph_str_eq(name, PH_STR("address")) && got < n)
            list[at[got++]] = ph_address_bare(s, value);
    return got == n ? 0 : ph_fail(PH_TEMP, "rewrite: %zu answers to %zu questions", got, n);
}

int ph_address_complete(const struct ph_address_rules *r, struct ph_scope *s, const char *context, ph_str *list, size_t n)
{
    size_t i = 0;

    while (i < n) {
        struct ph_frame *f = NULL;
        size_t *at = NULL, count = 0, bytes = 0;

        for (; i < n && count < ASK_ADDRESSES && bytes < ASK_BYTES; i++) {
            if (list[i].n == 0 || ph_address_is_whole(r, list[i])) {
                list[i] = ph_address_bare(s, list[i]);
                continue;
            }
            if (!f) {
                f = ph_frame_new(s);
                at = ph_alloc_array(s, n - i < ASK_ADDRESSES ? n - i : ASK_ADDRESSES, sizeof *at);
                ph_frame_cstr(f, "op", "rewrite");
                ph_frame_cstr(f, "context", context);
            }
            ph_frame_str(f, "address", list[i]);
            at[count++] = i;
            bytes += list[i].n + 16;
        }
        int rc = count ? ask(s, f, list, at, count) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- look-up ---- */

static int is_own_literal(const struct ph_address_rules *r, ph_str domain)
{
    struct ph_ip ip = { 0 };

    if (domain.p[0] != '[' || !ph_ip_parse(domain, &ip))
        return 0;
    return ph_ip_is_among(&ip, r->own, r->own_count);
}

/* Is a user alone a key for addresses of that domain?  1, 0, negative. */
static int is_local(const struct ph_address_rules *r, ph_str domain)
{
    if (domain.n == 0 || ph_str_eq_nocase(domain, r->origin) || is_own_literal(r, domain))
        return 1;
    int rc = ph_match(r->local, domain, PH_STR(""));
    return rc < 0 ? rc : rc == PH_FOUND;
}

/* A table's trouble, whatever it is called there, is no verdict about the mail. */
static int trouble(const struct ph_address_map *m, int rc)
{
    return ph_wrap(rc == PH_CANCEL || rc == PH_TIMEOUT ? rc : PH_TEMP, "%s", m->what);
}

/* As ph_address_map_find; *unmatched is the end of the user that was no part of the key, kept or not. */
static int find(struct ph_address_map *m, ph_str address, struct ph_scope *out, ph_str *value, ph_str *unmatched)
{
    ph_str local, domain;

    if (!m || address.n == 0)
        return PH_NONE;
    ph_address_split(address, &local, &domain);
    int ours = is_local(m->rules, domain);
    if (ours < 0)
        return trouble(m, ours);
    int rc = ph_maps_find_address(m->maps, address, m->rules->delimiters, ours, out, value, unmatched);
    return rc < 0 ? trouble(m, rc) : rc;
}

int ph_address_map_find(struct ph_address_map *m, ph_str address, struct ph_scope *out, ph_str *value, ph_str *ext)
{
    int rc = find(m, address, out, value, ext);

    if (rc == PH_FOUND && !m->keeps_ext)
        *ext = PH_STR("");
    return rc;
}

/* ---- results ---- */

/* The addresses of a value, in external form: 0, or PH_TEMP. */
static int parse_value(struct ph_scope *s, ph_str value, ph_str **list, size_t *n)
{
    if (ph_address_all(s, value, list, n) < 0)
        return ph_fail(PH_TEMP, "bad value \"%.*s\"", PH_FMT(ph_str_first(value, 200)));
    return *n ? 0 : ph_fail(PH_TEMP, "a value without an address");
}

/* "@other" in front keeps the user of the address, as far as the key had it. */
static void keep_user(struct ph_scope *s, ph_str *list, ph_str address, size_t unmatched)
{
    ph_str user, domain;

    if (list[0].p[0] != '@')
        return;
    ph_address_split(address, &user, &domain);
    user.n -= unmatched;
    list[0] = ph_address_external(s, ph_str_printf(s, "%.*s%.*s", PH_FMT(user), PH_FMT(list[0])));
}

static void append(struct ph_scope *s, ph_str *a, ph_str ext)
{
    ph_str user, domain;

    ph_address_split(*a, &user, &domain);
    *a = ph_str_printf(s, "%.*s%.*s%.*s", PH_FMT(user), PH_FMT(ext), PH_FMT(ph_str_from(*a, user.n)));
}

int ph_address_map_results(struct ph_address_map *m, struct ph_scope *s, ph_str address, size_t wanted, ph_str **list, size_t *n)
{
    ph_str value, unmatched, *r;
    size_t found, left = 0;
    int rc = find(m, address, s, &value, &unmatched);

    if (rc != PH_FOUND)
        return rc;
    if ((rc = parse_value(s, value, &r, &found)) < 0)
        return ph_wrap(rc, "%s: %.*s", m->what, PH_FMT(ph_str_first(address, 200)));
    size_t count = found < wanted ? found : wanted;

    keep_user(s, r, address, unmatched.n);
    if ((rc = ph_address_complete(m->rules, s, "local", r, count)) < 0)
        return ph_wrap(rc, "%s", m->what);
    for (size_t i = 0; i < count; i++) {
        if (r[i].n == 0)
            continue;              /* "@" says nothing */
        if (unmatched.n && m->keeps_ext)
            append(s, &r[i], unmatched);
        r[left++] = r[i];
    }
    if (left == 0)
        return ph_fail(PH_TEMP, "%s: %.*s: a value without an address", m->what, PH_FMT(ph_str_first(address, 200)));
    *n = found > count ? found : left; /* those that were not looked at are more than wanted in any case */
    *list = r;
    return PH_FOUND;
}

int ph_address_same(struct ph_scope *s, ph_str a, ph_str b)
{
    if (ph_str_eq_nocase(a, b))
        return 1;
    return !ph_str_is_ascii(a) && ph_str_eq(ph_key_fold(s, a), ph_key_fold(s, b));
}
