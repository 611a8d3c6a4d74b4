/* posthorn/param.h: a parameter has one home: a row beside the code that uses
 * it.  postconf, manual pages and manifests come from these rows.
 *
 *     struct smtpd_params { ph_str banner; int64_t hard_error_limit; ... };
 *     static const struct ph_param rows[] = {
 *         PH_P_STR(struct smtpd_params, banner, "smtpd_banner",
 *                  "$myhostname ESMTP $mail_name", "Text after the 220 code."),
 *         PH_P_INT(struct smtpd_params, hard_error_limit, "smtpd_hard_error_limit",
 *                  "${stress?{1}:{20}}", 1, 0, "Errors before we hang up."),
 *     };
 *
 * Defaults are main.cf text and are expanded like it. */
#ifndef POSTHORN_PARAM_H
#define POSTHORN_PARAM_H

#include <posthorn/scope.h>

PH_BEGIN

struct ph_conf;            /* main.cf plus the overrides of one service */

/* Value classes and the C member each one fills. */
#define PH_TYPE_STR   1    /* ph_str, expanded; min, max bound its length */
#define PH_TYPE_RAW   2    /* ph_str, not expanded ($client_address stays) */
#define PH_TYPE_INT   3    /* int64_t */
#define PH_TYPE_BOOL  4    /* int32_t, 0 or 1: yes/no */
#define PH_TYPE_TIME  5    /* int64_t, seconds; unit is the one without suffix (s m h d w) */

struct ph_param {
    const char *name;
    const char *def;       /* main.cf text */
    const char *doc;       /* one or two sentences */
    const char *unit;      /* time: default unit "s"; size: "bytes"; else NULL */
    uint32_t type;         /* PH_TYPE_* */
    uint32_t offset;       /* of the member in the parameter structure */
    int64_t min, max;      /* max 0: no bound */
};

#define PH_P_STR(st, mem, nm, df, dc) { nm, df, dc, 0, PH_TYPE_STR, offsetof(st, mem), 0, 0 }
#define PH_P_STR1(st, mem, nm, df, dc) { nm, df, dc, 0, PH_TYPE_STR, offsetof(st, mem), 1, 0 }
#define PH_P_RAW(st, mem, nm, df, dc) { nm, df, dc, 0, PH_TYPE_RAW, offsetof(st, mem), 0, 0 }
#define PH_P_INT(st, mem, nm, df, lo, hi, dc) { nm, df, dc, 0, PH_TYPE_INT, offsetof(st, mem), lo, hi }
#define PH_P_BOOL(st, mem, nm, df, dc) { nm, df, dc, 0, PH_TYPE_BOOL, offsetof(st, mem), 0, 0 }
#define PH_P_TIME(st, mem, nm, df, un, lo, hi, dc) { nm, df, dc, un, PH_TYPE_TIME, offsetof(st, mem), lo, hi }

/* Fill *out from the rows: 0, or PH_CONF with file:line:column and what to do.
 * stride is sizeof(struct ph_param) of the caller.  On failure *out is
 * unchanged. */
int ph_params_load(struct ph_conf *c, struct ph_scope *s, const struct ph_param *rows,
                   size_t count, size_t stride, void *out);
/* One parameter by name, for names made at run time (TRANSPORT_time_limit) and
 * for the few shared by all.  PH_FOUND with the expanded value; PH_NONE when
 * it is neither set nor known; PH_CONF.  */
int ph_conf_get(struct ph_conf *c, struct ph_scope *s, const char *name, ph_str *value);
int ph_conf_get_i64(struct ph_conf *c, const char *name, int64_t *value);
int ph_conf_get_time(struct ph_conf *c, const char *name, char unit, int64_t *seconds);
int ph_conf_get_bool(struct ph_conf *c, const char *name, int32_t *value);
/* The value or, after a logged warning, the default the row states; never
 * fails.  For values whose absence cannot be reported better. */
ph_str ph_conf_value(struct ph_conf *c, struct ph_scope *s, const char *name);
/* Expand $name and ${...} in text: 0, or PH_CONF. */
int ph_conf_expand(struct ph_conf *c, struct ph_scope *s, ph_str text, ph_str *value);
/* Where main.cf stands: the directory. */
const char *ph_conf_dir(const struct ph_conf *c);

PH_END
#endif
