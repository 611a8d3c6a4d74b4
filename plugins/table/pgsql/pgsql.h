/* pgsql: between the settings and the connection.  See pgsql.c. */
#ifndef TABLE_PGSQL_H
#define TABLE_PGSQL_H

#include <libpq-fe.h>
#include "plugins/table/common/sql.h"

/* Parameters of a connection, NULL-terminated: sql_host.data. */
struct login {
    const char *keywords[12], *values[12];
    size_t n;
};

extern const struct sql_library pgsql_library;

#endif
