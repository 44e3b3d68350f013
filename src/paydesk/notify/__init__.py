"""Mails and receipts: words in three languages, one template each for HTML and text, PDF, SMTP."""
