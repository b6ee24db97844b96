"""Means and their intervals over seeds."""
import math

# Quantiles 0.975 of Student's t for 1 ... 30 degrees of freedom; beyond, the normal distribution's is near enough.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
           2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def interval(values):
    """(mean, low, high) of 95 %; the ends are None for a single value."""
    middle, count = mean(values), len(values)
    if count < 2:
        return middle, None, None
    deviation = math.sqrt(sum((v - middle) ** 2 for v in values) / (count - 1))
    half = (STUDENT[count - 2] if count - 2 < len(STUDENT) else 1.96) * deviation / math.sqrt(count)
    return middle, middle - half, middle + half
