"""Run the program that the argument is: ``python -m tests.web.run PROGRAM``."""

import sys

exec(sys.argv[1])
