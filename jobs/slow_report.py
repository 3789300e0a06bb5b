"""A report that takes its time: for watching progress, and for killing a worker."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field

from runs import Step, job

NUMBERS = 10_000  # in one section
SLICES = 40  # of a section; between two of them it looks whether it is still wanted


class ReportInput(BaseModel):
    sections: int = Field(default=30, ge=1, le=1000, description="Steps, one a section.")
    seconds: float = Field(default=60, ge=0, le=3600, description="How long it takes, at least.")


class Section(BaseModel):
    primes: int
    largest: int | None


class SlowReport(BaseModel):
    """How many prime numbers there are below ``limit``: 25,997 below 300,000."""

    sections: int
    limit: int
    primes: int
    largest: int | None


@job(name="slow-report")
def slow_report(step: Step, payload: ReportInput) -> SlowReport:
    """Count prime numbers, 10,000 numbers a section, for about a minute.

    Each section is a step. Kill the worker in the middle: the report goes on after the
    last section that was finished, and its figures are the same.
    """
    primes, largest = 0, None
    for number in range(1, payload.sections + 1):
        section = step.run(f"section-{number}", count_primes, step, number, payload)
        primes += section.primes
        largest = section.largest or largest
        step.progress(number, payload.sections, f"{primes:,} primes so far")
    limit = payload.sections * NUMBERS
    return SlowReport(sections=payload.sections, limit=limit, primes=primes, largest=largest)


def count_primes(step: Step, number: int, payload: ReportInput) -> Section:
    """Count the primes of one section, in slices that leave time to other runs."""
    primes, largest = 0, None
    begin, width = (number - 1) * NUMBERS, NUMBERS // SLICES
    pause = payload.seconds / payload.sections / SLICES
    for start in range(begin, begin + NUMBERS, width):
        step.raise_if_cancelled()
        wake = time.monotonic() + pause
        for candidate in range(start, start + width):
            if is_prime(candidate):
                primes, largest = primes + 1, candidate
        time.sleep(max(0, wake - time.monotonic()))
    first = begin + 1
    step.log.info(
        f"{primes:,} primes from {first:,} to {begin + NUMBERS:,}",
        {"section": number, "primes": primes, "largest": largest},
    )
    return Section(primes=primes, largest=largest)


def is_prime(number: int) -> bool:
    if number < 4:
        return number > 1
    if number % 2 == 0:
        return False
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))
