/* test_targets.c: what --target-modules and adapter_config.json mean by names, lists, expressions and patterns: PEFT's
 * rules. */
#include "model/targets.h"
#include "train/tiny_model.h"

enum { PER_LAYER = 7, HEAD = TINY_LAYERS * PER_LAYER, MAPS = HEAD + 1 }; /* of Llama */

static stlora_transformer *llama(void)
{
    return tiny_open("model", &(tiny_options){.family = "llama", .untied = true});
}

/* The chosen ids as text: one letter per map, q k v o g u d of each layer and h, or '.' */
static const char *spell(const stlora_transformer *model, const bool *chosen)
{
    static char text[64];
    static const char letters[] = "qkvogud";
    for (size_t id = 0; id < model->linear_count; id++)
        text[id] = !chosen[id] ? '.' : id + 1 == model->linear_count ? 'h' : letters[id % PER_LAYER];
    text[model->linear_count] = '\0';
    return text;
}

static void check(const stlora_transformer *model, const stlora_peft_config *config, const char *wanted)
{
    stlora_error err = {0};
    bool chosen[MAPS];
    assert_int_equal(model->linear_count, MAPS);
    memset(chosen, true, sizeof chosen); /* what was there must not matter */
    assert_ok(stlora_targets_match(model, config, true, chosen, &err));
    assert_string_equal(spell(model, chosen), wanted);
}

static void check_text(const stlora_transformer *model, const char *text, const char *wanted)
{
    stlora_error err = {0};
    stlora_peft_config config = {0};
    assert_ok(stlora_targets_parse(&config, text, &err));
    check(model, &config, wanted);
    stlora_peft_config_free(&config);
}

static void refused_text(const stlora_transformer *model, const char *text, const char *words)
{
    stlora_error err = {0};
    stlora_peft_config config = {0};
    bool chosen[MAPS];
    assert_ok(stlora_targets_parse(&config, text, &err));
    tiny_refused(stlora_targets_match(model, &config, true, chosen, &err), &err, STLORA_E_USAGE, words);
    stlora_peft_config_free(&config);
}

static void test_parse(void **state)
{
    (void)state;
    stlora_error err = {0};
    static const char *const all[] = {"all-linear", "ALL-LINEAR", "All-Linear"};
    for (size_t i = 0; i < 3; i++) {
        stlora_peft_config config = {0};
        assert_ok(stlora_targets_parse(&config, all[i], &err));
        assert_string_equal(config.target_regex, "all-linear");
        assert_int_equal(config.target_count, 0);
        stlora_peft_config_free(&config);
    }
    stlora_peft_config list = {0};
    assert_ok(stlora_targets_parse(&list, "q_proj,layers.0.self_attn.v_proj,a9", &err));
    assert_null(list.target_regex);
    assert_int_equal(list.target_count, 3);
    assert_string_equal(list.targets[0], "q_proj");
    assert_string_equal(list.targets[1], "layers.0.self_attn.v_proj");
    assert_string_equal(list.targets[2], "a9");
    stlora_peft_config_free(&list);
    static const char *const regexes[] = {".*\\.q_proj", "model.*(q|v)_proj", "a,(b)", "x|y", "q_proj v_proj", ""};
    for (size_t i = 0; i < sizeof regexes / sizeof regexes[0]; i++) {
        stlora_peft_config config = {0};
        assert_ok(stlora_targets_parse(&config, regexes[i], &err));
        assert_non_null(config.target_regex);
        assert_string_equal(config.target_regex, regexes[i]);
        assert_null(config.targets);
        stlora_peft_config_free(&config);
    }
    static const char *const holes[] = {",", "q_proj,", ",q_proj", "q_proj,,v_proj"};
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        stlora_peft_config config = {0};
        tiny_refused(stlora_targets_parse(&config, holes[i], &err), &err, STLORA_E_USAGE,
                     "--target-modules: an empty name");
        stlora_peft_config_free(&config);
    }
}

