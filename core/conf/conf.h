/* core/conf/conf.h: main.cf for our own programs: opening it, the overrides of
 * one service, and what postconf shows.  Plugins see <posthorn/param.h> only.
 *
 * A value is looked for in the overrides of the service, then main.cf, then
 * the rows that modules registered, then the table of all known parameters
 * (params.tsv).  Values are expanded when they are asked for, so an override
 * changes everything that refers to it.
 *
 * reader.c  lines to (name, value, place)      expand.c  $name and ${...}
 * conf.c    the dictionary and its look-ups    value.c   numbers, times, bounds
 * shared.c  values that are computed           known.c   the table of names
 * names.c   what is set, unused or misspelt    idn.c     domain names (libidn2)
 * used.c    what values refer to                check.c   values of a form of their own
 * yaml.c    YAML to a tree (libyaml)           master.c  master.yaml (master.h)
 * snapshot.c  both files as the master checked them, for workers (snapshot.h) */
#ifndef CORE_CONF_CONF_H
#define CORE_CONF_CONF_H

#include <posthorn/param.h>

struct ph_map;

#define PH_CONF_FILE_MAX   (4u << 20)   /* bytes of main.cf */
#define PH_CONF_VALUE_MAX  (256u << 10) /* bytes of one value, before and after expansion */
#define PH_CONF_DEPTH_MAX  100          /* nested expansions */
#define PH_CONF_STEPS_MAX  100000       /* expansions for one value */

/* A place in a file, for messages: "file:line:column". */
struct ph_place {
    const char *file;                   /* NULL: not from a file */
    uint32_t line, column;              /* from 1 */
};

/* name = value with its place, as in the settings of a service. */
struct ph_setting {
    ph_str name, value;
    struct ph_place place;
};

/* The directory to read: `dir` when not NULL, else MAIL_CONFIG of the
 * environment, else the built-in one. */
const char *ph_conf_choose_dir(const char *dir);
/* Read DIR/main.cf (dir as above).  0 and *conf on s; PH_CONF with
 * file:line:column; PH_TEMP when the file cannot be read.  Does blocking I/O. */
int ph_conf_open(struct ph_scope *s, const char *dir, struct ph_conf **conf);
/* A configuration of text instead of a file; `file` names it in messages. */
int ph_conf_parse(struct ph_scope *s, const char *dir, const char *file, ph_str text,
                  struct ph_conf **conf);
/* base with the settings on top; base must outlive it.  0, or PH_CONF. */
int ph_conf_service(struct ph_scope *s, struct ph_conf *base,
                    const struct ph_setting *settings, size_t count, struct ph_conf **conf);
/* The same from "name=value" or "{ name = value }" (option -o); later wins. */
int ph_conf_override(struct ph_conf *c, const char *text);
/* Set one value; for programs that know better and for tests. */
void ph_conf_set(struct ph_conf *c, const char *name, ph_str value);
/* What $process_name and $service_name give. */
void ph_conf_identity(struct ph_conf *c, const char *process_name, const char *service_name);

/* Tell which parameters exist in this process: rows of a module or plugin.
 * They must stay valid for ever.  Twice the same rows is harmless. */
void ph_conf_register(const struct ph_param *rows, size_t count, size_t stride);

/* Warnings collected while reading ("overriding earlier entry: a=b"): start
 * with *at = 0; 1 and *text, 0 at the end.  The caller logs what it wants. */
int ph_conf_warning(const struct ph_conf *c, size_t *at, ph_str *text);
/* Note the names that the values c itself sets refer to: as $name, as a class of
 * restrictions, as a setting of a table ("mysql:users": users_hosts).  Those that c does not set
 * count as used in what it stands on. */
void ph_conf_note_uses(struct ph_conf *c);
/* Collect warnings about names that c sets and nothing knows or refers to (ph_conf_note_uses
 * comes first), with a suggestion for a likely misspelling, and about parameters whose
 * feature does not exist.  `services` holds the names that are made of those of services;
 * NULL: any name of such a form is known. */
void ph_conf_check_names(struct ph_conf *c, const struct ph_map *services);
/* Collect warnings about files that tables keep their settings in: one that is not there, names in
 * it that no such table has.  0, or negative for one that cannot be read. */
int ph_conf_check_table_files(struct ph_conf *c);

/* What a name is. */
#define PH_NAME_UNKNOWN  0
#define PH_NAME_KNOWN    1   /* a parameter of ours */
#define PH_NAME_PLANNED  2   /* a parameter that belongs to a feature not built yet */
#define PH_NAME_USER     3   /* set by the administrator and nothing of ours */
int ph_conf_name_kind(const struct ph_conf *c, ph_str name);
/* 1 for a name of the table or of registered rows (not one made of a transport, not a former one). */
int ph_conf_is_listed(ph_str name);
/* 1 when something set, or the default of its successor, refers to the name; after ph_conf_note_uses. */
int ph_conf_is_used(const struct ph_conf *c, ph_str name);
/* Expand all that c itself sets (not what it stands on), so that each $name that is not
 * defined anywhere (nor in `defined`, or NULL) gives a warning, once: "DIR/FILE: undefined
 * parameter: NAME"; later expansions warn, too.  0, or PH_CONF for a value of a parameter of
 * ours that does not expand; for one that users call their own that is a warning, as is one
 * that cannot be set. */
int ph_conf_check_undefined(struct ph_conf *c, const char *file, const struct ph_map *defined);
/* Expand text as the value of `name`: a parameter of the raw class is not. */
int ph_conf_expand_as(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str text, ph_str *value);

/* Does the value of that name expand, and fit the class and bounds that are
 * known of it?  0, or PH_CONF with its place.  For a whole file before it is used. */
int ph_conf_check(struct ph_conf *c, ph_str name);

/* Raw text as it stands: PH_FOUND with *value, and *place when not NULL.
 * _set: overrides and main.cf only; _default: what holds when it is not set
 * (computed ones are computed).  PH_NONE; PH_CONF when what a computed one is
 * made from has no value. */
int ph_conf_raw_set(const struct ph_conf *c, ph_str name, ph_str *value, struct ph_place *place);
int ph_conf_raw_default(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str *value);
/* All names that are set (own != 0: only in the file) or known, sorted. */
size_t ph_conf_names(const struct ph_conf *c, struct ph_scope *s, int only_set, ph_str **names);

/* Value classes, for code that has the text: 1, or 0 when it is not one. */
int ph_value_bool(ph_str text, int32_t *value);
int ph_value_int(ph_str text, int64_t *value);
/* unit: the letter (s m h d w) a bare number has. */
int ph_value_time(ph_str text, char unit, int64_t *seconds);
/* Where the log goes: 0, *file on s ("" for syslog) and the mode of a file that is
 * made; PH_CONF: maillog_file is outside maillog_file_prefixes, or a bad mode. */
int ph_conf_log_file(struct ph_conf *c, struct ph_scope *s, const char **file, int *mode);
/* Compare versions "3.10" numerically: 1 and *order (<0, 0, >0), or 0. */
int ph_value_level(ph_str a, ph_str b, int *order);

/* The name nearest to `name` within a small edit distance, or NULL. */
const char *ph_nearest(ph_str name, const char *const *names, size_t count);

#endif
