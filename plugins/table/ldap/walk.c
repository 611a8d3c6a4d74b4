/* walk: see ldap_table.h.
 *
 * Values that are names of entries, or URLs, are searched in turn (special
 * attributes).  Groups may name each other, so not only the depth is limited. */
#include "ldap_table.h"

#define SEARCHES_MAX 10000
#define DEPTH_MAX    1000            /* whatever recursion_limit says: each level is on the stack */

static int take_entries(struct walk *w, LDAPMessage *res, int64_t depth);

static int search(struct walk *w, const char *base, int scope, const char *filter, int64_t depth, int may_be_gone)
{
    const struct session *s = &w->table->session;
    struct timeval tv = { .tv_sec = (time_t)s->timeout_s };
    LDAPMessage *res = NULL;

    if (++w->searches > SEARCHES_MAX)
        return ph_fail(PH_TEMP, "more than %d searches for one key", SEARCHES_MAX);
    int err = ldap_search_ext_s(s->ld, base, scope, filter, w->table->attr.all, 0, NULL, NULL, &tv, (int)s->size_limit, &res);
    int rc = err == LDAP_SUCCESS ? take_entries(w, res, depth) : err == LDAP_NO_SUCH_OBJECT && may_be_gone ? 0 : session_failed(s, "search", err);
    /* A server that is slow is not asked twice; these it would say again. */
    w->is_lost |= err != LDAP_SUCCESS && rc < 0 && err != LDAP_SIZELIMIT_EXCEEDED && err != LDAP_NO_SUCH_OBJECT && err != LDAP_FILTER_ERROR && err != LDAP_INVALID_DN_SYNTAX && err != LDAP_TIMEOUT &&
                  err != LDAP_TIMELIMIT_EXCEEDED;
    ldap_msgfree(res);
    return rc;
}

/* A value of a special attribute: a URL of LDAP, or the name of an entry. */
static int follow(struct walk *w, const char *text, int64_t depth)
{
    LDAPURLDesc *url;
    int rc;

    if (depth >= w->table->recursion_limit || depth >= DEPTH_MAX)
        return ph_fail(PH_TEMP, "entries name others more than %lld deep: recursion_limit", (long long)depth);
    if (!ldap_is_ldap_url(text))
        return search(w, text, LDAP_SCOPE_BASE, "(objectClass=*)", depth + 1, 1);
    if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS)
        return ph_fail(PH_TEMP, "\"%.200s\" is no URL of LDAP", text);
    rc = search(w, url->lud_dn ? url->lud_dn : "", url->lud_scope == LDAP_SCOPE_DEFAULT ? LDAP_SCOPE_BASE : url->lud_scope, url->lud_filter ? url->lud_filter : "(objectClass=*)", depth + 1, 1);
    ldap_free_urldesc(url);
    return rc;
}

static int has_values(struct walk *w, LDAPMessage *entry, char **names)
{
    int has = 0;

    for (; !has && *names; names++) {
        struct berval **v = ldap_get_values_len(w->table->session.ld, entry, *names);

        has = ldap_count_values_len(v) > 0;
        ldap_value_free_len(v);
    }
    return has;
}

static int take_value(struct walk *w, const struct berval *v, int is_special, int64_t depth)
{
    ph_str value = { v->bv_val, v->bv_len };

    return is_special ? follow(w, ph_cstr_dup(w->out, value), depth) : client_add(&w->table->client, w->key, value, &w->answer, &w->count);
}

static int take_values(struct walk *w, LDAPMessage *entry, char **names, int is_special, int64_t depth)
{
    int rc = 0;

    for (; rc == 0 && *names; names++) {
        struct berval **v = ldap_get_values_len(w->table->session.ld, entry, *names);

        for (int i = 0, n = ldap_count_values_len(v); rc == 0 && i < n; i++)
            rc = take_value(w, v[i], is_special, depth);
        ldap_value_free_len(v);
    }
    return rc;
}

/* Terminal attributes stand alone; leaf attributes count where no special one is. */
static int take_entry(struct walk *w, LDAPMessage *entry, int64_t depth)
{
    const struct attributes *a = &w->table->attr;
    int rc;

    if (has_values(w, entry, a->terminal))
        return take_values(w, entry, a->terminal, 0, depth);
    if ((rc = take_values(w, entry, a->result, 0, depth)) < 0)
        return rc;
    return has_values(w, entry, a->special) ? take_values(w, entry, a->special, 1, depth) : take_values(w, entry, a->leaf, 0, depth);
}

static int take_entries(struct walk *w, LDAPMessage *res, int64_t depth)
{
    LDAP *ld = w->table->session.ld;
    int rc = 0;

    for (LDAPMessage *e = ldap_first_entry(ld, res); rc == 0 && e; e = ldap_next_entry(ld, e))
        rc = take_entry(w, e, depth);
    return rc;
}

int walk_search(struct walk *w, const char *base, const char *filter)
{
    return search(w, base, w->table->scope, filter, 0, !w->table->base_is_fixed);
}
