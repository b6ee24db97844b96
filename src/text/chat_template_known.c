/* chat_template_known.c: well-known chat formats as templates of our own, for models that bring none. Each gives the texts of its format for a
 * conversation that begins with at most one system message. Guarded by tests/text/test_chat_template.c. */
#include "text/chat_template_known.h"

/* Where a format has no place for a system message, it stands in front of the first user message. */
#define SYSTEM_IN_FRONT                                                                                                \
    "{%- set ns = namespace(system='') -%}\n"                                                                          \
    "{%- if messages and messages[0].role == 'system' -%}\n"                                                           \
    "{%- set ns.system = messages[0].content -%}\n"                                                                    \
    "{%- set messages = messages[1:] -%}\n"                                                                            \
    "{%- endif -%}\n"

#define ALTERNATING                                                                                                    \
    "{%- if message.role != ['user', 'assistant'][loop.index0 % 2] -%}\n"                                              \
    "{{- raise_exception('user and assistant must take turns, the user first') -}}\n"                                  \
    "{%- endif -%}\n"

const stlora_known_template stlora_known_templates[] = {
    {"chatml",
     "{%- for message in messages -%}\n"
     "{{- '<|im_start|>' ~ message.role ~ '\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- message.content ~ '<|im_end|>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- message.content ~ '<|im_end|>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}\n"},
    {"llama-3",
     "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n"
     "{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- message.content | trim ~ '<|eot_id|>' -}}{%- endgeneration -%}\n"
     "{%- else -%}\n"
     "{{- message.content | trim ~ '<|eot_id|>' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}\n"},
    {"gemma",
     SYSTEM_IN_FRONT
     "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n" ALTERNATING
     "{%- if message.role == 'assistant' -%}\n"
     "{{- '<start_of_turn>model\\n' -}}\n"
     "{%- generation -%}{{- message.content | trim ~ '<end_of_turn>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- '<start_of_turn>user\\n' ~ (ns.system ~ '\\n\\n' if loop.first and ns.system) ~ message.content | trim ~ '<end_of_turn>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}\n"},
    {"phi-3",
     "{%- for message in messages -%}\n"
     "{{- '<|' ~ message.role ~ '|>\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- message.content ~ '<|end|>' -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- message.content ~ '<|end|>\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- else -%}{{- eos_token -}}{%- endif -%}\n"},
    {"mistral",
     SYSTEM_IN_FRONT
     "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n" ALTERNATING
     "{%- if message.role == 'assistant' -%}\n"
     "{{- ' ' -}}\n"
     "{%- generation -%}{{- message.content ~ eos_token -}}{%- endgeneration -%}\n"
     "{%- else -%}\n"
     "{{- ' [INST] ' ~ (ns.system ~ '\\n\\n' if loop.first and ns.system) ~ message.content ~ ' [/INST]' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"},
    {"zephyr",
     "{%- for message in messages -%}\n"
     "{{- '<|' ~ message.role ~ '|>\\n' -}}\n"
     "{%- if message.role == 'assistant' -%}\n"
     "{%- generation -%}{{- message.content | trim ~ eos_token -}}{%- endgeneration -%}\n"
     "{{- '\\n' -}}\n"
     "{%- else -%}\n"
     "{{- message.content | trim ~ eos_token ~ '\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}\n"},
    {"alpaca",
     "{{- bos_token -}}\n"
     "{%- for message in messages -%}\n"
     "{%- if message.role == 'system' -%}\n"
     "{{- message.content | trim ~ '\\n\\n' -}}\n"
     "{%- elif message.role == 'assistant' -%}\n"
     "{{- '### Response:\\n' -}}\n"
     "{%- generation -%}{{- message.content | trim ~ eos_token -}}{%- endgeneration -%}\n"
     "{{- '\\n\\n' -}}\n"
     "{%- else -%}\n"
     "{{- '### Instruction:\\n' ~ message.content | trim ~ '\\n\\n' -}}\n"
     "{%- endif -%}\n"
     "{%- endfor -%}\n"
     "{%- if add_generation_prompt -%}{{- '### Response:\\n' -}}{%- endif -%}\n"},
};
const size_t stlora_known_template_count = sizeof stlora_known_templates / sizeof *stlora_known_templates;
