/* jinja_time.c: strftime_now. The names of days and months are those of the C locale, and the moment has no time zone, as datetime.now()
 * has none. Guarded by tests/text/test_jinja.c. */
#include <stdio.h>
#include <time.h>

#include "text/jinja_builtin.h"

/* "2024-07-26T12:34:56", or the day alone, as a broken-down time. */
static bool read_moment(stlora_jrun *run, const char *text, struct tm *out)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour = 0, minute = 0, second = 0, end = 0;
    int fields =
        sscanf(text, "%4d-%2d-%2d%n%*1[T ]%2d:%2d:%2d%n", &year, &month, &day, &end, &hour, &minute, &second, &end);
    bool leap = fields >= 3 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
    if ((fields != 3 && fields != 6) || text[end] || year < 1 || month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (month == 2 && leap) || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
        second < 0 || second > 59)
        return stlora_jfail(run, STLORA_E_USAGE, "wanted a moment like 2024-07-26T12:34:56, found '%.40s'", text);
    *out = (struct tm){.tm_year = year - 1900,
                       .tm_mon = month - 1,
                       .tm_mday = day,
                       .tm_hour = hour,
                       .tm_min = minute,
                       .tm_sec = second};
    for (int m = 0; m < month - 1; m++)
        out->tm_yday += days[m] + (m == 1 && leap);
    out->tm_yday += day - 1;
    int before = year - 1; // day of the week of this year's first day, from whole weeks and leap years
    out->tm_wday = (1 + before + before / 4 - before / 100 + before / 400 + out->tm_yday) % 7;
    return true;
}

static bool present(stlora_jrun *run, struct tm *out)
{
    time_t now = time(NULL);
    return localtime_r(&now, out) || stlora_jfault(run, "the present moment is unknown");
}

bool stlora_jstrftime(stlora_jrun *run, stlora_jtext format, stlora_jvalue *out)
{
    struct tm moment;
    stlora_jbuilder builder = {.run = run};
    if (!(run->now ? read_moment(run, run->now, &moment) : present(run, &moment))) return false;
    for (size_t at = 0; at < format.length; at++) {
        char directive[4] = {'%', 0, 0, 0}, text[256];
        if (format.data[at] != '%' || at + 1 == format.length) {
            if (!stlora_jput(&builder, format.data + at, 1)) return false;
            continue;
        }
        char c = format.data[++at];
        size_t used = 1;
        if ((c == '-' || c == '_' || c == '0' || c == '^' || c == '#') &&
            at + 1 < format.length) { // the C library's flags
            directive[used++] = c;
            c = format.data[++at];
        }
        directive[used] = c;
        size_t size = 0;
        if (c == 'f')
            size = (size_t)snprintf(text, sizeof text, "000000");
        else if (c != 'z' && c != 'Z' && c != 's' && c != '\0')
            size = strftime(text, sizeof text, directive, &moment);
        if (!stlora_jput(&builder, text, size)) return false;
    }
    *out = stlora_jbuilt(&builder);
    return true;
}
