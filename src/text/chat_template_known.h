/* chat_template_known.h: the templates that are built in. Internal to text/. */
#ifndef STLORA_TEXT_CHAT_TEMPLATE_KNOWN_H
#define STLORA_TEXT_CHAT_TEMPLATE_KNOWN_H

#include <stddef.h>

typedef struct stlora_known_template {
    const char *name, *text;
} stlora_known_template;

extern const stlora_known_template stlora_known_templates[];
extern const size_t stlora_known_template_count;

#endif
