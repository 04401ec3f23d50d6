"""Write the tables and pictures of raw results: `python -m stat_train.claims.write FOLDER...` makes them again."""

from __future__ import annotations

import sys
from pathlib import Path

from stat_train.claims.figures import MISSING, can_draw, draw
from stat_train.claims.table import markdown
from stat_train.ending import exit_code_of
from stat_train.errors import UserError
from stat_train.store import write_text


def write_tables(folder: Path) -> list[str]:
    """Write FOLDER.md and the pictures beside it from the raw results in a folder; return what was written, in words.

    Without the library that draws, the table alone is written, and the words say what installs it. Raises UserError
    when the folder has no raw results.
    """
    # The current folder has no name of its own.
    folder = folder.absolute()
    table = folder.with_name(f"{folder.name}.md")
    pictures = draw(folder, folder) if can_draw() else []
    write_text(table, markdown(folder, [picture.name for picture in pictures]))
    return [str(place) for place in (table, *pictures)] + ([] if can_draw() else [MISSING])


def main() -> int:
    """Write the tables of the folders that the command line names."""

    def work() -> int:
        if not sys.argv[1:]:
            raise UserError("no folder given; expected one or more that hold raw results (*.json) of a sweep")
        for folder in sys.argv[1:]:
            print("\n".join(write_tables(Path(folder))))
        return 0

    return exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main())
