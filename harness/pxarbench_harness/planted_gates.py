"""Which gates a planted defect turns red, and whether those are the ones that must. Pure: verdicts in, a table out.

A gate is red when a finding of it is a regression. The gates that a defect names have to be red, and the job that has them has to
end with exit code 2; no other gate may be. What only measures (time, memory) may be inconclusive on a noisy machine: then it is
silent, which is said, and is not enough where it had to be red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .gates.verdict import EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REGRESSION, Level, Verdict
from .planted import Defect
from .report.model import Cell, Heading, Paragraph, Report, Table, Tone

#: Which command judges what. `ci/compare` counts instructions, too; one of the two is enough.
GATE, COMPARE = "ci/gate", "ci/compare"
JUDGES: Mapping[str, tuple[str, ...]] = {
    GATE: ("checks", "encodings", "counters", "instructions"),
    COMPARE: ("bytes", "memory", "time"),
}
#: Of these nothing but "equal" is silence: they count, and do not measure.
EXACT = ("checks", "encodings", "counters", "bytes")


@dataclass(frozen=True)
class Row:
    """What the verdicts of one defect say. `wrong`: sentences, empty when all is as it must be."""

    name: str
    sentence: str
    levels: Mapping[str, Level]  # gate -> the worst it found
    red: Mapping[str, str]  # gate -> the first of its regressions, in words
    exit_codes: Mapping[str, int]  # command -> exit code
    wrong: tuple[str, ...]


def _wrong_level(gate: str, level: Level | None, must: bool) -> str:
    if level is None:
        return f"gate {gate} compared nothing"
    if must:
        return "" if level is Level.REGRESSION else f"gate {gate} has to be red, and is {level.value}"
    silent = level in (Level.OK, Level.IMPROVED, Level.WARNING) or (level is Level.INCONCLUSIVE and gate not in EXACT)
    return "" if silent else f"gate {gate} has to be silent, and is {level.value}"


def _wrong_code(command: str, code: int, must: bool) -> str:
    allowed = (EXIT_REGRESSION,) if must else (EXIT_OK, EXIT_INCONCLUSIVE)
    return "" if code in allowed else f"{command} ended with {code} instead of {' or '.join(map(str, allowed))}"


def row(defect: Defect, verdicts: Mapping[str, Verdict]) -> Row:
    """Of command -> its verdict. Commands that are not there are not asked for: then `defect` needs none of their gates."""
    levels: dict[str, Level] = {}
    red: dict[str, str] = {}
    wrong = []
    for command, gates in JUDGES.items():
        verdict = verdicts.get(command)
        if verdict is None:
            wrong += [f"gate {gate} has to be red, and {command} did not run" for gate in gates if gate in defect.gates]
            continue
        for gate in gates:
            level = verdict.level_of(gate)
            if level is not None:
                levels[gate] = level
            first = next((f for f in verdict.all_findings if f.gate == gate and f.level is Level.REGRESSION), None)
            if first is not None:
                red[gate] = " ".join(part for part in (first.case, first.name, first.text) if part)
            wrong.append(_wrong_level(gate, level, gate in defect.gates))
        wrong.append(_wrong_code(command, verdict.exit_code(), any(gate in defect.gates for gate in gates)))
    codes = {command: verdict.exit_code() for command, verdict in verdicts.items()}
    return Row(defect.name, defect.sentence, levels, red, codes, tuple(text for text in wrong if text))


def _cell(gate: str, one: Row, must: Sequence[str]) -> Cell:
    level = one.levels.get(gate)
    if level is None:
        return Cell("–")
    if level is Level.REGRESSION:
        return Cell("red", one.red.get(gate, ""), tone=Tone.GOOD if gate in must else Tone.BAD)
    return Cell(level.value, tone=Tone.BAD if gate in must else Tone.PLAIN)


def report(rows: Sequence[Row], defects: Mapping[str, Defect]) -> Report:
    gates = [gate for of in JUDGES.values() for gate in of if any(gate in one.levels for one in rows)]
    table = tuple(
        (one.sentence or one.name, *(_cell(gate, one, defects[one.name].gates) for gate in gates),
         ", ".join(str(code) for code in one.exit_codes.values()))
        for one in rows
    )  # fmt: skip
    commands = [command for command in JUDGES if any(command in one.exit_codes for one in rows)]
    wrong = sum(bool(one.wrong) for one in rows)
    said = "each turned its gates red, and no other" if not wrong else f"**{wrong} not as they must be**"
    words = tuple(Paragraph(f"{one.name}: {text}") for one in rows for text in one.wrong)
    columns = ("planted", *gates, f"exit ({', '.join(commands)})")
    return Report((Heading("Planted regressions"), Paragraph(f"{len(rows)} builds: {said}."), Table(columns, table), *words))
