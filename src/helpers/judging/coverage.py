"""Every claim of the paper, and where this companion judges it: ``reference/paper_claims.yaml``."""

from dataclasses import dataclass

import pandas as pd
import yaml

from helpers import files, paths

HOW = ("judged", "shown", "not checkable")


@dataclass(frozen=True)
class PaperClaim:
    """One claim of the paper, and what becomes of it here."""

    place: str
    claim: str
    how: str
    claims: tuple[str, ...] = ()  # in claims.yaml
    notebook: str = ""
    why: str = ""  # it is not judged

    @property
    def where(self) -> str:
        """In words for people to read."""
        scoreboard = f"scoreboard: {', '.join(self.claims)}" if self.claims else ""
        return scoreboard or (f"notebook {self.notebook}" if self.notebook else "")


def read() -> list[PaperClaim]:
    """The claims in the order of the paper."""
    content = yaml.safe_load(files.reading(paths.REFERENCE / "paper_claims.yaml").read_text(encoding="utf8"))
    return [PaperClaim(**fields | {"claims": tuple(fields.get("claims", ()))}) for fields in content]


def table() -> pd.DataFrame:
    """The claims as a table, one row each: ``how`` and ``where``, and ``why`` if not judged."""
    columns = ("place", "claim", "how", "where", "why")
    return pd.DataFrame([{column: getattr(claim, column) for column in columns} for claim in read()])


def markdown() -> str:
    """The same as a table of Markdown, as the README shows it."""
    rows = [("place", "claim", "where", "why not judged"), ("---",) * 4]
    rows += [
        (claim.place, claim.claim, f"{claim.how} {claim.where}".replace("_", r"\_"), claim.why) for claim in read()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
