/* session: see ldap_table.h. */
#include "ldap_table.h"

int session_failed(const struct session *s, const char *what, int err)
{
    char *words = NULL;

    if (s->ld)
        ldap_get_option(s->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &words);
    int rc = words && *words ? ph_fail(PH_TEMP, "%s %s: %s (%s)", what, s->uris, ldap_err2string(err), words)
                             : ph_fail(PH_TEMP, "%s %s: %s", what, s->uris, ldap_err2string(err));
    ldap_memfree(words);
    return rc;
}

void session_close(struct session *s)
{
    if (s->ld)
        ldap_unbind_ext_s(s->ld, NULL, NULL);
    s->ld = NULL;
}

static int set_options(struct session *s)
{
    struct timeval tv = { .tv_sec = (time_t)s->timeout_s };
    int version = (int)s->version, deref = (int)s->deref, limit = (int)s->timeout_s;
    const struct { int option; const void *value; } set[] = {
        { LDAP_OPT_PROTOCOL_VERSION, &version }, { LDAP_OPT_DEREF, &deref }, { LDAP_OPT_TIMELIMIT, &limit }, { LDAP_OPT_NETWORK_TIMEOUT, &tv }, { LDAP_OPT_TIMEOUT, &tv },
        { LDAP_OPT_REFERRALS, s->chases ? LDAP_OPT_ON : LDAP_OPT_OFF },
    };

    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        if (ldap_set_option(s->ld, set[i].option, set[i].value) != LDAP_OPT_SUCCESS)
            return ph_fail(PH_TEMP, "an option (%d) is refused by the LDAP library", set[i].option);
    return 0;
}

static int set_tls(struct session *s)
{
    int require = s->checks_cert ? LDAP_OPT_X_TLS_DEMAND : LDAP_OPT_X_TLS_NEVER, here = 0;
    const struct { int option; const char *value; } file[] = {
        { LDAP_OPT_X_TLS_CACERTFILE, s->ca_file }, { LDAP_OPT_X_TLS_CACERTDIR, s->ca_dir }, { LDAP_OPT_X_TLS_CERTFILE, s->cert }, { LDAP_OPT_X_TLS_KEYFILE, s->key },
        { LDAP_OPT_X_TLS_CIPHER_SUITE, s->ciphers },
    };

    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        if (file[i].value && ldap_set_option(s->ld, file[i].option, file[i].value) != LDAP_OPT_SUCCESS)
            return ph_fail(PH_TEMP, "a TLS setting (%s) is refused by the LDAP library", file[i].value);
    if (ldap_set_option(s->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &require) != LDAP_OPT_SUCCESS || ldap_set_option(s->ld, LDAP_OPT_X_TLS_NEWCTX, &here) != LDAP_OPT_SUCCESS)
        return ph_fail(PH_TEMP, "TLS settings are refused by the LDAP library");
    return 0;
}

static int bind_session(struct session *s)
{
    const char *secret = s->is_external ? s->authz_id : s->bind_pw;
    struct berval cred = { .bv_len = ph_cstr(secret).n, .bv_val = (char *)(uintptr_t)secret };

    return ldap_sasl_bind_s(s->ld, s->is_external ? NULL : s->bind_dn, s->is_external ? "EXTERNAL" : LDAP_SASL_SIMPLE, &cred, NULL, NULL, NULL);
}

/* Anonymous sessions of version 3 need no bind; the first request connects. */
static int secure_and_bind(struct session *s)
{
    int err;

    if (s->starts_tls && (err = ldap_start_tls_s(s->ld, NULL, NULL)) != LDAP_SUCCESS)
        return session_failed(s, "start TLS with", err);
    if (s->binds && (err = bind_session(s)) != LDAP_SUCCESS)
        return session_failed(s, "bind to", err);
    return 0;
}

int session_open(struct session *s)
{
    int rc, err;

    if (s->ld)
        return 0;
    if ((err = ldap_initialize(&s->ld, s->uris)) != LDAP_SUCCESS) {
        s->ld = NULL;
        return session_failed(s, "connect to", err);
    }
    if ((rc = set_options(s)) < 0 || (rc = set_tls(s)) < 0 || (rc = secure_and_bind(s)) < 0)
        session_close(s);
    return rc;
}
