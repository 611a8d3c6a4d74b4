/* mysql: between the settings and the connection.  See mysql.c. */
#ifndef TABLE_MYSQL_H
#define TABLE_MYSQL_H

#include "plugins/table/common/sql.h"

/* NULL: not set. */
struct mysql {
    struct sql sql;                /* first: the library's calls get its address */
    const char *user, *password, *dbname, *charset, *option_file, *option_group;
    const char *key, *cert, *ca_file, *ca_path, *ciphers;
    int verify_cert, needs_set;
};

extern const struct sql_library mysql_library;

#endif
