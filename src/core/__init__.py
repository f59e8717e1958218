"""What the stages and the tools build on: errors, files, receipts."""
