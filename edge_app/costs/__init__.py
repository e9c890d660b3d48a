"""What answers cost in time, energy and money: measured, and expected of the next answer."""