static void test_lists(void **state)
{
    (void)state;
    stlora_transformer *model = llama();
    check_text(model, "all-linear", "qkvogudqkvogud."); /* the head never, untied or not */
    check_text(model, "q_proj", "q......q.......");
    check_text(model, "v_proj,q_proj", "q.v....q.v.....");
    check_text(model, "q_proj,q_proj", "q......q.......");
    check_text(model, "1.mlp.up_proj", "............u..");                   /* ends in "." + item */
    check_text(model, "model.layers.0.self_attn.k_proj", ".k............."); /* exact */
    check_text(model, "lm_head", "..............h");
    check_text(model, "lm_head,down_proj", "......d......dh");
    /* No word is cut: "proj" and "_proj" end every name, but not after a dot; a name's beginning or middle is no
     * ending. */
    static const char *const nothing[] = {"proj",   "_proj",        "self_attn",
                                          "model",  "q_proj.",      ".q_proj",
                                          "Q_proj", "embed_tokens", "odel.layers.0.self_attn.k_proj"};
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++)
        refused_text(model, nothing[i], nothing[i]);
    refused_text(model, "q_proj,c_attn", "the model has no linear map named \"c_attn\""); /* one of several */
    refused_text(model, "q_proj,c_attn", "model.layers.0.self_attn.q_proj");              /* and what it does have */
    stlora_transformer_close(model);
}

/* A file's list may name what this model lacks, and may be absent: PEFT passes over the one and has a list for the other. */
static void test_lists_of_files(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model = llama();
    bool chosen[MAPS];
    char *items[] = {(char[]){"c_attn"}, (char[]){"q_proj"}, (char[]){"c_fc"}};
    assert_ok(
        stlora_targets_match(model, &(stlora_peft_config){.targets = items, .target_count = 3}, false, chosen, &err));
    for (size_t id = 0; id < MAPS; id++)
        assert_int_equal(chosen[id], id == 0 || id == 7);
    tiny_refused(
        stlora_targets_match(model, &(stlora_peft_config){.targets = items, .target_count = 1}, false, chosen, &err),
        &err, STLORA_E_USAGE, "the model has no linear map named \"c_attn\"");
    assert_ok(stlora_targets_match(model, &(stlora_peft_config){0}, false, chosen, &err));
    for (size_t id = 0; id < MAPS; id++)
        assert_int_equal(chosen[id], id % 7 == 0 || id % 7 == 2 ? id < 14 : 0); /* q_proj and v_proj */
    stlora_transformer_close(model);
}

static void test_expressions(void **state)
{
    (void)state;
    stlora_transformer *model = llama();
    check_text(model, ".*\\.q_proj", "q......q.......");
    check_text(model, ".*(q|v)_proj", "q.v....q.v.....");
    check_text(model, "model\\.layers\\.1\\..*", ".......qkvogud.");
    check_text(model, "model\\.layers\\.(?!0).*_proj", ".......qkvogud.");
    check_text(model, ".*", "qkvogudqkvogudh"); /* whoever asks for everything gets the head too */
    check_text(model, ".*(lm_head|o_proj)", "...o......o...h");
    check_text(model, ".*mlp|.*mlp\\.up_proj", ".....u......u.."); /* the whole name, whichever branch comes first */
    refused_text(model, "q_proj$", "no linear map of the model matches \"q_proj$\""); /* fullmatch, not search */
    refused_text(model, "model\\.layers", "no linear map of the model matches");      /* nor match at the start */
    refused_text(model, "", "no linear map of the model matches \"\"");
    refused_text(model, "all linear", "no linear map of the model matches");
    refused_text(model, "(q_proj", "target_modules: the pattern '(q_proj' is refused");
    stlora_transformer_close(model);
}

