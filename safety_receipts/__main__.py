"""``python -m safety_receipts``."""

from safety_receipts.receipts.cli import main

main()
