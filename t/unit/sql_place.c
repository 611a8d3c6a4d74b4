/* Where an SQL text ends: bare, in a string, a name, a comment, between dollars. */
#include "tap.h"
#include "plugins/table/common/sql.h"

#define PG SQL_PGSQL
#define MY (SQL_MYSQL | SQL_BACKSLASH)

static const struct { const char *text; unsigned dialect; char want; } cases[] = {
    { "", PG, 0 },
    { "select x where k = ", PG, 0 },
    { "k = '", PG, '\'' },
    { "k = '", MY, '\'' },
    { "k = 'a''", PG, '\'' },
    { "k = 'a'' ", PG, '\'' },
    { "k = 'a' and l = ", PG, 0 },
    { "k = 'a' and l = '", PG, '\'' },
    { "k = 'it\\'", PG, 0 },
    { "k = 'it\\'", PG | SQL_BACKSLASH, '\'' },
    { "k = 'it\\'s' and n = ", MY, 0 },
    { "k = 'it\\\\' and n = ", MY, 0 },
    { "k = 'it\\", MY, '\'' },
    { "k = E'", PG, 'E' },
    { "k = e'a\\'b", PG, 'E' },
    { "k = e'a\\'b' and n = ", PG, 0 },
    { "name'", PG, '\'' },
    { "E'", MY, '\'' },
    { "e'a\\'", SQL_MYSQL, 0 },
    { "k = \"", PG, '"' },
    { "k = \"a\"\"", PG, '"' },
    { "k = \"it's\" and l = ", PG, 0 },
    { "k = \"a\\\"", PG, 0 },
    { "k = \"a\\\"", MY, '"' },
    { "k = `it's", SQL_SQLITE, '`' },
    { "[it's", SQL_SQLITE, '[' },
    { "[it's] = '", SQL_SQLITE, '\'' },
    { "a[1] = '", PG, '\'' },
    { "'it\\' || '", SQL_SQLITE, '\'' },
    { "k = `it's", MY, '`' },
    { "k = `it's` and n = ", MY, 0 },
    { "k = `it'", PG, '\'' },
    { "/* it's */ n = ", PG, 0 },
    { "/* it's ", PG, '*' },
    { "/* it's ", MY, '*' },
    { "/* a /* b */ it's ", PG, '*' },
    { "/* a /* b */ '", MY, '\'' },
    { "/*/ '", PG, '*' },
    { "/*! '", MY, '\'' },
    { "/*M! '", MY, '\'' },
    { "-- it's\n n = ", PG, 0 },
    { "-- it's", PG, '-' },
    { "--it's", PG, '-' },
    { "5--'", MY, '\'' },
    { "-- '", MY, '-' },
    { "5 - '", PG, '\'' },
    { "# it's", MY, '#' },
    { "# it's\n n = ", MY, 0 },
    { "a #>> '", PG, '\'' },
    { "k = $$", PG, '$' },
    { "k = $$it's", PG, '$' },
    { "k = $$it's$$ and n = ", PG, 0 },
    { "k = $a$it's$$", PG, '$' },
    { "k = $a$it's$a$ and n = '", PG, '\'' },
    { "k = $1 and n = '", PG, '\'' },
    { "k = a$b$ '", PG, '\'' },
    { "k = $a '", PG, '\'' },
    { "k = $$ '", MY, '\'' },
    { "a / '", PG, '\'' },
};

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(sql_place(ph_cstr(cases[i].text), cases[i].dialect), cases[i].want, "%s (dialect %u)", cases[i].text, cases[i].dialect);
    return done_testing();
}
