/* date: RFC 5322 3.3 dates, in English whatever the locale.  See posthorn/date.h. */
#include <time.h>
#include <posthorn/date.h>

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

ph_str ph_date_format(struct ph_scope *s, int64_t seconds, int with_name)
{
    time_t t = (time_t)seconds;
    struct tm tm = { 0 };

    localtime_r(&t, &tm);
    long off = tm.tm_gmtoff / 60, abs = off < 0 ? -off : off;
    ph_str d = ph_str_printf(s, "%s, %02d %s %d %02d:%02d:%02d %c%02ld%02ld", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
                             tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec, off < 0 ? '-' : '+', abs / 60, abs % 60);

    return with_name && tm.tm_zone ? ph_str_printf(s, "%.*s (%s)", PH_FMT(d), tm.tm_zone) : d;
}
