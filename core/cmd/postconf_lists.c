/* postconf_lists: what this build supports: table types (-m), lock methods (-l),
 * SASL types (-a, -A), TLS (-T). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"
#include "core/plugin/registry.h"

#define TYPES_MAX 512

static int compare(const void *a, const void *b)
{
    return ph_str_cmp(*(const ph_str *)a, *(const ph_str *)b);
}

void postconf_tables(struct postconf *p)
{
    ph_str *types = ph_alloc_array(p->scope, TYPES_MAX, sizeof *types);
    size_t n = 0, at = 0;

    if (ph_registry_open(p->conf) < 0)
        ph_cmd_fatal("%s", ph_error());
    types[n++] = PH_STR("proxy");      /* stands before a type; no plugin */
    while (n < TYPES_MAX && ph_plugin_next(PH_KIND_TABLE, &at, &types[n]))
        n++;
    qsort(types, n, sizeof *types, compare);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !ph_str_eq(types[i], types[i - 1]))
            printf("%.*s\n", PH_FMT(types[i]));
}

/* TLS is not built, so each of its lists is empty. */
static void tls_list(const char *what)
{
    static const char *const modes[] = { "compile-version", "run-version", "public-key-algorithms" };

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(what, modes[i]) == 0)
            return;
    ph_cmd_warn("unknown 'postconf -T' mode: %s", what);
    exit(1);
}

/* Neither is SASL: -a and -A print nothing. */
void postconf_fixed_list(int mode, const char *tls)
{
    if (mode == 'l')
        printf("flock\nfcntl\ndotlock\n");
    if (mode == 'T')
        tls_list(tls);
}
