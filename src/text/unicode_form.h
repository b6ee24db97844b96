/* unicode_form.h: Unicode's normal forms and lower case, with utf8proc. Internal to text/. */
#ifndef STLORA_TEXT_UNICODE_FORM_H
#define STLORA_TEXT_UNICODE_FORM_H

#include <stdbool.h>

#include "text/byte_string.h"

/* stlora_unicode_form: appends the normal form of valid UTF-8: C (composed) or D, with compatibility KC or KD. */
STLORA_NODISCARD stlora_status stlora_unicode_form(stlora_bytes *out, const char *text,
                                                   size_t length, bool composed, bool compatibility,
                                                   stlora_error *err);

/* stlora_unicode_lower: appends each character's full lower case, whatever stands around it. */
STLORA_NODISCARD stlora_status stlora_unicode_lower(stlora_bytes *out, const char *text,
                                                    size_t length, stlora_error *err);

#endif
