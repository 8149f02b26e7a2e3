"""Run every rule over every file: `python -m tools.lints`."""

from __future__ import annotations

import sys

from tools.lints import fixed_sleeps, inner_imports, transactions
from tools.lints.findings import Finding
from tools.sources import Source, sources

RULES = (fixed_sleeps, inner_imports, transactions)


def findings(source: Source) -> list[tuple[str, Finding]]:
    """What any rule says about the file, with the first line of that rule's reason."""
    return [((rule.__doc__ or "").splitlines()[0], found) for rule in RULES for found in rule.check(source)]


def main() -> int:
    """Print every finding as `path:line: what. Why.`; the exit status says whether there was one."""
    count = 0
    for source in sources():
        for reason, found in findings(source):
            count += 1
            print(f"{source.path}:{found.line}: {found.what} {reason}", file=sys.stderr)
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
