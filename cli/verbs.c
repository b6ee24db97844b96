/* verbs.c: the table of verbs. */
#include "verbs.h"

#include <string.h>

const struct verb verbs[] = {
    {.name = "train",
     .summary = "fine-tune a checkpoint with LoRA, kept stable by Stable-LoRA",
     .details =
         "Rows are JSON objects: {\"text\"}, {\"prompt\",\"completion\"}, {\"instruction\",\"input\",\"output\"}, "
         "{\"question\",\"answer\"}, {\"messages\"} or {\"input_ids\",\"labels\"}; all of one file are of one kind. "
         "The run directory receives run.json, metrics.jsonl, stability.json, the PEFT adapter and checkpoints. "
         "Interrupted once, the step is finished and a checkpoint saved; twice, the command stops at once.",
     .extras = EXTRA_JSON | EXTRA_DRY_RUN | EXTRA_CONFIG,
     .json_help = "result (with --dry-run: the plan) as one JSON document",
     .required = "model data output_dir",
     .run = cmd_train},
    {.name = "eval",
     .summary = "measure a model, with or without an adapter, on rows",
     .details = "Task loss: mean over the supervised tokens of rows as for training. Task exact-match: greedy completion "
                "against the row's completion. Task choice: rows {\"prompt\",\"choices\",\"label\"}.",
     .extras = EXTRA_JSON,
     .json_help = "result as one JSON document",
     .required = "model data",
     .run = cmd_eval},
    {.name = "score",
     .summary = "log-probability of every token of every row",
     .details = "One line per row: {\"ids\":[...],\"logprob\":[...]} with the log-probabilities of ids[1:].",
     .extras = EXTRA_JSON,
     .json_help = "said for uniformity: the lines are JSON with and without it",
     .required = "model data",
     .run = cmd_score},
    {.name = "generate",
     .summary = "let a model go on from a prompt",
     .details = "The new text is written as it comes, or the new ids where the model has no tokenizer.",
     .extras = EXTRA_JSON,
     .json_help = "{\"ids\":[new ids],\"text\"} as one JSON document at the end",
     .required = "model",
     .run = cmd_generate},
    {.name = "chat",
     .summary = "talk with a model, turn by turn",
     .details = "On a terminal lines are edited, the arrows go back to earlier ones; /reset begins anew, /help lists the commands, "
                "/quit and Ctrl-D end; Ctrl-C stops the answer. "
                "From anything else lines are read and answered without prompts.",
     .extras = EXTRA_JSON,
     .json_help = "{\"text\"} of each answer as a JSON document on a line of its own",
     .required = "model",
     .run = cmd_chat},
    {.name = "tokenize",
     .summary = "text on standard input to token ids, or back",
     .details = "Ids are one JSON array, as output and with --decode as input.",
     .extras = EXTRA_JSON,
     .json_help = "decoded text as a JSON string; ids are JSON with and without it",
     .required = "model",
     .run = cmd_tokenize},
    {.name = "render",
     .summary = "the text that a chat template makes of a conversation",
     .details = "One of --model, --template and --chat-template. The text is written byte for byte and nothing is appended. "
                "A template that refuses the conversation ends the command with exit code 3 and its sentence.",
     .extras = EXTRA_JSON,
     .json_help = "{\"text\"} and, with --show-mask, \"spans\" of code points, as one JSON document",
     .required = "messages",
     .run = cmd_render},
    {.name = "inspect",
     .summary = "what a model, adapter, tokenizer, run or checkpoint is, and what is wrong with it",
     .extras = EXTRA_JSON,
     .json_help = "result as one JSON document",
     .positional = "path",
     .required = "path",
     .run = cmd_inspect},
    {.name = "report",
     .summary = "write a page on runs and comparisons: tables and curves in one HTML file",
     .details = "Several runs are drawn over one another. What is missing or broken in a run is said on the page and on standard error.",
     .extras = EXTRA_JSON,
     .json_help = "what was written as one JSON document",
     .positional = "run",
     .required = "run",
     .run = cmd_report},
    {.name = "compare",
     .summary = "train a grid of methods, learning rates, shrink ratios and seeds, and compare them",
     .details = "Every method has the same learning rates and seeds. All flags of train are common to all runs. "
                "A list is 1e-4,2e-4 or 5e-5:8e-4:x2 (each twice the one before) or 1:5:+1. "
                "The same command again goes on where it was stopped.",
     .extras = EXTRA_JSON | EXTRA_DRY_RUN | EXTRA_CONFIG,
     .json_help = "comparison.json (with --dry-run: the runs) as one JSON document",
     .required = "model data eval_data output_dir",
     .run = cmd_compare},
};
const size_t verb_count = sizeof verbs / sizeof *verbs;

const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < verb_count; i++)
        if (strcmp(verbs[i].name, name) == 0) return &verbs[i];
    return NULL;
}
