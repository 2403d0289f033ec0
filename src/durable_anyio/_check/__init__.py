"""`durable-anyio check`: finds in source, without running it, what a workflow must not do.

`source` turns modules and paths into files, `module` finds the workflows of a file and the code that runs in them, `names` says what a name
stands for, `body` looks at that code with the help of the tables `calls` and `rules` (`sets` and `state` are parts of it), `report` prints.
"""

from .report import as_json, as_text, summary
from .rules import RULES, Finding, Rule
from .source import BadInputError, Report, check

__all__ = ["RULES", "BadInputError", "Finding", "Report", "Rule", "as_json", "as_text", "check", "summary"]
