/* core/cmd/postconf.h: what the files of postconf share. */
#ifndef CORE_CMD_POSTCONF_H
#define CORE_CMD_POSTCONF_H

#include <posthorn/buf.h>
#include "core/conf/master.h"

struct ph_map;

struct postconf {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const struct ph_master_def *master;    /* NULL when it cannot be read */
    const char *dir;
    int dir_chosen;                        /* -c or MAIL_CONFIG named it */
    int defaults;                          /* -d */
    int only_set;                          /* -n */
    int value_only, name_only;             /* -h, -H */
    int expand;                            /* -x */
    int fold;                              /* -f */
    int json;                              /* -j */
    int quiet;                             /* -q */
    int all_of_service;                    /* -P twice */
    unsigned classes;                      /* -C: CLASS_* */
    size_t warned;                         /* warnings of main.cf that were said */
    struct postconf_view *views;           /* postconf_check.c: main.cf as services see it */
    size_t view_count;
};

#define CLASS_BUILTIN 1u
#define CLASS_SERVICE 2u
#define CLASS_USER    4u
#define CLASS_ALL     7u

/* One line "name = value" in the form the options ask for; white space inside
 * the value becomes one blank. */
void postconf_print(const struct postconf *p, ph_str name, ph_str value);
/* Raw text as -x wants it: expanded with c unless the class is raw. */
ph_str postconf_text(const struct postconf *p, struct ph_conf *c, ph_str name, ph_str raw);
/* Text with runs of white space as one blank, folded behind 80 columns with -f. */
void postconf_put_folded(const struct postconf *p, struct ph_buf *line, ph_str text);

/* postconf_options.c */
struct postconf_options {
    int mode;                              /* p M F P m l a A T b t, I and E: import and export */
    int edit;                              /* e X #, or 0 */
    const char *dir, *tls, *import;        /* -c, -T, --import-master */
    const char *overrides[64];
    size_t override_count;
};
/* Read the command line: the arguments behind it.  Combinations that mean nothing are fatal. */
char **postconf_read_options(struct postconf_options *o, struct postconf *p, int argc, char **argv);

/* postconf_edit.c: -e, -X, -# on main.cf. */
void postconf_edit(struct postconf *p, int edit, char **args);
/* An argument of an edit: fatal when it is a comment or has lines; whose is the start of the message. */
void postconf_check_edit(const char *arg, const char *whose);
/* "name = value" to its two sides, blanks around them dropped, or fatal. */
void postconf_split(const char *arg, ph_str *name, ph_str *value);
/* postconf_lists.c: -m, one word a line. */
void postconf_tables(struct postconf *p);
/* -l, -a, -A, -T. */
void postconf_fixed_list(int mode, const char *tls);

/* postconf_main.c: the parameters, or those named. */
void postconf_main(struct postconf *p, char **names);
/* postconf_bounce.c: -b and -t: the templates of notices, those of `file`, or (NULL)
 * of bounce_template_file; "" means the built-in ones. */
void postconf_bounce(struct postconf *p, int expanded, const char *file);
/* Names that the services make (smtp_recipient_limit), as a set. */
struct ph_map *postconf_service_names(const struct postconf *p);

/* postconf_check.c.  Expand all that is set: warnings about names that nothing defines, fatal
 * when one does not expand. */
void postconf_check_undefined(struct postconf *p);
/* Find which names are used, for all that follows. */
void postconf_note_uses(struct postconf *p);
/* Warn about files of tables, fatal when one cannot be read. */
void postconf_check_tables(struct postconf *p);
/* Warn about what nothing uses in main.cf (services: postconf_service_names), and in
 * the settings of services. */
void postconf_check_names(struct postconf *p, const struct ph_map *services);
void postconf_check_settings(const struct postconf *p);

/* "service/type/part"; parts may be missing. */
struct postconf_pattern {
    ph_str service, type, part;
};

/* postconf_master.c: -M, -F, -P with patterns. */
void postconf_master(struct postconf *p, int mode, char **patterns);
/* The number of parts, 1 to 3; 0 for what is no pattern: none, more, or one with a '*' beside other text. */
int postconf_parse_pattern(ph_str text, struct postconf_pattern *p);
int postconf_pattern_matches(const struct postconf_pattern *p, ph_str service, ph_str type);
/* The number of a field (enum mastercf_field), or fatal. */
int postconf_field_number(ph_str name);
/* --export-master: all services as a master.cf. */
void postconf_export(struct postconf *p);
/* postconf_services.c: -e, -X, -# with them. */
void postconf_edit_services(struct postconf *p, int mode, int edit, char **args);
/* postconf_import.c: --import-master. */
void postconf_import(struct postconf *p, const char *file);

#endif
