"""Questions about pages of text: letters, screens and receipts, straight and tilted."""