static void test_exclusion(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model = llama();
    char *q[] = {(char[]){"q_proj"}}, *excludes[] = {(char[]){"0.self_attn.q_proj"}}, *proj[] = {(char[]){"proj"}};
    char all[] = "all-linear", mlp[] = ".*mlp.*", everything[] = ".*";
    bool chosen[MAPS];
    check(model, &(stlora_peft_config){.targets = q, .target_count = 1, .excludes = excludes, .exclude_count = 1},
          ".......q.......");
    check(model, &(stlora_peft_config){.targets = q, .target_count = 1, .excludes = proj, .exclude_count = 1},
          "q......q.......");
    check(model, &(stlora_peft_config){.target_regex = all, .exclude_regex = mlp}, "qkvo...qkvo....");
    check(model, &(stlora_peft_config){.target_regex = all, .excludes = q, .exclude_count = 1}, ".kvogud.kvogud.");
    check(model,
          &(stlora_peft_config){.target_regex = everything, .exclude_regex = mlp, .excludes = q, .exclude_count = 1},
          ".kvo....kvo...h");
    tiny_refused(stlora_targets_match(
                     model, &(stlora_peft_config){.targets = q, .target_count = 1, .excludes = q, .exclude_count = 1},
                     true, chosen, &err),
                 &err, STLORA_E_USAGE, "nothing is left to be adapted");
    tiny_refused(stlora_targets_match(model, &(stlora_peft_config){.target_regex = all, .exclude_regex = everything},
                                      true, chosen, &err),
                 &err, STLORA_E_USAGE, "nothing is left to be adapted");
    stlora_transformer_close(model);
}

static void test_layers_to_transform(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model = llama();
    char *items[] = {(char[]){"q_proj"}, (char[]){"down_proj"}}, *head[] = {(char[]){"lm_head"}, (char[]){"o_proj"}};
    int64_t one[] = {1}, both[] = {1, 0}, none[] = {5};
    bool chosen[MAPS];
    check(model,
          &(stlora_peft_config){
              .targets = items, .target_count = 2, .layers_to_transform = one, .layers_to_transform_count = 1},
          ".......q.....d.");
    check(model,
          &(stlora_peft_config){
              .targets = items, .target_count = 2, .layers_to_transform = both, .layers_to_transform_count = 2},
          "q.....dq.....d.");
    check(model,
          &(stlora_peft_config){
              .targets = head, .target_count = 2, .layers_to_transform = one, .layers_to_transform_count = 1},
          "..........o....");
    tiny_refused(stlora_targets_match(model,
                                      &(stlora_peft_config){.targets = items,
                                                            .target_count = 2,
                                                            .layers_to_transform = none,
                                                            .layers_to_transform_count = 1},
                                      true, chosen, &err),
                 &err, STLORA_E_USAGE, "nothing is left to be adapted");
    stlora_transformer_close(model);
}

/* GPT-2's names: c_proj stands twice in a block. */
static void test_gpt2(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_transformer *model = tiny_open("model", &(tiny_options){.family = "gpt2"});
    const struct {
        const char *text;
        bool chosen[9];
    } cases[] = {{"c_attn", {1, 0, 0, 0, 1, 0, 0, 0, 0}},
                 {"c_proj", {0, 1, 0, 1, 0, 1, 0, 1, 0}},
                 {"mlp.c_proj", {0, 0, 0, 1, 0, 0, 0, 1, 0}},
                 {"transformer\\.h\\.0\\..*", {1, 1, 1, 1, 0, 0, 0, 0, 0}},
                 {"all-linear", {1, 1, 1, 1, 1, 1, 1, 1, 0}},
                 {"lm_head", {0, 0, 0, 0, 0, 0, 0, 0, 1}}}; /* a tied head too, where it is asked for */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        stlora_peft_config config = {0};
        bool chosen[9];
        assert_int_equal(model->linear_count, 9);
        assert_ok(stlora_targets_parse(&config, cases[i].text, &err));
        assert_ok(stlora_targets_match(model, &config, true, chosen, &err));
        assert_memory_equal(chosen, cases[i].chosen, sizeof chosen);
        stlora_peft_config_free(&config);
    }
    stlora_transformer_close(model);
}

