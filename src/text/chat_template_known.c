/* chat_template_known.c: well-known chat formats as templates of our own, for models that bring none. Each gives the texts of its format for a
 * conversation that begins with at most one system message. Guarded by tests/text/test_chat_template.c. */
#include "text/chat_template_known.h"

/* The words of a message, whose content is a string or a list of parts. */
#define TEXT                                                                                                           \
    "{%- macro text(message) -%}\n"                                                                                    \
    "{{- message.content if message.content is string else message.content | selectattr('type', 'equalto', 'text') | " \
    "map(attribute='text') | join -}}\n"                                                                               \
    "{%- endmacro -%}\n"

/* Where a format has no place for a system message, it stands in front of the first user message. */
#define SYSTEM_IN_FRONT                                                                                                \
    "{%- set front = '' -%}\n"                                                                                         \
    "{%- if messages and messages[0].role == 'system' -%}\n"                                                           \
    "{%- set front = text(messages[0]) ~ '\\n\\n' -%}\n"                                                               \
    "{%- set messages = messages[1:] -%}\n"                                                                            \
    "{%- endif -%}\n"

#define ALTERNATING                                                                                                    \
    "{%- if message.role != ['user', 'assistant'][loop.index0 % 2] -%}\n"                                              \
    "{{- raise_exception('user and assistant must take turns, the user first') -}}\n"                                  \
    "{%- endif -%}\n"

const stlora_known_template stlora_known_templates[] = {
    {"chatml",
     TEXT "{%- for message in messages -%}\n"
     "{{- '<|im_start|>' ~ message.role ~ '\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- text(message) ~ '<|im_end|>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- text(message) ~ '<|im_end|>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"},
    {"llama-3",
     TEXT "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n"
     "{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- text(message) | trim ~ '<|eot_id|>' -}}{%- endgeneration -%}\n"
     "{%- else -%}\n"
     "{{- text(message) | trim ~ '<|eot_id|>' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}\n"},
    {"gemma",
     TEXT SYSTEM_IN_FRONT "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n" ALTERNATING
     "{%- if message.role == 'assistant' -%}\n"
     "{{- '<start_of_turn>model\\n' -}}\n"
     "{%- generation -%}{{- text(message) | trim ~ '<end_of_turn>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- '<start_of_turn>user\\n' ~ (front if loop.first) ~ text(message) | trim ~ '<end_of_turn>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}\n"},
    {"phi-3",
     TEXT "{%- for message in messages if message.role != 'system' or message.content -%}\n"
     "{{- '<|' ~ message.role ~ '|>\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- text(message) ~ '<|end|>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- text(message) ~ '<|end|>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}\n"},
    {"mistral",
     TEXT SYSTEM_IN_FRONT "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n" ALTERNATING
     "{%- if message.role == 'assistant' -%}\n"
     "{{- ' ' -}}\n"
     "{%- generation -%}{{- text(message) ~ eos_token -}}{%- endgeneration -%}\n"
     "{%- else -%}\n"
     "{{- ' [INST] ' ~ (front if loop.first) ~ text(message) ~ ' [/INST]' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"},
    {"zephyr",
     TEXT "{%- for message in messages -%}\n"
     "{{- '<|' ~ message.role ~ '|>\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- text(message) | trim ~ eos_token -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- text(message) | trim ~ eos_token ~ '\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}\n"},
    {"alpaca",
     TEXT "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n"
     "{%- if message.role == 'system' -%}\n"
     "{{- text(message) | trim ~ '\\n\\n' -}}\n"
     "{%- elif message.role == 'assistant' -%}\n"
     "{{- '### Response:\\n' -}}\n"
     "{%- generation -%}{{- text(message) | trim ~ eos_token -}}{%- endgeneration -%}\n"
     "{{- '\\n\\n' -}}\n"
     "{%- else -%}\n"
     "{{- '### Instruction:\\n' ~ text(message) | trim ~ '\\n\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '### Response:\\n' -}}{%- endif -%}\n"},
};
const size_t stlora_known_template_count = sizeof stlora_known_templates / sizeof *stlora_known_templates;
