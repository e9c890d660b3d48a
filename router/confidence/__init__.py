"""The probability that a local answer is right: the rule, its fit, and when to pause an answer early."""
