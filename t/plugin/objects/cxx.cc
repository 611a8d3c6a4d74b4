// A table in C++11: the entry macros of every kind compile, and this one loads.
#include <posthorn/policy.h>
#include <posthorn/service.h>
#include <posthorn/table.h>
#include <posthorn/transport.h>

struct cxx_params { ph_str text; int64_t number; };
static const struct ph_param rows[] = {
    PH_P_STR(struct cxx_params, text, "cxx_text", "x", "A text."),
    PH_P_INT(struct cxx_params, number, "cxx_number", "1", 0, 0, "A number."),
};

static int32_t cxx_open(struct ph_table *, ph_str) { return 0; }

static int32_t cxx_lookup(struct ph_table *, ph_str key, struct ph_scope *out, ph_str *val)
{
    *val = ph_str_printf(out, "C++ %.*s", PH_FMT(key));
    return PH_FOUND;
}

PH_PLUGIN_TABLE(cxx, PH_IS(.summary = "for a test", .exec = PH_PURE, .params = rows, .param_count = 2),
                .is = PH_TABLE_NOFOLD, .open = cxx_open, .lookup = cxx_lookup);

namespace other_kinds {
static int32_t deliver(struct ph_transport *, struct ph_delivery *) { return 0; }
PH_PLUGIN_TRANSPORT(cxx, PH_IS(.summary = "for a test", .exec = PH_COROUTINE), .needs = "", .deliver = deliver);

static int32_t check(struct ph_restriction *, const struct ph_policy_facts *, struct ph_scope *, ph_str *) { return PH_NONE; }
static const struct ph_policy_name names[] = { { "check_cxx", nullptr, 0, 0 } };
PH_PLUGIN_POLICY(cxx, PH_IS(.summary = "for a test", .exec = PH_COROUTINE), .names = names, .name_count = 1, .check = check);

static int32_t serve(struct ph_service *, struct ph_scope *, struct ph_stream *, const struct ph_peer *) { return 0; }
PH_PLUGIN_SERVICE(cxx, PH_IS(.summary = "for a test", .exec = PH_COROUTINE), .needs = "", .serve = serve);
}
