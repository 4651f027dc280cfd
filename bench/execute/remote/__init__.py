"""Engines that place batches on other machines: what travels, what runs there, and two ways to get a place."""