static double pattern(const stlora_pattern_entry *entries, size_t count, const char *name)
{
    stlora_error err = {0};
    double found = -1;
    assert_ok(stlora_targets_pattern(entries, count, name, 8, &found, &err));
    return found;
}

static bool is(double found, double wanted)
{
    return !(found < wanted) && !(found > wanted);
}

static void test_patterns(void **state)
{
    (void)state;
    const char *q0 = "model.layers.0.self_attn.q_proj", *q1 = "model.layers.1.self_attn.q_proj",
               *q11 = "model.layers.11.self_attn.q_proj";
    assert_true(is(pattern(NULL, 0, q0), 8));
    stlora_pattern_entry ending[] = {{(char[]){"q_proj"}, 4}};
    assert_true(is(pattern(ending, 1, q0), 4));
    assert_true(is(pattern(ending, 1, "q_proj"), 4));
    assert_true(is(pattern(ending, 1, "model.layers.0.self_attn.k_proj"), 8));
    assert_true(is(pattern(ending, 1, "model.layers.0.self_attn.xq_proj"), 8)); /* a whole word */
    assert_true(is(pattern(ending, 1, "model.q_proj.layers.0"), 8));            /* up to the end */
    stlora_pattern_entry dots[] = {{(char[]){"layers.1.self_attn.q_proj"}, 2}};
    assert_true(is(pattern(dots, 1, q1), 2));
    assert_true(is(pattern(dots, 1, q11), 8));
    assert_true(is(pattern(dots, 1, "model.layersX1.self_attn.q_proj"),
                   2)); /* a key is an expression: its dot is any character, as in PEFT */
    stlora_pattern_entry caret[] = {{(char[]){"^model\\.layers\\.(0|1)\\..*"}, 16}};
    assert_true(is(pattern(caret, 1, q0), 16));
    assert_true(is(pattern(caret, 1, q11), 8));
    /* The first that matches, not the longest nor the last. */
    stlora_pattern_entry order[] = {{(char[]){"k_proj"}, 1},
                                    {(char[]){".*attn.*"}, 2},
                                    {(char[]){"q_proj"}, 3},
                                    {(char[]){"model.layers.0.self_attn.q_proj"}, 4}};
    assert_true(is(pattern(order, 4, q0), 2));
    assert_true(is(pattern(order + 2, 2, q0), 3));
    assert_true(is(pattern(order + 3, 1, q0), 4));
    /* An alternative binds within the key: (.*\.)?(a|b)$, not (.*\.)?a or b$. */
    stlora_pattern_entry either[] = {{(char[]){"k_proj|v_proj"}, 5}};
    assert_true(is(pattern(either, 1, "model.layers.0.self_attn.v_proj"), 5));
    assert_true(is(pattern(either, 1, "model.layers.0.self_attn.k_proj"), 5));
    assert_true(is(pattern(either, 1, "model.layers.0.self_attn.xv_proj"), 8));
}

static void test_bad_patterns(void **state)
{
    (void)state;
    stlora_error err = {0};
    static char key[2000];
    double found = -1;
    stlora_pattern_entry broken[] = {{(char[]){"(q_proj"}, 5}}, endless[] = {{key, 5}};
    assert_int_equal(stlora_targets_pattern(broken, 1, "q_proj", 8, &found, &err), STLORA_E_FORMAT);
    memset(key, 'a', sizeof key - 1);
    tiny_refused(stlora_targets_pattern(endless, 1, "q_proj", 8, &found, &err), &err, STLORA_E_FORMAT,
                 "a key of 1999 bytes is too long");
    assert_true(is(found, -1)); /* untouched on failure */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), TINY_TEST(test_lists),           TINY_TEST(test_lists_of_files),
        TINY_TEST(test_expressions),  TINY_TEST(test_exclusion),       TINY_TEST(test_layers_to_transform),
        TINY_TEST(test_gpt2),         cmocka_unit_test(test_patterns), cmocka_unit_test(test_bad_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
