"""Drawn charts with questions about them, to train and judge the charts adapter. Needs the extra [train]."""
