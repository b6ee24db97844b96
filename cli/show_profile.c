/* show_profile.c: see show_profile.h. */
#include "show_profile.h"

#include "output.h"

/* a / b, and 0 where b says nothing. */
static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* Share of the time in which the machine could have done it: by its multipliers or by its memory, whichever takes longer. */
static double share_of_roof(const stlora_profile *p, const stlora_profile_line *line)
{
    double multiplying = ratio(line->flops, p->ceiling_flops), moving = ratio(line->bytes, p->ceiling_bytes);
    return ratio(multiplying > moving ? multiplying : moving, line->seconds);
}

static stlora_status show_line(const stlora_profile *p, const stlora_profile_line *line, stlora_error *err)
{
    double steps = (double)p->steps;
    stlora_status status = put_format(err, "%-34s %10.4g %10.3f %6.2f", line->op, ratio((double)line->calls, steps),
                                      1e3 * ratio(line->seconds, steps), 100 * ratio(line->seconds, p->seconds));
    if (status == STLORA_OK && line->bytes > 0)
        status = put_format(err, " %9.1f %7.1f %10.1f %7.1f", ratio(line->flops, line->seconds) / 1e9,
                            ratio(line->bytes, line->seconds) / 1e9, ratio(line->flops, line->bytes),
                            100 * share_of_roof(p, line));
    return status == STLORA_OK ? put("\n", 1, err) : status;
}

stlora_status show_profile(const stlora_profile *p, stlora_error *err)
{
    double steps = (double)p->steps, floor = ratio(p->needed_flops, p->ceiling_flops);
    stlora_status status = put_format(
        err,
        "\n%lld %s of %.4g s; the counted floor is %.4g s at this run's ceiling of %.1f GFLOP/s: %.1f %%; memory "
        "%.1f GB/s\n\n%-34s %10s %10s %6s %9s %7s %10s %7s\n",
        (long long)p->steps, p->steps == 1 ? "step" : "steps", ratio(p->seconds, steps), ratio(floor, steps),
        p->ceiling_flops / 1e9, 100 * ratio(floor, p->seconds), p->ceiling_bytes / 1e9, "op", "calls/step", "ms/step",
        "%", "GFLOP/s", "GB/s", "flop/byte", "% roof");
    for (size_t i = 0; status == STLORA_OK && i < p->line_count; i++)
        status = show_line(p, &p->lines[i], err);
    return status;
}

json_t *profile_json(const stlora_profile *p)
{
    json_t *json = json_object(), *lines = json_array();
    (void)json_object_set_new(json, "steps", json_integer(p->steps));
    (void)json_object_set_new(json, "seconds", json_finite(p->seconds));
    (void)json_object_set_new(json, "needed_flops", json_finite(p->needed_flops));
    (void)json_object_set_new(json, "ceiling_flops", json_finite(p->ceiling_flops));
    (void)json_object_set_new(json, "ceiling_bytes", json_finite(p->ceiling_bytes));
    for (size_t i = 0; i < p->line_count; i++) {
        const stlora_profile_line *line = &p->lines[i];
        json_t *entry = json_object();
        (void)json_object_set_new(entry, "op", json_string(line->op));
        (void)json_object_set_new(entry, "calls", json_integer(line->calls));
        (void)json_object_set_new(entry, "seconds", json_finite(line->seconds));
        (void)json_object_set_new(entry, "flops", json_finite(line->flops));
        (void)json_object_set_new(entry, "bytes", json_finite(line->bytes));
        (void)json_array_append_new(lines, entry);
    }
    (void)json_object_set_new(json, "lines", lines);
    return json;
}
