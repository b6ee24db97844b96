/* progress.h: one line on stderr that tells how far a verb is: redrawn in place on a terminal, now and then elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

/* progress_show: shows the line that the format makes, if it is time for one; last: whatever the time. On a terminal the line stays
 * where it is, redrawn at most ten times a second; elsewhere it is a line of its own, at most every five seconds. */
void progress_show(bool last, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* progress_clear: takes the live line away, so that something else can be written there. */
void progress_clear(void);

/* progress_end: leaves the last line standing and ends it. */
void progress_end(void);

/* format_duration: "2 h 05 min", "3 min 20 s", "12 s", "0.4 s" into buffer; returns it. */
const char *format_duration(double seconds, char *buffer, size_t size);

#endif
