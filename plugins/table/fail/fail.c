/* table/fail: every look-up fails, `fail:words`.  For tests of how a service
 * takes a failing table.  Reference: fail_table(5). */
#include <posthorn/table.h>

static int32_t fail_open(struct ph_table *t PH_UNUSED, ph_str spec PH_UNUSED)
{
    return 0;
}

static int32_t fail_lookup(struct ph_table *t, ph_str key PH_UNUSED, struct ph_scope *out PH_UNUSED, ph_str *val PH_UNUSED)
{
    return ph_fail(PH_TEMP, "fail:%.*s always fails", PH_FMT(t->name));
}

PH_PLUGIN_TABLE(fail, PH_IS(.summary = "every look-up fails (for tests)", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = fail_open,
    .lookup = fail_lookup);
